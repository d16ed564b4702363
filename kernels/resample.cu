// A plane to another size. Set when compiled: SAMPLE (u8, u16).
//
// Note [Resampling]
//     A block makes 32 columns of `tile_height` rows: it weighs every input row that these need across, once, into shared
//     memory, (rows, 32) ints, and then weighs down from there. The plane between the two passes never reaches memory: a
//     sample is read once by each of the few tiles that it weighs in, a result is written once. A thread owns a column, so a
//     warp reads neighbouring samples and weights, which lie (tap, column), and shared memory without conflicts; four rows at
//     a time share each weight. Enlarging x2, a tile of 32 rows needs 22 input rows: 6 (22 / 32 + 1) multiply-adds a sample.
//     The tables of weights and first samples come from filters.py, which says where they come from.
#include "resample.cuh"
#include "shared.cuh"

const int TILE_WIDTH = 32, AT_ONCE = 4;

// Pitches in samples. A grid of (columns / 32, rows / tile_height); blocks of 32 x 8 threads. first_*: of the samples that weigh.
extern "C" __global__ void resample(
    const SAMPLE* in, long long in_pitch, SAMPLE* out, long long out_pitch, int width, int height, int tile_height, const int* first_x,
    const short* weights_x, int taps_x, const int* first_y, const short* weights_y, int taps_y, int bits) {
    DYNAMIC_SHARED(shared);
    int* sums = (int*)shared;
    const int x = (int)blockIdx.x * TILE_WIDTH + (int)threadIdx.x, top = (int)blockIdx.y * tile_height;
    const int bottom = min(top + tile_height, height), first_row = first_y[top], rows = first_y[bottom - 1] + taps_y - first_row;
    if (x < width) {
        const SAMPLE* column = in + first_x[x] + first_row * in_pitch;
        int row = (int)threadIdx.y * AT_ONCE;
        for (; row + AT_ONCE <= rows; row += (int)blockDim.y * AT_ONCE) {
            int of_rows[AT_ONCE];
            weigh_across(column + row * in_pitch, in_pitch, weights_x + x, width, taps_x, bits, of_rows);
#pragma unroll
            for (int i = 0; i < AT_ONCE; i++) sums[(row + i) * TILE_WIDTH + threadIdx.x] = of_rows[i];
        }
        for (; row < rows; row++) {  // of one thread in y at most: the last rows, fewer than AT_ONCE
            int of_row[1];
            weigh_across(column + row * in_pitch, in_pitch, weights_x + x, width, taps_x, bits, of_row);
            sums[row * TILE_WIDTH + threadIdx.x] = of_row[0];
        }
    }
    __syncthreads();
    if (x >= width) return;
    for (int y = top + (int)threadIdx.y; y < bottom; y += (int)blockDim.y) {
        const int* above = sums + (first_y[y] - first_row) * TILE_WIDTH + threadIdx.x;
        const u32 code = weigh_down(above, TILE_WIDTH, weights_y + (long long)y * taps_y, taps_y, bits);
        out[y * out_pitch + x] = (SAMPLE)code;
    }
}
