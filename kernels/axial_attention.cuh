// A tile of positions of one line against all positions of that line: softmax(q . k / sqrt(C)) v with a running maximum.
// Set when compiled: CHANNELS (C rounded up to 16), VALUES (channels of the value that a block sums: all, or a part of them where
// a thread's registers would not hold them), WARPS (16 asking positions each).
#include "warp.cuh"

const int ASKING = 16 * WARPS, ASKED = 32;             // positions a block holds at a time
const int ASKING_PITCH = ASKING + 8, ASKED_PITCH = ASKED + 8;  // halves; an odd number of 16 bytes: tiles load without bank conflicts
const int SUMS = VALUES / 8;

// (N, C, lines, positions); strides in elements, positions lie side by side
template <typename Value> struct Lines {
    Value* first;
    long long batch, channel, line;

    __device__ __forceinline__ Value* at(int n, int c, int y) const { return first + n * batch + c * channel + y * line; }
};

// WIDTH positions from `start` on of COUNT channels from `first` on, into shared memory (COUNT, PITCH); zeros where there are none.
template <int COUNT, int WIDTH, int PITCH>
__device__ __forceinline__ void fetch(half* shared, Lines<const half> lines, int n, int y, int start, int first, int channels, int length) {
    typedef Run<half, 8> Eight;
    for (int i = (int)threadIdx.x; i < COUNT * (WIDTH / 8); i += 32 * WARPS) {
        const int c = i / (WIDTH / 8), at = i % (WIDTH / 8) * 8, count = min(length - start - at, 8);
        Eight run = {};
        if (first + c < channels && count > 0) run = load_run<8>(lines.at(n, first + c, y) + start + at, count);
        *(Eight*)(shared + c * PITCH + at) = run;
    }
}

struct Softmax {
    float maximum[2], sum[2];  // of rows g and g + 8; in powers of two
};

// 16 asking positions of this warp (`asking`, in shared memory) against 32 asked ones: scores, weights, and the values they weigh.
__device__ __forceinline__ void attend(
    const half* asking, const half* keys, const half* values, int num_asked, float scale, Softmax& softmax, Accumulator (&sums)[SUMS]) {
    const int lane = (int)threadIdx.x % 32, tile = lane / 8, row = lane % 8, t = lane % 4;
    Accumulator scores[ASKED / 8];
#pragma unroll
    for (int i = 0; i < ASKED / 8; i++) scores[i][0] = scores[i][1] = scores[i][2] = scores[i][3] = 0.0f;
#pragma unroll 2
    for (int c = 0; c < CHANNELS; c += 16) {
        FragmentA q;
        load_tiles<4, true>(q, asking + (c + tile / 2 * 8 + row) * ASKING_PITCH + tile % 2 * 8);
#pragma unroll
        for (int i = 0; i < ASKED / 8; i += 2) {
            u32 k[4];
            load_tiles<4, true>(k, keys + (c + tile % 2 * 8 + row) * ASKED_PITCH + (i + tile / 2) * 8);
            multiply_16(scores[i], q, k[0], k[1]);
            multiply_16(scores[i + 1], q, k[2], k[3]);
        }
    }
    float maximum[2] = {softmax.maximum[0], softmax.maximum[1]};
#pragma unroll
    for (int i = 0; i < ASKED / 8; i++)
#pragma unroll
        for (int j = 0; j < 4; j++) {
            scores[i][j] = 8 * i + 2 * t + j % 2 < num_asked ? scores[i][j] * scale : NOTHING;
            maximum[j / 2] = fmaxf(maximum[j / 2], scores[i][j]);
        }
    float sum[2] = {0.0f, 0.0f}, fade[2];
#pragma unroll
    for (int side = 0; side < 2; side++) {
        maximum[side] = max_of_row(maximum[side]);
        fade[side] = exp2_of(softmax.maximum[side] - maximum[side]);  // 0 at first, when the last maximum is NOTHING
    }
    u32 weights[ASKED / 8][2];
    weigh(scores, maximum, weights, sum);
#pragma unroll
    for (int side = 0; side < 2; side++) {
        softmax.sum[side] = softmax.sum[side] * fade[side] + sum_of_row(sum[side]);
        softmax.maximum[side] = maximum[side];
    }
#pragma unroll
    for (int c = 0; c < SUMS; c++) {
        u32 v[4];
        load_tiles<4, false>(v, values + (8 * c + row) * ASKED_PITCH + tile * 8);
#pragma unroll
        for (int j = 0; j < 4; j++) sums[c][j] *= fade[j / 2];
        const FragmentA near = {weights[0][0], weights[0][1], weights[1][0], weights[1][1]};
        const FragmentA far = {weights[2][0], weights[2][1], weights[3][0], weights[3][1]};
        multiply_16(sums[c], near, v[0], v[1]);
        multiply_16(sums[c], far, v[2], v[3]);
    }
}
