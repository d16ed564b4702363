// `streamsr.LocalAxialAttention` in half precision for few channels (COMPARED, CHANNELS) and a radius up to HALO: local_tiles.cuh.
//
// Note [Tiles]
//     A block makes 16 x 16 positions of all channels. First along rows: keys and values of 16 rows with HALO positions on either
//     side come into shared memory, 16 bytes a thread; a warp takes 4 rows, one after the other: 16 asking positions against all
//     ASKED of their row in one product, the band of 2 radius + 1 masked out of it. That wastes half of the product, which costs a
//     tensor core a tenth of what the band alone costs the other units. Then the same along columns, whose strip takes the rows'
//     place in shared memory in another order; sums of the rows wait in registers. Then both meet in shared memory as float32, and the
//     result leaves in runs of 16 bytes. Memory sees query and result once and keys and values twice to four times, mostly from L2:
//     with 8 and 16 channels, 96 bytes a position at least.
#include "local_tiles.cuh"

__device__ __forceinline__ void load_rows(
    Map query, Map key, Map value, half* shared, int n, int y, int x, int compared, int channels, int height, int width) {
    for (int i = (int)threadIdx.x; i < COMPARED * SIDE * 2; i += THREADS) {
        const int at = i % 2 * 8, row = i / 2 % SIDE, c = i / 2 / SIDE;
        *(Eight*)(shared + c * ROW_PLANE_Q + row * SIDE + at) = fetch(query, n, c, y + row, x + at, compared, height, width);
    }
    half* asked = shared + COMPARED * ROW_PLANE_Q;
    for (int i = (int)threadIdx.x; i < CHANNELS_ASKED * SIDE * TILES; i += THREADS) {
        const int at = i % TILES * 8, row = i / TILES % SIDE, c = i / TILES / SIDE;
        *(Eight*)(asked + c * ROW_PLANE + row * ASKED + at) =
            c < COMPARED ? fetch(key, n, c, y + row, x - HALO + at, compared, height, width)
                         : fetch(value, n, c - COMPARED, y + row, x - HALO + at, channels, height, width);
    }
}

// The lanes of a warp are 2 halves x 4 rows x 4 channels: their words fall on 32 banks.
__device__ __forceinline__ void load_columns(
    Map query, Map key, Map value, u32* shared, int n, int y, int x, int compared, int channels, int height, int width) {
    for (int i = (int)threadIdx.x; i < COMPARED * SIDE * 2; i += THREADS) {
        const int side = i % 2, row = i / 2 % 4 + i / 32 % (SIDE / 4) * 4, c = i / 8 % 4 + i / 32 / (SIDE / 4) * 4;
        const Run<u32, 4> words = as_words(fetch(query, n, c, y + row, x + 8 * side, compared, height, width));
        u32* to = shared + side * COLUMN_HALF_Q + c * COLUMN_PLANE_Q + 4 * row;
#pragma unroll
        for (int j = 0; j < 4; j++) to[j] = words.at[j];
    }
    u32* asked = shared + 2 * COLUMN_HALF_Q;
    for (int i = (int)threadIdx.x; i < CHANNELS_ASKED * ASKED * 2; i += THREADS) {
        const int side = i % 2, row = i / 2 % 4 + i / 32 % (ASKED / 4) * 4, c = i / 8 % 4 + i / 32 / (ASKED / 4) * 4;
        const Run<u32, 4> words = as_words(
            c < COMPARED ? fetch(key, n, c, y - HALO + row, x + 8 * side, compared, height, width)
                         : fetch(value, n, c - COMPARED, y - HALO + row, x + 8 * side, channels, height, width));
        u32* to = asked + side * COLUMN_HALF + c * COLUMN_PLANE + 4 * row;
#pragma unroll
        for (int j = 0; j < 4; j++) to[j] = words.at[j];
    }
}

