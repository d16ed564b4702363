// `streamsr.LocalAxialAttention` one position a thread: float or half, any number of channels and any radius.
// Set when compiled: VALUE (half, float). Half precision with few channels goes to local_tiles.cu instead.
#include "local_attention.cuh"

// query, key: (N, compared, H, W); value, out: (N, channels, H, W). A grid of (columns / 32, rows / 8, N * chunks of the value).
extern "C" __global__ void local_attention(
    const VALUE* query, long long query_batch, long long query_channel, long long query_row, const VALUE* key, long long key_batch,
    long long key_channel, long long key_row, const VALUE* value, long long value_batch, long long value_channel, long long value_row,
    VALUE* out, long long out_batch, long long out_channel, long long out_row, int compared, int channels, int height, int width, int radius) {
    const int x = (int)(blockIdx.x * blockDim.x + threadIdx.x), y = (int)(blockIdx.y * blockDim.y + threadIdx.y);
    const int chunks = (channels + CHUNK - 1) / CHUNK, n = (int)blockIdx.z / chunks, first = (int)blockIdx.z % chunks * CHUNK;
    if (x >= width || y >= height) return;
    const Map<const VALUE> q = {query, query_batch, query_channel, query_row}, k = {key, key_batch, key_channel, key_row},
                           v = {value, value_batch, value_channel, value_row};
    const int count = min(channels - first, CHUNK);
    float sums[CHUNK];
#pragma unroll
    for (int c = 0; c < CHUNK; c++) sums[c] = 0.0f;
    attend_along(q, k, v, n, y, x, 0, 1, radius, compared, first, count, height, width, sums);
    attend_along(q, k, v, n, y, x, 1, 0, radius, compared, first, count, height, width, sums);
    const Map<VALUE> to = {out, out_batch, out_channel, out_row};
#pragma unroll
    for (int c = 0; c < CHUNK; c++)
        if (c < count) *to.at(n, first + c, y, x) = from_float<VALUE>(sums[c]);
}
