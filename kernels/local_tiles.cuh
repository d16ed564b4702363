// A tile of 16 x 16 positions and what they ask, on tensor cores. Set when compiled: COMPARED (D rounded up to 8), CHANNELS (C rounded
// up to 8), HALO (8 or 16, at least the radius: runs of 8 then start where 16 bytes do).
#include "warp.cuh"

const int SIDE = 16, THREADS = 128, UNITS = SIDE / (THREADS / 32);  // lines of the tile that a warp has
const int ASKED = SIDE + 2 * HALO, TILES = ASKED / 8;               // positions that those of a line ask
const int SUMS = CHANNELS / 8, CHANNELS_ASKED = COMPARED + CHANNELS;
// Along rows, shared memory is (channel, row, position): runs of 8 for `ldmatrix`, planes an odd number of 16 bytes apart.
const int ROW_PLANE_Q = SIDE * SIDE + 8, ROW_PLANE = SIDE * ASKED + 8;  // halves
// Along columns it is (left or right half, channel, position, 8 columns): a word holds two columns, for two products at a time. Planes
// are 1 word more than positions need, so lanes (channel, position) or (position, channel) fall on 32 banks; halves 16 banks apart.
const int COLUMN_PLANE_Q = 4 * SIDE + 1, COLUMN_PLANE = 4 * ASKED + 1;  // words
const int COLUMN_HALF_Q = COMPARED * COLUMN_PLANE_Q, COLUMN_HALF = (CHANNELS_ASKED * COLUMN_PLANE + 15) / 32 * 32 + 16;
const int RESULT_LINE = SIDE + 1, RESULT_PLANE = SIDE * RESULT_LINE + 4;  // floats

typedef Run<half, 8> Eight;

// (N, channels, H, W) of any strides, in elements; positions of a row lie side by side
struct Map {
    const half* first;
    long long batch, channel, row;
};

// 8 positions of a row from x on, zeros outside the picture and above `channels`. x is a multiple of 8, perhaps below 0.
__device__ __forceinline__ Eight fetch(Map map, int n, int c, int y, int x, int channels, int height, int width) {
    Eight run = {};
    if (c < channels && y >= 0 && y < height && x >= 0 && x < width)
        run = load_run<8>(map.first + n * map.batch + c * map.channel + y * map.row + x, width - x);
    return run;
}

// scores -> weights of the 16 asking positions (rows g and g + 8), as the left side of the next product; 1 / their sum to `share`.
// Out of the band of 2 radius + 1 positions nothing is asked.
__device__ __forceinline__ void weigh(Accumulator (&scores)[TILES], int radius, u32 (&weights)[TILES][2], float (&share)[2]) {
    const int g = (int)threadIdx.x % 32 / 4, t = (int)threadIdx.x % 4;
    const float log2_e = 1.4426950408889634f;
    float maximum[2] = {NOTHING, NOTHING}, sum[2] = {0.0f, 0.0f};
#pragma unroll
    for (int i = 0; i < TILES; i++)
#pragma unroll
        for (int j = 0; j < 4; j++) {
            const int offset = 8 * i + 2 * t + j % 2 - HALO - (g + j / 2 * 8);
            scores[i][j] = offset >= -radius && offset <= radius ? scores[i][j] * log2_e : NOTHING;
            maximum[j / 2] = fmaxf(maximum[j / 2], scores[i][j]);
        }
#pragma unroll
    for (int side = 0; side < 2; side++) maximum[side] = max_of_row(maximum[side]);
    weigh(scores, maximum, weights, sum);
#pragma unroll
    for (int side = 0; side < 2; side++) share[side] = 0.5f / sum_of_row(sum[side]);
}

__device__ __forceinline__ void clear(Accumulator& sum) { sum[0] = sum[1] = sum[2] = sum[3] = 0.0f; }

