/* Stands for libcuda.so.1: one GPU, memory of the host, contexts with flags. The functions that FFmpeg asks for and nobody calls are
 * made by driver_on_host.py; `stub` says when one is called after all. What is of interest goes into the file $FAKE_LOG. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define OUT_OF_PLACE 1

void say(const char *what, unsigned long value) {
    FILE *log = fopen(getenv("FAKE_LOG"), "a");
    fprintf(log, "%s %lx\n", what, value);
    fclose(log);
}

int stub(const char *name) {
    say(name, 0);
    return 0;
}

static unsigned flags;
static int users, depth;
static void *stack[64];
static unsigned long streams = 0x5000;

int cuInit(unsigned f) { return (void)f, 0; }
int cuDeviceGetCount(int *count) { return *count = 1, 0; }
int cuDeviceGet(int *device, int index) { return *device = index, index ? 101 : 0; }
int cuDeviceGetName(char *name, int room, int device) { return (void)device, strncpy(name, "Fake", room), 0; }
int cuDeviceComputeCapability(int *major, int *minor, int device) { return (void)device, *major = 8, *minor = 9, 0; }
int cuDeviceGetAttribute(int *value, int which, int device) {
    return (void)device, *value = which == 75 ? 8 : which == 76 ? 9 : 512, 0; /* compute capability; alignment of a surface */
}
int cuDeviceTotalMem_v2(size_t *bytes, int device) { return (void)device, *bytes = 1ul << 30, 0; }
int cuDevicePrimaryCtxGetState(int device, unsigned *f, int *active) { return (void)device, *f = flags, *active = users > 0, 0; }
int cuDevicePrimaryCtxSetFlags(int device, unsigned f) { return (void)device, flags = f, 0; }
int cuDevicePrimaryCtxSetFlags_v2(int device, unsigned f) { return (void)device, flags = f, 0; }
int cuDevicePrimaryCtxRetain(void **context, int device) { return (void)device, users++, *context = (void *)0x1000, 0; }
int cuDevicePrimaryCtxRelease(int device) { return (void)device, users--, 0; }
int cuDevicePrimaryCtxRelease_v2(int device) { return (void)device, users--, 0; }
int cuCtxGetCurrent(void **context) { return *context = depth ? stack[depth - 1] : NULL, 0; }
int cuCtxPushCurrent_v2(void *context) { return stack[depth++] = context, 0; }
int cuCtxPopCurrent_v2(void **context) {
    if (!depth) return OUT_OF_PLACE;
    depth--;
    if (context) *context = stack[depth];
    return 0;
}
int cuStreamCreate(void **stream, unsigned f) {
    if (!depth) return OUT_OF_PLACE;
    *stream = (void *)++streams;
    say("a new stream", f);
    return 0;
}
int cuMemAlloc_v2(void **memory, size_t bytes) { return *memory = malloc(bytes), 0; }
int cuMemFree_v2(void *memory) { return free(memory), 0; }

typedef struct {
    size_t x, y;
    unsigned kind; /* 1: the host's, 2: the GPU's */
    char *host, *gpu;
    void *array;
    size_t pitch;
} End;
typedef struct {
    End from, to;
    size_t width, height;
} Copy;
int cuMemcpy2DAsync_v2(const Copy *copy, void *stream) {
    const char *from = copy->from.kind == 1 ? copy->from.host : copy->from.gpu;
    char *to = copy->to.kind == 1 ? copy->to.host : copy->to.gpu;
    for (size_t y = 0; y < copy->height; y++) memcpy(to + y * copy->to.pitch, from + y * copy->from.pitch, copy->width);
    return say("copied on stream", (unsigned long)stream), 0;
}

int cuGetErrorName(int error, const char **text) { return (void)error, *text = "an error", 0; }
int cuGetErrorString(int error, const char **text) { return (void)error, *text = "an error", 0; }
