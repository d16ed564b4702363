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

// PLANES planes whose samples alternate in memory (1: a plane of its own) -> levels. x, y: of the run's first sample.
template <int PLANES, typename Sample, typename Level>
BOTH void unpack_run(Plane<const Sample> samples, const Plane<Level>* levels, int x, int y, int count, int shift, float max_code) {
    typedef Run<Sample, RUN * PLANES> Codes;
    typedef Run<Level, RUN> Levels;
    const Sample* source = samples.at(x * PLANES, y);
    if (count == RUN && is_aligned<Codes>(source)) {
        const Codes codes = *(const Codes*)source;
        for (int channel = 0; channel < PLANES; channel++) {
            Level* target = levels[channel].at(x, y);
            Levels run;
#pragma unroll
            for (int i = 0; i < RUN; i++)
                run.at[i] = from_float<Level>(code_to_level(codes.at[i * PLANES + channel] >> shift, max_code));
            if (is_aligned<Levels>(target)) {
                *(Levels*)target = run;
            } else {
#pragma unroll
                for (int i = 0; i < RUN; i++) target[i] = run.at[i];
            }
        }
        return;
    }
    for (int i = 0; i < count; i++)
        for (int channel = 0; channel < PLANES; channel++)
            *levels[channel].at(x + i, y) = from_float<Level>(code_to_level(source[i * PLANES + channel] >> shift, max_code));
}

// Levels -> PLANES planes whose samples alternate in memory.
template <int PLANES, typename Sample, typename Level>
BOTH void pack_run(const Plane<const Level>* levels, Plane<Sample> samples, int x, int y, int count, int shift, float max_code) {
    typedef Run<Sample, RUN * PLANES> Codes;
    typedef Run<Level, RUN> Levels;
    Sample* target = samples.at(x * PLANES, y);
    bool whole = count == RUN && is_aligned<Codes>(target);
    for (int channel = 0; channel < PLANES; channel++) whole = whole && is_aligned<Levels>(levels[channel].at(x, y));
    if (whole) {
        Codes codes;
#pragma unroll
        for (int channel = 0; channel < PLANES; channel++) {
            const Levels run = *(const Levels*)levels[channel].at(x, y);
#pragma unroll
            for (int i = 0; i < RUN; i++)
                codes.at[i * PLANES + channel] = (Sample)(level_to_code(to_float(run.at[i]), max_code) << shift);
        }
        *(Codes*)target = codes;
        return;
    }
    for (int i = 0; i < count; i++)
        for (int channel = 0; channel < PLANES; channel++)
            target[i * PLANES + channel] = (Sample)(level_to_code(to_float(*levels[channel].at(x + i, y)), max_code) << shift);
}