// Positions 16 along row `y` of the tile -> sums of rows g and g + 8 (positions x), channels 8 i + 2t and 2t + 1.
__device__ __forceinline__ void ask_row(const half* query, const half* asked, int y, int radius, Accumulator (&sums)[SUMS]) {
    const int tile = (int)threadIdx.x % 32 / 8, row = (int)threadIdx.x % 8;
    Accumulator scores[TILES];
#pragma unroll
    for (int i = 0; i < TILES; i++) clear(scores[i]);
#pragma unroll
    for (int d = 0; d < COMPARED; d += 8) {
        u32 q[2];
        load_tiles<2, true>(q, query + (d + row) * ROW_PLANE_Q + y * SIDE + tile % 2 * 8);
#pragma unroll
        for (int i = 0; i < TILES; i += 2) {
            u32 k[2];
            load_tiles<2, true>(k, asked + (d + row) * ROW_PLANE + y * ASKED + (i + tile % 2) * 8);
            multiply_8(scores[i], q[0], q[1], k[0]);
            multiply_8(scores[i + 1], q[0], q[1], k[1]);
        }
    }
    u32 weights[TILES][2];
    float share[2];
    weigh(scores, radius, weights, share);
#pragma unroll
    for (int c = 0; c < SUMS; c++) {
        clear(sums[c]);
#pragma unroll
        for (int i = 0; i < TILES; i += 2) {
            u32 v[2];
            load_tiles<2, false>(v, asked + (COMPARED + 8 * c + row) * ROW_PLANE + y * ASKED + (i + tile % 2) * 8);
            const FragmentA part = {weights[i][0], weights[i][1], weights[i + 1][0], weights[i + 1][1]};
            multiply_16(sums[c], part, v[0], v[1]);
        }
#pragma unroll
        for (int j = 0; j < 4; j++) sums[c][j] *= share[j / 2];
    }
}

// Which half of the word belongs to the column.
__device__ __forceinline__ u32 join(u32 first, u32 second, int column) {
#ifdef __CUDA_ARCH__
    return __byte_perm(first, second, column ? 0x7632 : 0x5410);
#else
    return column ? pair((u16)(first >> 16), (u16)(second >> 16)) : pair((u16)first, (u16)second);
#endif
}

// Positions 16 down columns 2 `word` and 2 `word` + 1 of one half of the tile -> sums of rows g and g + 8 (positions y), as above.
// Lane 4 g + t brings channels t and t + 4 where the product counts 2t and 2t + 1: any order will do that both sides have.
__device__ __forceinline__ void ask_columns(const u32* query, const u32* asked, int radius, Accumulator (&sums)[2][SUMS]) {
    const int g = (int)threadIdx.x % 32 / 4, t = (int)threadIdx.x % 4;
    Accumulator scores[2][TILES];
#pragma unroll
    for (int i = 0; i < TILES; i++) clear(scores[0][i]), clear(scores[1][i]);
#pragma unroll
    for (int d = 0; d < COMPARED; d += 8) {
        const u32* near = query + (d + t) * COLUMN_PLANE_Q + 4 * g;
        const u32* far = near + 4 * COLUMN_PLANE_Q;
        const u32 q[4] = {near[0], far[0], near[32], far[32]};  // rows g, then rows g + 8
        const u32* key = asked + (d + t) * COLUMN_PLANE + 4 * g;
#pragma unroll
        for (int i = 0; i < TILES; i++) {
            const u32 k[2] = {key[32 * i], key[4 * COLUMN_PLANE + 32 * i]};
#pragma unroll
            for (int column = 0; column < 2; column++)
                multiply_8(scores[column][i], join(q[0], q[1], column), join(q[2], q[3], column), join(k[0], k[1], column));
        }
    }
    u32 weights[2][TILES][2];
    float share[2][2];
    weigh(scores[0], radius, weights[0], share[0]);
    weigh(scores[1], radius, weights[1], share[1]);
#pragma unroll
    for (int c = 0; c < SUMS; c++) {
        clear(sums[0][c]), clear(sums[1][c]);
        const u32* value = asked + (COMPARED + 8 * c + g) * COLUMN_PLANE + 8 * t;  // channel g, position 2t
#pragma unroll
        for (int i = 0; i < TILES; i += 2) {
            const u32 v[4] = {value[32 * i], value[32 * i + 4], value[32 * i + 32], value[32 * i + 36]};
#pragma unroll
            for (int column = 0; column < 2; column++) {
                const FragmentA part = {weights[column][i][0], weights[column][i][1], weights[column][i + 1][0], weights[column][i + 1][1]};
                multiply_16(sums[column][c], part, join(v[0], v[1], column), join(v[2], v[3], column));
            }
        }
#pragma unroll
        for (int j = 0; j < 4; j++) sums[0][c][j] *= share[0][j / 2], sums[1][c][j] *= share[1][j / 2];
    }
}
