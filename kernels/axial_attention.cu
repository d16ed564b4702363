// The metric's attention: every position asks its row and its column, and the two answers are averaged. (N, C, H, W), half.
// Set when compiled: CHANNELS, VALUES, WARPS (axial_attention.cuh).
//
// Note [Whole lines]
//     transpose: q, k, v with rows and columns changed, so that both directions read positions that lie side by side.
//     attend_lines: a block per 16 WARPS asking positions of a line, rows and columns in one launch. The asking positions
//     stay in shared memory as they lie in memory, (C, positions), and the asked ones come by in steps of 32; `ldmatrix` turns
//     the tiles, so nothing else has to. Scores, weights and sums live in registers: what is written once is the result, in
//     float32. Logits (positions squared) never exist: for a line of L positions the plain form moves 8 L^2 bytes and more,
//     this one 2 C L L / (16 WARPS) that come from the L2 cache.
//     average: rows and columns into one, through a tile that is turned in shared memory.
#include "axial_attention.cuh"

const int SIDE = 32, STEP = 8;  // a block of transpose and average is 32 x 8 threads and turns 32 x 32 elements

struct Corner {
    int n, c, y, x;
};

__device__ __forceinline__ Corner find_corner(int channels) {
    Corner corner;
    corner.n = (int)blockIdx.z / channels;
    corner.c = (int)blockIdx.z % channels;
    corner.y = (int)blockIdx.y * SIDE;
    corner.x = (int)blockIdx.x * SIDE;
    return corner;
}

__device__ __forceinline__ void turn(Lines<const half> from, Lines<half> to, Corner corner, int height, int width) {
    __shared__ half tile[SIDE][SIDE + 2];
    for (int i = (int)threadIdx.y; i < SIDE; i += STEP) {
        const int y = corner.y + i, x = corner.x + (int)threadIdx.x;
        if (y < height && x < width) tile[i][threadIdx.x] = from.at(corner.n, corner.c, y)[x];
    }
    __syncthreads();
    for (int i = (int)threadIdx.y; i < SIDE; i += STEP) {
        const int y = corner.y + (int)threadIdx.x, x = corner.x + i;
        if (y < height && x < width) to.at(corner.n, corner.c, x)[y] = tile[threadIdx.x][i];
    }
    __syncthreads();
}

// q, k, v: (N, C, H, W) of any strides -> (N, C, W, pitch)
extern "C" __global__ void transpose(
    const half* q, long long q_batch, long long q_channel, long long q_line, const half* k, long long k_batch, long long k_channel,
    long long k_line, const half* v, long long v_batch, long long v_channel, long long v_line, half* turned_q, half* turned_k,
    half* turned_v, long long pitch, int channels, int height, int width) {
    const Corner corner = find_corner(channels);
    const long long channel = width * pitch, batch = channels * channel;
    turn({q, q_batch, q_channel, q_line}, {turned_q, batch, channel, pitch}, corner, height, width);
    turn({k, k_batch, k_channel, k_line}, {turned_k, batch, channel, pitch}, corner, height, width);
    turn({v, v_batch, v_channel, v_line}, {turned_v, batch, channel, pitch}, corner, height, width);
}

// rows: (N, C, H, W) float32; columns: (N, C, W, H) float32 -> out: (N, C, H, W) half of any strides
extern "C" __global__ void average(
    const float* rows, const float* columns, half* out, long long batch, long long channel, long long line, int channels, int height,
    int width) {
    __shared__ float tile[SIDE][SIDE + 1];
    const Corner corner = find_corner(channels);
    const Lines<half> to = {out, batch, channel, line};
    const long long plane = ((long long)corner.n * channels + corner.c) * height * width;
    for (int i = (int)threadIdx.y; i < SIDE; i += STEP) {
        const int x = corner.x + i, y = corner.y + (int)threadIdx.x;
        if (y < height && x < width) tile[threadIdx.x][i] = columns[plane + (long long)x * height + y];
    }
    __syncthreads();
    for (int i = (int)threadIdx.y; i < SIDE; i += STEP) {
        const int y = corner.y + i, x = corner.x + (int)threadIdx.x;
        if (y < height && x < width)
            to.at(corner.n, corner.c, y)[x] = to_half((rows[plane + (long long)y * width + x] + tile[i][threadIdx.x]) * 0.5f);
    }
}

