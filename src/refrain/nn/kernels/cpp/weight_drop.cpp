// Weight drop in one pass over a weight: the mask is never in memory.
//
// Whether an entry is kept depends on sixteen bits of a hash of a seed and the entry's index, so that the backward pass
// finds the mask again. The hash is SplitMix64 (Steele, Lea & Flood, 2014), whose state is a counter.

#include "vectors.h"

// hashes of a block, of four entries each
constexpr int64_t HASHES = 256, BLOCK = 4 * HASHES;

// The hashes of the indices from `first` on.
static void draw(uint64_t seed, int64_t first, uint64_t* hashes) {
    for (int64_t at = 0; at < HASHES; ++at) {
        uint64_t z = seed + (uint64_t)(first + at + 1) * 0x9e3779b97f4a7c15u;
        z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
        z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
        hashes[at] = z ^ (z >> 31);
    }
}

typedef int16_t Bits __attribute__((vector_size(LANES * 2)));

// out (count) = values (count) * scale (1), or times zero where the sixteen bits of an entry, as a signed integer, are
// below `smallest`. Also the gradient, from that of the output.
extern "C" int weight_drop(const float* values, const uint64_t* seed, const float* scale, float* out, int64_t count,
                           int64_t smallest, int64_t threads) {
    const int64_t blocks = (count + BLOCK - 1) / BLOCK;
    const Floats kept = splat(*scale);
#pragma omp parallel for num_threads((int)threads) schedule(static)
    for (int64_t block = 0; block < blocks; ++block) {
        uint64_t hashes[HASHES];
        draw(*seed, block * HASHES, hashes);
        const int64_t first = block * BLOCK, last = first + BLOCK < count ? first + BLOCK : count;
        for (int64_t at = first; at < last; at += LANES) {
            const int present = last - at < LANES ? (int)(last - at) : LANES;
            Bits bits;
            memcpy(&bits, (const char*)hashes + (at - first) * sizeof(int16_t), sizeof bits);
            const Ints drawn = __builtin_convertvector(bits, Ints);
            const Floats factor = drawn < (Ints{} + (int32_t)smallest) ? splat(0.0f) : kept;
            store_some(out + at, load_some(values + at, present) * factor, present);
        }
    }
    return 0;
}
