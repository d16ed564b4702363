// A plane of codes <-> a plane of levels. Set when compiled: SAMPLE (u8, u16), LEVEL (half, float).
//
// Note [Planes]
//     Bound by memory: 3 bytes a sample from 8 bits to half, 4 from 16 bits. A thread moves 8 samples of a row: 8 or 16
//     bytes of codes in, 16 bytes of half precision out, in one access each where addresses allow, else by twos or one by
//     one (odd widths, views that start anywhere). Blocks are 32 threads wide, so a warp's accesses are 256 codes in a row.
//     The edge that a network's size multiple adds is written in the same pass. The division is a true one: level =
//     code / (2^bits - 1) is the correctly rounded float, and then the nearest half.
#include "planes.cuh"

// codes (height, width) -> levels (full_height, full_width), the last column and row again beyond; pitches in elements
extern "C" __global__ void unpack(
    const SAMPLE* samples, long long pitch, LEVEL* levels, long long levels_pitch, int width, int height, int full_width, int full_height,
    float max_code) {
    const Place place = find_place(full_width, full_height);
    if (place.count <= 0) return;
    const SAMPLE* row = samples + min(place.y, height - 1) * pitch;
    Run<SAMPLE, RUN> codes = {};
    if (place.x + place.count <= width) {
        codes = load_run<RUN>(row + place.x, place.count);
    } else {
#pragma unroll
        for (int i = 0; i < RUN; i++) codes.at[i] = row[min(place.x + i, width - 1)];
    }
    Run<LEVEL, RUN> run;
#pragma unroll
    for (int i = 0; i < RUN; i++) run.at[i] = from_float<LEVEL>(code_to_level(codes.at[i], max_code));
    store_run(levels + place.y * levels_pitch + place.x, run, place.count);
}

extern "C" __global__ void pack(
    const LEVEL* levels, long long levels_pitch, SAMPLE* samples, long long pitch, int width, int height, float max_code) {
    const Place place = find_place(width, height);
    if (place.count <= 0) return;
    const Run<LEVEL, RUN> run = load_run<RUN>(levels + place.y * levels_pitch + place.x, place.count);
    Run<SAMPLE, RUN> codes;
#pragma unroll
    for (int i = 0; i < RUN; i++) codes.at[i] = (SAMPLE)level_to_code(to_float(run.at[i]), max_code);
    store_run(samples + place.y * pitch + place.x, codes, place.count);
}
