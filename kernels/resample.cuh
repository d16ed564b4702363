// One sample of a separable resampling in integers, as FFmpeg's swscale counts: weights of 14 bits across and 12 bits down, and
// between the two a sum of 15 bits (19 where codes have 16), so that results do not depend on the device.
#include "half.cuh"

BOTH int sum_bits(int bits) { return bits <= 14 ? 15 : 19; }

// What weighs in one column of the result, for ROWS rows of samples that share the weights. pitch: between rows of samples; columns:
// between a column's weights.
template <int ROWS, typename Sample>
BOTH void weigh_across(
    const Sample* samples, long long pitch, const short* weights, int columns, int taps, int bits, int (&sums)[ROWS]) {
    for (int row = 0; row < ROWS; row++) sums[row] = 0;
    for (int tap = 0; tap < taps; tap++) {
        const int weight = weights[(long long)tap * columns];
#pragma unroll
        for (int row = 0; row < ROWS; row++) sums[row] += (int)samples[row * pitch + tap] * weight;
    }
    const int limit = (1 << sum_bits(bits)) - 1;
#pragma unroll
    for (int row = 0; row < ROWS; row++) {
        sums[row] >>= bits + 14 - sum_bits(bits);
        if (sums[row] > limit) sums[row] = limit;
    }
}

// The sums above and below that weigh in one row of the result, as a code.
BOTH u32 weigh_down(const int* sums, int pitch, const short* weights, int taps, int bits) {
    const int shift = sum_bits(bits) + 12 - bits, middle = 1 << 30;  // of 16 bits, a sum reaches 1.3 x 2^31: with 2^30 less it has a sign
    u32 sum = (1u << (shift - 1)) - (u32)middle;
    for (int tap = 0; tap < taps; tap++) sum += (u32)sums[tap * pitch] * (u32)(int)weights[tap];
    const int code = ((int)sum >> shift) + (middle >> shift), max_code = (1 << bits) - 1;
    return (u32)(code < 0 ? 0 : code > max_code ? max_code : code);
}
