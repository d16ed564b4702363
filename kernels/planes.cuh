// One run of samples between a surface's codes and levels: level = code / (2^bits - 1), limited or full range alike.
#include "half.cuh"

const int RUN = 8;  // samples of a plane that a thread moves: 16 bytes of half precision

BOTH float code_to_level(u32 code, float max_code) { return (float)code / max_code; }

// Rounded half to even and clipped; what is not a number becomes 0.
BOTH u32 level_to_code(float level, float max_code) { return (u32)rintf(fminf(fmaxf(level * max_code, 0.0f), max_code)); }

// Where a plane's first sample lies and how far apart rows are, in elements.
template <typename Value> struct Plane {
    Value* first;
    long long pitch;

    BOTH Value* at(int x, int y) const { return first + y * pitch + x; }
};

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

// PLANES planes whose samples alternate in memory (1: a plane of its own) -> levels. x, y: of the run's first sample; count: its samples.
template <int PLANES, typename Sample, typename Level>
BOTH void unpack_run(Plane<const Sample> samples, const Plane<Level>* levels, int x, int y, int count, int shift, float max_code) {
    const Run<Sample, RUN * PLANES> codes = load_run<RUN * PLANES>(samples.at(x * PLANES, y), count * PLANES);
#pragma unroll
    for (int plane = 0; plane < PLANES; plane++) {
        Run<Level, RUN> run;
#pragma unroll
        for (int i = 0; i < RUN; i++) run.at[i] = from_float<Level>(code_to_level(codes.at[i * PLANES + plane] >> shift, max_code));
        store_run(levels[plane].at(x, y), run, count);
    }
}

// Levels -> PLANES planes whose samples alternate in memory.
template <int PLANES, typename Sample, typename Level>
BOTH void pack_run(const Plane<const Level>* levels, Plane<Sample> samples, int x, int y, int count, int shift, float max_code) {
    Run<Sample, RUN * PLANES> codes;
#pragma unroll
    for (int plane = 0; plane < PLANES; plane++) {
        const Run<Level, RUN> run = load_run<RUN>(levels[plane].at(x, y), count);
#pragma unroll
        for (int i = 0; i < RUN; i++) codes.at[i * PLANES + plane] = (Sample)(level_to_code(to_float(run.at[i]), max_code) << shift);
    }
    store_run(samples.at(x * PLANES, y), codes, count * PLANES);
}
