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

const int AT_ONCE = (HALO == 8 ? 4 : 6) / (CHANNELS > 16 ? 2 : 1);  // runs of 8 on their way before the first is stored

// What the three maps are, and the corner of the tile.
struct Input {
    Map query, key, value;
    int n, y, x, compared, channels, height, width;

    __device__ __forceinline__ Eight asking(int c, int row, int at) const {
        return fetch(query, n, c, y + row, x + at, compared, height, width);
    }

    // keys, then values; row and at: from the tile's corner
    __device__ __forceinline__ Eight asked(int c, int row, int at) const {
        const bool is_key = c < COMPARED;
        const Map map = {is_key ? key.first : value.first, is_key ? key.batch : value.batch, is_key ? key.channel : value.channel,
                         is_key ? key.row : value.row};
        return fetch(map, n, is_key ? c : c - COMPARED, y + row, x + at, is_key ? compared : channels, height, width);
    }
};

__device__ __forceinline__ void load_rows(const Input& input, half* shared) {
    for (int i = (int)threadIdx.x; i < COMPARED * SIDE * 2; i += THREADS) {
        const int at = i % 2 * 8, row = i / 2 % SIDE, c = i / 2 / SIDE;
        *(Eight*)(shared + c * ROW_PLANE_Q + row * SIDE + at) = input.asking(c, row, at);
    }
    half* asked = shared + COMPARED * ROW_PLANE_Q;
    const int count = CHANNELS_ASKED * SIDE * TILES;  // a multiple of THREADS AT_ONCE
    for (int i = (int)threadIdx.x; i < count; i += THREADS * AT_ONCE) {
        Eight runs[AT_ONCE];
#pragma unroll
        for (int j = 0; j < AT_ONCE; j++) {
            const int k = i + THREADS * j;
            runs[j] = input.asked(k / TILES / SIDE, k / TILES % SIDE, k % TILES * 8 - HALO);
        }
#pragma unroll
        for (int j = 0; j < AT_ONCE; j++) {
            const int k = i + THREADS * j;
            *(Eight*)(asked + k / TILES / SIDE * ROW_PLANE + k / TILES % SIDE * ASKED + k % TILES * 8) = runs[j];
        }
    }
}

__device__ __forceinline__ void store_words(u32* to, const Eight& run) {
#pragma unroll
    for (int i = 0; i < 4; i++) to[i] = pair(run.at[2 * i].bits, run.at[2 * i + 1].bits);
}

// A run's half of the tile, row of `rows`, and channel. The lanes of a warp are 2 halves x 4 rows x 4 channels: words on 32 banks.
struct Spot {
    int side, row, c;

    __device__ __forceinline__ Spot(int i, int rows)
        : side(i % 2), row(i / 2 % 4 + i / 32 % (rows / 4) * 4), c(i / 8 % 4 + i / 32 / (rows / 4) * 4) {}
};

__device__ __forceinline__ void load_columns(const Input& input, u32* shared) {
    for (int i = (int)threadIdx.x; i < COMPARED * SIDE * 2; i += THREADS) {
        const Spot to(i, SIDE);
        store_words(shared + to.side * COLUMN_HALF_Q + to.c * COLUMN_PLANE_Q + 4 * to.row, input.asking(to.c, to.row, 8 * to.side));
    }
    u32* asked = shared + 2 * COLUMN_HALF_Q;
    const int count = CHANNELS_ASKED * ASKED * 2;  // a multiple of THREADS AT_ONCE
    for (int i = (int)threadIdx.x; i < count; i += THREADS * AT_ONCE) {
        Eight runs[AT_ONCE];
#pragma unroll
        for (int j = 0; j < AT_ONCE; j++) {
            const Spot from(i + THREADS * j, ASKED);
            runs[j] = input.asked(from.c, from.row - HALO, 8 * from.side);
        }
#pragma unroll
        for (int j = 0; j < AT_ONCE; j++) {
            const Spot to(i + THREADS * j, ASKED);
            store_words(asked + to.side * COLUMN_HALF + to.c * COLUMN_PLANE + 4 * to.row, runs[j]);
        }
    }
}

static_assert(CHANNELS_ASKED * SIDE * TILES % (THREADS * AT_ONCE) == 0, "whole rounds of rows");
static_assert(CHANNELS_ASKED * ASKED * 2 % (THREADS * AT_ONCE) == 0, "whole rounds of columns");

// query, key: (N, compared, H, W); value, out: (N, channels, H, W). A grid of (columns / 16, rows / 16, N).
extern "C" __global__ void __launch_bounds__(THREADS) local_tiles(
    const half* query, long long query_batch, long long query_channel, long long query_row, const half* key, long long key_batch,
    long long key_channel, long long key_row, const half* value, long long value_batch, long long value_channel, long long value_row,
    half* out, long long out_batch, long long out_channel, long long out_row, int compared, int channels, int height, int width, int radius) {
    DYNAMIC_SHARED(shared);
    const int n = (int)blockIdx.z, top = (int)blockIdx.y * SIDE, left = (int)blockIdx.x * SIDE;
    const Input input = {{query, query_batch, query_channel, query_row}, {key, key_batch, key_channel, key_row},
                         {value, value_batch, value_channel, value_row}, n, top, left, compared, channels, height, width};
    const int warp = (int)threadIdx.x / 32, g = (int)threadIdx.x % 32 / 4, t = (int)threadIdx.x % 4;

    load_rows(input, (half*)shared);
    __syncthreads();
    Accumulator of_rows[UNITS][SUMS];
#pragma unroll
    for (int unit = 0; unit < UNITS; unit++)
        ask_row((const half*)shared, (const half*)shared + COMPARED * ROW_PLANE_Q, UNITS * warp + unit, radius, of_rows[unit]);
    __syncthreads();

    load_columns(input, (u32*)shared);
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
        store_run(out + n * out_batch + c * out_channel + y * out_row + x, run, width - x);
    }
}