// A tile of one line; out: (N, C, lines, length) float32.
__device__ __forceinline__ void attend_tile(
    Lines<const half> q, Lines<const half> k, Lines<const half> v, float* out, int n, int y, int start, int channels, int lines, int length,
    float scale) {
    DYNAMIC_SHARED(shared);
    half* asking = (half*)shared;
    half* keys = asking + CHANNELS * ASKING_PITCH;
    half* values = keys + CHANNELS * ASKED_PITCH;
    const int first = (int)blockIdx.y * VALUES, warp = (int)threadIdx.x / 32, g = (int)threadIdx.x % 32 / 4, t = (int)threadIdx.x % 4;
    Softmax softmax = {{NOTHING, NOTHING}, {0.0f, 0.0f}};
    Accumulator sums[SUMS];
#pragma unroll
    for (int c = 0; c < SUMS; c++) sums[c][0] = sums[c][1] = sums[c][2] = sums[c][3] = 0.0f;
    fetch<CHANNELS, ASKING, ASKING_PITCH>(asking, q, n, y, start, 0, channels, length);
    for (int at = 0; at < length; at += ASKED) {
        fetch<CHANNELS, ASKED, ASKED_PITCH>(keys, k, n, y, at, 0, channels, length);
        fetch<VALUES, ASKED, ASKED_PITCH>(values, v, n, y, at, first, channels, length);
        __syncthreads();
        attend(asking + 16 * warp, keys, values, length - at, scale, softmax, sums);
        __syncthreads();
    }
    const float share[2] = {1.0f / softmax.sum[0], 1.0f / softmax.sum[1]};
    const long long plane = (long long)lines * length;
    const int x = start + 16 * warp + g;
    float* target = out + ((long long)n * channels + first + 2 * t) * plane + (long long)y * length + x;
#pragma unroll
    for (int c = 0; c < SUMS; c++) {
#pragma unroll
        for (int j = 0; j < 4; j++)
            if (first + 8 * c + 2 * t + j % 2 < channels && x + j / 2 * 8 < length)
                target[j % 2 * plane + j / 2 * 8] = sums[c][j] * share[j / 2];
        target += 8 * plane;
    }
}

// q, k, v: (N, C, H, W) of any strides; turned_*: (N, C, W, pitch); rows (N, C, H, W) and columns (N, C, W, H): float32, written whole.
// A grid of N H blocks for each tile of a row, then N W for each tile of a column; the second axis parts the value's channels.
// scale: log2(e) / sqrt(C).
extern "C" __global__ void __launch_bounds__(32 * WARPS) attend_lines(
    const half* q, long long q_batch, long long q_channel, long long q_line, const half* k, long long k_batch, long long k_channel,
    long long k_line, const half* v, long long v_batch, long long v_channel, long long v_line, const half* turned_q, const half* turned_k,
    const half* turned_v, long long pitch, float* rows, float* columns, int batches, int channels, int height, int width, float scale) {
    const int tiles_of_row = (width + ASKING - 1) / ASKING, tiles_of_column = (height + ASKING - 1) / ASKING;
    const int num_row_blocks = batches * height * tiles_of_row;
    const bool along_rows = (int)blockIdx.x < num_row_blocks;
    const int block = along_rows ? (int)blockIdx.x : (int)blockIdx.x - num_row_blocks;
    const int tiles = along_rows ? tiles_of_row : tiles_of_column;
    const int lines = along_rows ? height : width, length = along_rows ? width : height;
    Lines<const half> asking = {q, q_batch, q_channel, q_line}, keys = {k, k_batch, k_channel, k_line};
    Lines<const half> values = {v, v_batch, v_channel, v_line};
    if (!along_rows) {
        const long long channel = width * pitch, batch = channels * channel;
        asking = {turned_q, batch, channel, pitch};
        keys = {turned_k, batch, channel, pitch};
        values = {turned_v, batch, channel, pitch};
    }
    const int n = block / tiles / lines, y = block / tiles % lines, start = block % tiles * ASKING;
    attend_tile(asking, keys, values, along_rows ? rows : columns, n, y, start, channels, lines, length, scale);
}
