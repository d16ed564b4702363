// The shared memory whose size a launch says; in a build for the CPU tests/kernels/cuda_on_host.hpp has it.
#ifdef __CUDACC__
#define DYNAMIC_SHARED(name) extern __shared__ __align__(16) unsigned char name[]
#else
#define DYNAMIC_SHARED(name) unsigned char* const name = shared_memory()
#endif
