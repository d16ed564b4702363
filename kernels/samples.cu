// Codes from one place to another, as they are. Set when compiled: SAMPLE (u8, u16).
//
// Note [Samples]
//     Bound by memory: each byte is read and written once. A thread moves 8 samples of a row, as in planes.cu. Layer 0 of the
//     grid (z) is luma, layer 1 chroma, so a surface is one launch. `compare` runs on the whole grid: a block that finds a
//     difference sets one flag, and whoever launches it has cleared that before on the same stream.
#include "planes.cuh"

// Codes that lie `shift` bits up become codes in the low bits, or the other way round.
__device__ __forceinline__ Run<SAMPLE, RUN> moved(Run<SAMPLE, RUN> run, int down, int up) {
#pragma unroll
    for (int i = 0; i < RUN; i++) run.at[i] = (SAMPLE)(((u32)run.at[i] >> down) << up);
    return run;
}

// y (h, w) and uv (h', w', 2) -> planes Y, Cb, Cr; pitches in samples
extern "C" __global__ void split(
    const SAMPLE* y, long long y_pitch, const SAMPLE* uv, long long uv_pitch, SAMPLE* luma, long long luma_pitch, SAMPLE* cb,
    long long cb_pitch, SAMPLE* cr, long long cr_pitch, int width, int height, int chroma_width, int chroma_height, int shift) {
    if (blockIdx.z == 0) {
        const Place at = find_place(width, height);
        if (at.count <= 0) return;
        const Run<SAMPLE, RUN> run = load_run<RUN>(y + at.y * y_pitch + at.x, at.count);
        store_run(luma + at.y * luma_pitch + at.x, moved(run, shift, 0), at.count);
        return;
    }
    const Place at = find_place(chroma_width, chroma_height);
    if (at.count <= 0) return;
    const Run<SAMPLE, 2 * RUN> pairs = load_run<2 * RUN>(uv + at.y * uv_pitch + 2 * at.x, 2 * at.count);
    Run<SAMPLE, RUN> runs[2];
#pragma unroll
    for (int i = 0; i < 2 * RUN; i++) runs[i % 2].at[i / 2] = pairs.at[i];
    store_run(cb + at.y * cb_pitch + at.x, moved(runs[0], shift, 0), at.count);
    store_run(cr + at.y * cr_pitch + at.x, moved(runs[1], shift, 0), at.count);
}

// planes Y, Cb, Cr -> y (h, w) and uv (h', w', 2)
extern "C" __global__ void join(
    const SAMPLE* luma, long long luma_pitch, const SAMPLE* cb, long long cb_pitch, const SAMPLE* cr, long long cr_pitch, SAMPLE* y,
    long long y_pitch, SAMPLE* uv, long long uv_pitch, int width, int height, int chroma_width, int chroma_height, int shift) {
    if (blockIdx.z == 0) {
        const Place at = find_place(width, height);
        if (at.count <= 0) return;
        const Run<SAMPLE, RUN> run = load_run<RUN>(luma + at.y * luma_pitch + at.x, at.count);
        store_run(y + at.y * y_pitch + at.x, moved(run, 0, shift), at.count);
        return;
    }
    const Place at = find_place(chroma_width, chroma_height);
    if (at.count <= 0) return;
    const Run<SAMPLE, RUN> blue = moved(load_run<RUN>(cb + at.y * cb_pitch + at.x, at.count), 0, shift);
    const Run<SAMPLE, RUN> red = moved(load_run<RUN>(cr + at.y * cr_pitch + at.x, at.count), 0, shift);
    Run<SAMPLE, 2 * RUN> pairs;
#pragma unroll
    for (int i = 0; i < 2 * RUN; i++) pairs.at[i] = (i % 2 ? red : blue).at[i / 2];
    store_run(uv + at.y * uv_pitch + 2 * at.x, pairs, 2 * at.count);
}

// *differs becomes 1 where `plane` is not `before`, which becomes `plane`; samples: each step-th row and column of it
extern "C" __global__ void compare(
    const SAMPLE* plane, long long pitch, SAMPLE* before, long long before_pitch, SAMPLE* samples, long long samples_pitch, int* differs,
    int width, int height, int step_x, int step_y) {
    const Place at = find_place(width, height);
    if (at.count <= 0) return;
    const Run<SAMPLE, RUN> run = load_run<RUN>(plane + at.y * pitch + at.x, at.count);
    SAMPLE* const kept = before + at.y * before_pitch + at.x;
    const Run<SAMPLE, RUN> old = load_run<RUN>(kept, at.count);
    bool is_other = false;
#pragma unroll
    for (int i = 0; i < RUN; i++) is_other |= i < at.count && run.at[i] != old.at[i];
    if (is_other) {
        atomicExch(differs, 1);
        store_run(kept, run, at.count);
    }
    if (at.y % step_y) return;
    SAMPLE* const row = samples + at.y / step_y * samples_pitch;
#pragma unroll
    for (int i = 0; i < RUN; i++)
        if (i < at.count && (at.x + i) % step_x == 0) row[(at.x + i) / step_x] = run.at[i];
}
