// Vectors of floats as wide as the processor's registers, and the elementwise functions that all kernels share.
#pragma once

#include <cstdint>
#include <cstring>

#ifdef _OPENMP
#include <omp.h>
#endif
#ifdef __SSE2__
#include <immintrin.h>
#endif
#ifdef __aarch64__
#include <arm_neon.h>
#endif
#if defined(__AVX512F__) && defined(__AVX512BW__) && defined(__AVX512VL__)
#define MASKED 1
#endif

#if defined(__AVX512F__)
constexpr int LANES = 16;
#elif defined(__AVX__)
constexpr int LANES = 8;
#else
constexpr int LANES = 4;
#endif

typedef float Floats __attribute__((vector_size(4 * LANES)));
typedef int32_t Ints __attribute__((vector_size(4 * LANES)));
typedef uint32_t Words __attribute__((vector_size(4 * LANES)));
typedef uint16_t Halves __attribute__((vector_size(2 * LANES)));

// the upper half of a float
typedef uint16_t bf16;

static inline Floats splat(float value) { return Floats{} + value; }

static inline Floats load(const float* from) {
    Floats values;
    memcpy(&values, from, sizeof values);
    return values;
}

static inline Floats load(const bf16* from) {
    Halves halves;
    memcpy(&halves, from, sizeof halves);
    return (Floats)(__builtin_convertvector(halves, Words) << 16);
}

static inline void store(float* to, Floats values) { memcpy(to, &values, sizeof values); }

static inline Halves rounded(Floats values) {
#ifdef __AVX512BF16__
    return (Halves)_mm512_cvtneps_pbh((__m512)values);
#elif defined(__ARM_FEATURE_BF16_VECTOR_ARITHMETIC)
    return (Halves)vreinterpret_u16_bf16(vcvt_bf16_f32((float32x4_t)values));
#else
    // round to nearest even; NaN stays NaN
    Words bits = (Words)values;
    bits = (values == values) ? (bits + 0x7fff + ((bits >> 16) & 1)) >> 16 : (bits >> 16) | 0x40;
    return __builtin_convertvector(bits, Halves);
#endif
}

static inline void store(bf16* to, Floats values) {
    Halves halves = rounded(values);
    memcpy(to, &halves, sizeof halves);
}

static inline float to_float(float value) { return value; }

static inline float to_float(bf16 value) {
    uint32_t bits = (uint32_t)value << 16;
    float result;
    memcpy(&result, &bits, sizeof result);
    return result;
}

static inline void from_float(float* to, float value) { *to = value; }

static inline void from_float(bf16* to, float value) { *to = rounded(splat(value))[0]; }

// The first `count` of LANES values, the others `rest`.
template <typename Element>
static inline Floats load_some(const Element* from, int count, float rest = 0.0f) {
    if (count >= LANES) return load(from);
#ifdef MASKED
    const __mmask16 mask = (__mmask16)((1u << count) - 1);
    if constexpr (sizeof(Element) == 4) {
        return (Floats)_mm512_mask_loadu_ps((__m512)splat(rest), mask, from);
    } else {
        const Words bits = (Words)_mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(mask, from)) << 16;
        return (Floats)_mm512_mask_mov_ps((__m512)splat(rest), mask, (__m512)bits);
    }
#else
    float values[LANES];
    for (int lane = 0; lane < LANES; ++lane) values[lane] = lane < count ? to_float(from[lane]) : rest;
    return load(values);
#endif
}

template <typename Element>
static inline void store_some(Element* to, Floats values, int count) {
    if (count >= LANES) return store(to, values);
#ifdef MASKED
    const __mmask16 mask = (__mmask16)((1u << count) - 1);
    if constexpr (sizeof(Element) == 4)
        _mm512_mask_storeu_ps(to, mask, (__m512)values);
    else
        _mm256_mask_storeu_epi16(to, mask, (__m256i)rounded(values));
#else
    float buffer[LANES];
    store(buffer, values);
    for (int lane = 0; lane < count; ++lane) from_float(to + lane, buffer[lane]);
#endif
}

// The first `count` values, followed by zeros.
static inline Floats first_of(Floats values, int count) {
    if (count >= LANES) return values;
    Ints lanes;
    for (int lane = 0; lane < LANES; ++lane) lanes[lane] = lane;
    return lanes < (Ints{} + count) ? values : splat(0.0f);
}

static inline float sum(Floats values) {
    float total = 0.0f;
    for (int lane = 0; lane < LANES; ++lane) total += values[lane];
    return total;
}

static inline float largest(Floats values) {
    float most = values[0];
    for (int lane = 1; lane < LANES; ++lane) most = values[lane] > most ? values[lane] : most;
    return most;
}

// The larger of each two values; that of b if one is NaN.
static inline Floats larger(Floats a, Floats b) {
#if defined(__AVX512F__)
    return (Floats)_mm512_max_ps((__m512)a, (__m512)b);
#else
    return a > b ? a : b;
#endif
}

// Whether a comparison holds in any lane.
static inline bool any(Ints holds) {
#if defined(__AVX512F__)
    return _mm512_test_epi32_mask((__m512i)holds, (__m512i)holds) != 0;
#else
    int32_t found = 0;
    for (int lane = 0; lane < LANES; ++lane) found |= holds[lane];
    return found != 0;
#endif
}

// e^x with an error of at most 2 units in the last place for x in [-87.3, 88]; unspecified outside; NaN stays NaN.
// Range reduction by ln 2 in two parts, then a polynomial of degree 6, as in textbooks (Cephes uses the same form).
__attribute__((always_inline)) static inline Floats exponential_in_range(Floats x) {
    const float shift = 12582912.0f;  // 1.5 * 2^23: adding it rounds to whole numbers
    Floats shifted = x * 1.44269504f + shift;
    Floats whole = shifted - shift;
    Floats rest = (x - whole * 0.693359375f) + whole * 2.12194440e-4f;
    Floats series = splat(1.0f / 720);
    series = series * rest + 1.0f / 120;
    series = series * rest + 1.0f / 24;
    series = series * rest + 1.0f / 6;
    series = series * rest + 0.5f;
    series = series * rest + 1.0f;
    series = series * rest + 1.0f;
    Words exponent = ((Words)shifted - 0x4b400000u + 127u) << 23;
    return series * (Floats)exponent;
}

// The same for any x, which is clamped to the ends of the range.
__attribute__((always_inline)) static inline Floats exponential(Floats x) {
    x = x < splat(-87.3f) ? splat(-87.3f) : x;
    x = x > splat(88.0f) ? splat(88.0f) : x;
    return exponential_in_range(x);
}

__attribute__((always_inline)) static inline Floats sigmoid(Floats x) { return 1.0f / (1.0f + exponential(-x)); }

// Its absolute error is that of a float near 1, about 1.2e-7, whatever x is. The digits of a result near 0 are lost in
// the subtraction, so that its relative error is large.
__attribute__((always_inline)) static inline Floats hyperbolic_tangent(Floats x) {
    return 2.0f / (1.0f + exponential(-2.0f * x)) - 1.0f;
}

static inline int this_thread() {
#ifdef _OPENMP
    return omp_get_thread_num();
#else
    return 0;
#endif
}
