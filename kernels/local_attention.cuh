// The network's attention: a position asks those within `radius` of it along an axis; outside the picture lie zeros, which take
// part. One position at a time, any number of channels, float32 sums: what the tiles of local_attention.cu are checked against.
#include "half.cuh"

const int CHUNK = 16;  // channels of the value that a thread sums

// (N, channels, H, W) of any strides, in elements; positions of a row lie side by side
template <typename Value> struct Map {
    Value* first;
    long long batch, channel, row;

    BOTH Value* at(int n, int c, int y, int x) const { return first + n * batch + c * channel + y * row + x; }
};

// query . key of (y, x) and the position `offset` further along the axis, 0 outside the picture
template <typename Value>
BOTH float score(
    Map<const Value> query, Map<const Value> key, int n, int y, int x, int down, int across, int compared, int height, int width) {
    const int at_y = y + down, at_x = x + across;
    if (at_y < 0 || at_y >= height || at_x < 0 || at_x >= width) return 0.0f;
    float sum = 0.0f;
    for (int d = 0; d < compared; d++) sum += to_float(*query.at(n, d, y, x)) * to_float(*key.at(n, d, at_y, at_x));
    return sum;
}

// Adds half of what (y, x) learns along one axis (down, across: a unit step) to `sums`: `count` channels of the value from `first` on.
template <typename Value>
BOTH void attend_along(
    Map<const Value> query, Map<const Value> key, Map<const Value> value, int n, int y, int x, int down, int across, int radius,
    int compared, int first, int count, int height, int width, float* sums) {
    float maximum = score(query, key, n, y, x, 0, 0, compared, height, width), total = 0.0f, weighed[CHUNK];
    for (int offset = -radius; offset <= radius; offset++)
        maximum = fmaxf(maximum, score(query, key, n, y, x, down * offset, across * offset, compared, height, width));
    for (int c = 0; c < CHUNK; c++) weighed[c] = 0.0f;
    for (int offset = -radius; offset <= radius; offset++) {
        const int at_y = y + down * offset, at_x = x + across * offset;
        const float weight = expf(score(query, key, n, y, x, down * offset, across * offset, compared, height, width) - maximum);
        total += weight;
        if (at_y < 0 || at_y >= height || at_x < 0 || at_x >= width) continue;
#pragma unroll
        for (int c = 0; c < CHUNK; c++)
            if (c < count) weighed[c] += weight * to_float(*value.at(n, first + c, at_y, at_x));
    }
#pragma unroll
    for (int c = 0; c < CHUNK; c++) sums[c] += weighed[c] / total * 0.5f;
}