// query, key: (N, compared, H, W); value, out: (N, channels, H, W). A grid of (columns / 16, rows / 16, N).
extern "C" __global__ void __launch_bounds__(THREADS) local_tiles(
    const half* query, long long query_batch, long long query_channel, long long query_row, const half* key, long long key_batch,
    long long key_channel, long long key_row, const half* value, long long value_batch, long long value_channel, long long value_row, half* out,
    long long out_batch, long long out_channel, long long out_row, int compared, int channels, int height, int width, int radius) {
    DYNAMIC_SHARED(shared);
    const Map q = {query, query_batch, query_channel, query_row}, k = {key, key_batch, key_channel, key_row},
              v = {value, value_batch, value_channel, value_row};
    const int n = (int)blockIdx.z, top = (int)blockIdx.y * SIDE, left = (int)blockIdx.x * SIDE;
    const int warp = (int)threadIdx.x / 32, g = (int)threadIdx.x % 32 / 4, t = (int)threadIdx.x % 4;

    load_rows(q, k, v, (half*)shared, n, top, left, compared, channels, height, width);
    __syncthreads();
    Accumulator of_rows[UNITS][SUMS];
#pragma unroll
    for (int unit = 0; unit < UNITS; unit++)
        ask_row((const half*)shared, (const half*)shared + COMPARED * ROW_PLANE_Q, UNITS * warp + unit, radius, of_rows[unit]);
    __syncthreads();

    load_columns(q, k, v, (u32*)shared, n, top, left, compared, channels, height, width);
    __syncthreads();
    Accumulator of_columns[UNITS / 2][2][SUMS];
#pragma unroll
    for (int unit = 0; unit < UNITS / 2; unit++) {
        const int word = UNITS / 2 * warp + unit;  // of 8, two columns each
        const u32* asking = (const u32*)shared + word / 4 * COLUMN_HALF_Q + word % 4;
        const u32* asked = (const u32*)shared + 2 * COLUMN_HALF_Q + word / 4 * COLUMN_HALF + word % 4;
        ask_columns(asking, asked, radius, of_columns[unit]);
    }
    __syncthreads();

    float* result = (float*)shared;  // (channel, y, x)
#pragma unroll
    for (int unit = 0; unit < UNITS / 2; unit++)
#pragma unroll
        for (int column = 0; column < 2; column++)
#pragma unroll
            for (int c = 0; c < SUMS; c++)
#pragma unroll
                for (int j = 0; j < 4; j++)
                    result[(8 * c + 2 * t + j % 2) * RESULT_PLANE + (g + j / 2 * 8) * RESULT_LINE + UNITS * warp + 2 * unit + column] =
                        of_columns[unit][column][c][j];
    __syncthreads();
#pragma unroll
    for (int unit = 0; unit < UNITS; unit++)
#pragma unroll
        for (int c = 0; c < SUMS; c++)
#pragma unroll
            for (int j = 0; j < 4; j++)
                result[(8 * c + 2 * t + j % 2) * RESULT_PLANE + (UNITS * warp + unit) * RESULT_LINE + g + j / 2 * 8] += of_rows[unit][c][j];
    __syncthreads();

    for (int i = (int)threadIdx.x; i < CHANNELS * SIDE * 2; i += THREADS) {
        const int at = i % 2 * 8, row = i / 2 % SIDE, c = i / 2 / SIDE, y = top + row, x = left + at;
        if (c >= channels || y >= height || x >= width) continue;
        Eight run;
#pragma unroll
        for (int j = 0; j < 8; j++) run.at[j] = to_half(result[c * RESULT_PLANE + row * RESULT_LINE + at + j]);
        half* to = out + n * out_batch + c * out_channel + y * out_row + x;
        if (x + 8 <= width && is_aligned<Eight>(to)) {
            *(Eight*)to = run;
        } else {
#pragma unroll
            for (int j = 0; j < 8; j++)
                if (x + j < width) to[j] = run.at[j];
        }
    }
}
