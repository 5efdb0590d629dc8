// A smallest library, to test the compiler and that OpenMP shares torch's threads.

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
