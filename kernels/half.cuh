// Half precision by its bits, on both sides: no cuda_fp16.h, which CuPy's wheels and NVRTC's do not always bring.
#ifdef __CUDACC__
#define BOTH __host__ __device__ __forceinline__
#else
#define BOTH inline
#endif

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;

struct half {
    u16 bits;
};

BOTH float to_float(float value) { return value; }

BOTH float to_float(half value) {
#ifdef __CUDA_ARCH__
    float result;
    asm("cvt.f32.f16 %0, %1;" : "=f"(result) : "h"(value.bits));
    return result;
#else
    const u32 sign = (u32)(value.bits >> 15) << 31, exponent = value.bits >> 10 & 31, fraction = value.bits & 1023;
    union { u32 bits; float value; } result;
    if (exponent == 0)
        result.value = (float)fraction * (1.0f / 16777216.0f);
    else
        result.bits = exponent == 31 ? 0x7f800000u | fraction << 13 : ((exponent + 112) << 23) | fraction << 13;
    result.bits |= sign;
    return result.value;
#endif
}

// Nearest, ties to even.
BOTH half to_half(float value) {
    half result;
#ifdef __CUDA_ARCH__
    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(result.bits) : "f"(value));
#else
    union { float value; u32 bits; } source;
    source.value = value;
    const u16 sign = (u16)(source.bits >> 16 & 0x8000u);
    const u32 size = source.bits & 0x7fffffffu;
    if (size > 0x7f800000u) {
        result.bits = (u16)(sign | 0x7e00u);  // not a number
    } else if (size >= 0x38800000u) {
        const u32 rebiased = size - 0x38000000u, rounded = (rebiased + 0xfffu + (rebiased >> 13 & 1u)) >> 13;
        result.bits = (u16)(sign | (rounded > 0x7c00u ? 0x7c00u : rounded));
    } else {
        source.bits = size;
        result.bits = (u16)(sign | (u32)rintf(source.value * 16777216.0f));  // below 2^-14 halves lie 2^-24 apart
    }
#endif
    return result;
}

template <typename Level> BOTH Level from_float(float value);
template <> BOTH float from_float<float>(float value) { return value; }
template <> BOTH half from_float<half>(float value) { return to_half(value); }

// `low` comes first in memory.
BOTH u32 pair(u16 low, u16 high) { return (u32)high << 16 | low; }

// COUNT values that travel in one access, or in two where they are more than 16 bytes.
template <typename Value, int COUNT> struct alignas(sizeof(Value) * COUNT > 16 ? 16 : sizeof(Value) * COUNT) Run {
    Value at[COUNT];
};

template <typename Packed> BOTH bool is_aligned(const void* pointer) { return (unsigned long long)pointer % alignof(Packed) == 0; }

// COUNT values from `source` on, or the first `count` and zeros: one access where the address allows, else by twos (rows of an even
// width, 854 say), else one by one.
template <int COUNT, typename Value> BOTH Run<Value, COUNT> load_run(const Value* source, int count) {
    typedef Run<Value, COUNT> Whole;
    typedef Run<Value, 2> Two;
    Whole run;
    if (count >= COUNT && is_aligned<Whole>(source)) {
        run = *(const Whole*)source;
    } else if (count >= COUNT && is_aligned<Two>(source)) {
#pragma unroll
        for (int i = 0; i < COUNT; i += 2) {
            const Two two = *(const Two*)(source + i);
            run.at[i] = two.at[0], run.at[i + 1] = two.at[1];
        }
    } else {
#pragma unroll
        for (int i = 0; i < COUNT; i++) run.at[i] = i < count ? source[i] : Value();
    }
    return run;
}

// The same the other way; nothing is written behind `count`.
template <int COUNT, typename Value> BOTH void store_run(Value* target, const Run<Value, COUNT>& run, int count) {
    typedef Run<Value, COUNT> Whole;
    typedef Run<Value, 2> Two;
    if (count >= COUNT && is_aligned<Whole>(target)) {
        *(Whole*)target = run;
    } else if (count >= COUNT && is_aligned<Two>(target)) {
#pragma unroll
        for (int i = 0; i < COUNT; i += 2) {
            const Two two = {{run.at[i], run.at[i + 1]}};
            *(Two*)(target + i) = two;
        }
    } else {
#pragma unroll
        for (int i = 0; i < COUNT; i++)
            if (i < count) target[i] = run.at[i];
    }
}
