// One run of samples between codes and levels: level = code / (2^bits - 1), limited or full range alike.
#include "half.cuh"

const int RUN = 8;  // samples of a plane that a thread moves: 16 bytes of half precision

BOTH float code_to_level(u32 code, float max_code) { return (float)code / max_code; }

// Rounded half to even and clipped; what is not a number becomes 0.
BOTH u32 level_to_code(float level, float max_code) { return (u32)rintf(fminf(fmaxf(level * max_code, 0.0f), max_code)); }

// The run of a thread, in a grid whose blocks cover width x height; count: 0 and less for a thread that has none.
struct Place {
    int x, y, count;
};

__device__ __forceinline__ Place find_place(int width, int height) {
    Place place;
    place.x = (int)(blockIdx.x * blockDim.x + threadIdx.x) * RUN;
    place.y = (int)(blockIdx.y * blockDim.y + threadIdx.y);
    place.count = place.y < height ? min(width - place.x, RUN) : 0;
    return place;
}
