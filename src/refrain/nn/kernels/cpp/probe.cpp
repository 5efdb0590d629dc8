// A smallest library: which instructions the kernels use, and whether OpenMP shares torch's threads.

#ifdef _OPENMP
#include <omp.h>
#endif

extern "C" int refrain_threads() {
    int count = 1;
#ifdef _OPENMP
#pragma omp parallel
    {
#pragma omp single
        count = omp_get_num_threads();
    }
#endif
    return count;
}

// The name of the instruction level, as in levels.py, according to the compiler's flags.
extern "C" const char* refrain_level() {
#if defined(__AMX_BF16__) && defined(__AMX_INT8__) && defined(__AVX512BF16__) && defined(__AVX512VNNI__)
    return "amx_bf16";
#elif defined(__AVX512BF16__) && defined(__AVX512VNNI__)
    return "avx512_bf16";
#elif defined(__AVX512VNNI__)
    return "avx512_vnni";
#elif defined(__AVX512F__)
    return "avx512";
#elif defined(__AVXVNNI__)
    return "avx2_vnni";
#elif defined(__AVX2__)
    return "avx2";
#elif defined(__SSE2__)
    return "sse2";
#elif defined(__ARM_FEATURE_BF16_VECTOR_ARITHMETIC) && defined(__ARM_FEATURE_MATMUL_INT8)
    return "neon_bf16";
#elif defined(__aarch64__)
    return "neon";
#else
    return "";
#endif
}
