// A decoder's surface <-> planes of levels. Set when compiled: SAMPLE (u8, u16), LEVEL (half, float), CHANNELS (1, 2).
//
// Note [Planes]
//     Bound by memory: 3 bytes a sample from 8 bits to half, 4 from 16 bits. A thread moves 8 samples of a row: 8 or 16
//     bytes of codes in, 16 bytes of half precision out, in one access each where addresses allow, else by twos or one by
//     one (odd widths, views that start anywhere). Blocks are 32 threads wide, so a warp's accesses are 256 codes in a row.
//     Interleaved chroma (CHANNELS 2) is taken apart in registers: both planes are written in whole runs. The division
//     is a true one: level = code / (2^bits - 1) is the correctly rounded float, and then the nearest half.
#include "planes.cuh"

// pitches in elements; the second plane of levels is read only where there are two channels
extern "C" __global__ void unpack(
    const SAMPLE* samples, long long pitch, LEVEL* first, long long first_pitch, LEVEL* second, long long second_pitch,
    int width, int height, int shift, float max_code) {
    const Place place = find_place(width, height);
    if (place.count <= 0) return;
    const Plane<LEVEL> levels[2] = {{first, first_pitch}, {second, second_pitch}};
    unpack_run<CHANNELS>(Plane<const SAMPLE>{samples, pitch}, levels, place.x, place.y, place.count, shift, max_code);
}

extern "C" __global__ void pack(
    const LEVEL* first, long long first_pitch, const LEVEL* second, long long second_pitch, SAMPLE* samples, long long pitch,
    int width, int height, int shift, float max_code) {
    const Place place = find_place(width, height);
    if (place.count <= 0) return;
    const Plane<const LEVEL> levels[2] = {{first, first_pitch}, {second, second_pitch}};
    pack_run<CHANNELS>(levels, Plane<SAMPLE>{samples, pitch}, place.x, place.y, place.count, shift, max_code);
}
