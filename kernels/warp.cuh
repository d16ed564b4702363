// What a warp does together: matrix products on tensor cores, loads of 8 x 8 tiles, maxima and sums. In a build for the CPU
// (tests/kernels/cuda_on_host.hpp) lanes are fibres and `swap_in_warp` shows each what the others brought.
#include "half.cuh"
#include "shared.cuh"

const float NOTHING = -3.0e38f;  // the score of a position that is not asked: its weight is 0, and no infinities meet

typedef u32 FragmentA[4];    // 16 rows x 16 k: lane 4 g + t has rows g (0, 2) and g + 8 (1, 3), k 2t.. (0, 1) and 2t + 8.. (2, 3)
typedef float Accumulator[4];  // 16 rows x 8 columns: rows g (0, 1) and g + 8 (2, 3), columns 2t and 2t + 1

#ifdef __CUDACC__

__device__ __forceinline__ float exp2_of(float value) {
    float result;
    asm("ex2.approx.f32 %0, %1;" : "=f"(result) : "f"(value));  // 2 ulp; 0 where it is too small
    return result;
}

__device__ __forceinline__ float from_lane(float value, int mask) { return __shfl_xor_sync(0xffffffffu, value, mask); }

// COUNT (2 or 4) tiles of 8 rows of 16 bytes; lane i brings the address of row i % 8 of tile i / 8 (16 bytes aligned). Register n
// of lane 4 g + t is tile n's row g, elements 2t and 2t + 1; transposed: elements g of rows 2t and 2t + 1.
template <int COUNT, bool TRANSPOSED> __device__ __forceinline__ void load_tiles(u32* tiles, const half* row) {
    const u32 at = (u32)__cvta_generic_to_shared(row);
    if (COUNT == 4 && TRANSPOSED)
        asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                     : "=r"(tiles[0]), "=r"(tiles[1]), "=r"(tiles[2]), "=r"(tiles[3]) : "r"(at) : "memory");
    else if (COUNT == 4)
        asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                     : "=r"(tiles[0]), "=r"(tiles[1]), "=r"(tiles[2]), "=r"(tiles[3]) : "r"(at) : "memory");
    else if (TRANSPOSED)
        asm volatile("ldmatrix.sync.aligned.m8n8.x2.trans.shared.b16 {%0, %1}, [%2];"
                     : "=r"(tiles[0]), "=r"(tiles[1]) : "r"(at) : "memory");
    else
        asm volatile("ldmatrix.sync.aligned.m8n8.x2.shared.b16 {%0, %1}, [%2];"
                     : "=r"(tiles[0]), "=r"(tiles[1]) : "r"(at) : "memory");
}

// sum += A B over 8 k: A is 16 x 8 (row g: a0, row g + 8: a1), B is 8 x 8 (k 2t and 2t + 1 of column g).
__device__ __forceinline__ void multiply_8(Accumulator& sum, u32 a0, u32 a1, u32 b) {
    asm volatile("mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5}, {%6}, {%0, %1, %2, %3};"
                 : "+f"(sum[0]), "+f"(sum[1]), "+f"(sum[2]), "+f"(sum[3]) : "r"(a0), "r"(a1), "r"(b));
}

// The same over 16 k; b0 has k 2t.., b1 k 2t + 8... Compute capability 7.5 only knows the half of it.
__device__ __forceinline__ void multiply_16(Accumulator& sum, const FragmentA& a, u32 b0, u32 b1) {
#if __CUDA_ARCH__ >= 800
    asm volatile(
        "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
        : "+f"(sum[0]), "+f"(sum[1]), "+f"(sum[2]), "+f"(sum[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
#else
    multiply_8(sum, a[0], a[1], b0);
    multiply_8(sum, a[2], a[3], b1);
#endif
}

#else

inline float exp2_of(float value) { return exp2f(value); }

inline float from_lane(float value, int mask) {
    float of_lanes[32];
    swap_in_warp(value, of_lanes);
    return of_lanes[lane_index() ^ mask];
}

template <int COUNT, bool TRANSPOSED> void load_tiles(u32* tiles, const half* row) {
    const half* rows[32];
    swap_in_warp(row, rows);
    const int g = lane_index() / 4, t = lane_index() % 4;
    for (int n = 0; n < COUNT; n++) {
        if (TRANSPOSED)
            tiles[n] = pair(rows[8 * n + 2 * t][g].bits, rows[8 * n + 2 * t + 1][g].bits);
        else
            tiles[n] = pair(rows[8 * n + g][2 * t].bits, rows[8 * n + g][2 * t + 1].bits);
    }
}

inline void multiply_8(Accumulator& sum, u32 a0, u32 a1, u32 b) {
    struct Brought { u32 a[2], b; } own = {{a0, a1}, b}, of_lanes[32];
    swap_in_warp(own, of_lanes);
    const int g = lane_index() / 4, t = lane_index() % 4;
    for (int i = 0; i < 4; i++)
        for (int k = 0; k < 8; k++) {
            const u32 a = of_lanes[4 * g + k / 2].a[i / 2], b_of_column = of_lanes[4 * (2 * t + i % 2) + k / 2].b;
            sum[i] += to_float(half{(u16)(a >> 16 * (k % 2))}) * to_float(half{(u16)(b_of_column >> 16 * (k % 2))});
        }
}

inline void multiply_16(Accumulator& sum, const FragmentA& a, u32 b0, u32 b1) {
    multiply_8(sum, a[0], a[1], b0);
    multiply_8(sum, a[2], a[3], b1);
}

#endif

// Over the 4 lanes that share a row of an accumulator.
__device__ __forceinline__ float max_of_row(float value) {
    value = fmaxf(value, from_lane(value, 1));
    return fmaxf(value, from_lane(value, 2));
}

__device__ __forceinline__ float sum_of_row(float value) {
    value += from_lane(value, 1);
    return value + from_lane(value, 2);
}

// Scores in powers of two, less the maximum of their row -> what multiplies values, in half precision; adds it up for each row.
template <int COUNT>
__device__ __forceinline__ void weigh(const Accumulator (&scores)[COUNT], const float (&maximum)[2], u32 (&weights)[COUNT][2],
                                      float (&sum)[2]) {
#pragma unroll
    for (int i = 0; i < COUNT; i++)
#pragma unroll
        for (int side = 0; side < 2; side++) {
            const half low = to_half(exp2_of(scores[i][2 * side] - maximum[side]));
            const half high = to_half(exp2_of(scores[i][2 * side + 1] - maximum[side]));
            sum[side] += to_float(low) + to_float(high);  // of what is multiplied: rounding then cancels in the quotient
            weights[i][side] = pair(low.bits, high.bits);
        }
}
