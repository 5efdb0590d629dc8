// Drawing a word for each row of logits, without a softmax over all words where only a few can be drawn.
//
// Words are looked at in blocks, whose largest logits say which blocks have none of the words that can be drawn. The
// reference is `draw_reference` in generation/sampling.py.

#include <algorithm>
#include <cfloat>
#include <cmath>
#include <cstdlib>

#include "vectors.h"

// words of a block; logits below which a second thread costs more than it brings
constexpr int64_t SPAN = 64;
constexpr double SMALL = 1e5;

static_assert(SPAN % LANES == 0, "a block is made of whole registers");

// A word that can be drawn, and its logit, or later its weight: the exponential of what it has less than the largest.
struct Candidate {
    float value;
    int32_t word;
};

// More probable, or as probable and earlier.
static inline bool before(const Candidate& a, const Candidate& b) {
    return a.value > b.value || (a.value == b.value && a.word < b.word);
}

static inline bool by_word(const Candidate& a, const Candidate& b) { return a.word < b.word; }

// What all rows share.
struct Settings {
    float inverse;  // of the temperature; 0 takes the most probable word
    double p;       // at least 1 keeps all words
    int64_t k;      // 0 keeps all words
};

// The logits of a row, and memory for what is found out about them.
struct Row {
    const float* logits;
    int64_t words, blocks;
    float *maxima, *sums;             // (blocks), and twice as many of the first, to find the largest
    float* weights;                   // (words), whole registers
    Candidate *candidates, *scratch;  // (words)
    float top;

    int64_t end(int64_t block) const { return std::min(words, (block + 1) * SPAN); }
    int count(int64_t at, int64_t block) const { return (int)std::min<int64_t>(LANES, end(block) - at); }
};

// Weights of logits that are less than the largest, in units of the temperature; what a float cannot represent is 0.
static inline Floats weights_of(Floats less) { return less > splat(-87.3f) ? exponential(less) : splat(0.0f); }

// The largest logit of each block and of all; whether there is one that is neither NaN nor infinite.
static bool find_maxima(Row& row) {
    Ints spoiled = {};
    row.top = -INFINITY;
    for (int64_t block = 0; block < row.blocks; ++block) {
        Floats most = splat(-INFINITY);
        for (int64_t at = block * SPAN; at < row.end(block); at += LANES) {
            const Floats values = load_some(row.logits + at, row.count(at, block), -INFINITY);
            spoiled |= values != values;
            most = larger(values, most);
        }
        row.maxima[block] = largest(most);
        row.top = std::max(row.top, row.maxima[block]);
    }
    return !any(spoiled) && row.top > -INFINITY && row.top < INFINITY;
}

static int64_t first_of_the_largest(const Row& row) {
    int64_t at = std::find(row.maxima, row.maxima + row.blocks, row.top) - row.maxima;
    for (at *= SPAN; row.logits[at] != row.top;) ++at;
    return at;
}

// The words whose values, logits or weights, are at least `least`, by their numbers. Blocks are left out by their
// largest logits, which are at least `least_maximum` in the others.
static int64_t collect(const Row& row, const float* values, float least, float least_maximum) {
    int64_t found = 0;
    for (int64_t block = 0; block < row.blocks; ++block)
        if (row.maxima[block] >= least_maximum)
            for (int64_t at = block * SPAN; at < row.end(block); ++at)
                if (values[at] >= least) row.candidates[found++] = {values[at], (int32_t)at};
    return found;
}

// The k most probable words and ties with the k-th, by their numbers; their weights.
static int64_t most_probable(const Row& row, const Settings& settings) {
    float bound = -INFINITY;
    if (settings.k <= row.blocks) {
        // the k-th largest of the blocks' maxima is that of k words
        float* sorted = row.maxima + row.blocks;
        std::copy(row.maxima, row.maxima + row.blocks, sorted);
        std::nth_element(sorted, sorted + settings.k - 1, sorted + row.blocks, [](float a, float b) { return a > b; });
        bound = sorted[settings.k - 1];
    }
    int64_t count = collect(row, row.logits, bound, bound);
    if (settings.k < count) {
        std::nth_element(row.candidates, row.candidates + settings.k - 1, row.candidates + count, before);
        const float least = row.candidates[settings.k - 1].value;
        count = std::partition(row.candidates, row.candidates + count,
                               [least](const Candidate& one) { return one.value >= least; }) -
                row.candidates;
    }
    for (int64_t at = 0; at < count; ++at)
        row.candidates[at].value = weights_of(splat((row.candidates[at].value - row.top) * settings.inverse))[0];
    std::sort(row.candidates, row.candidates + count, by_word);
    return count;
}

static double total(const Candidate* candidates, int64_t count) {
    double sum = 0;
    for (int64_t at = 0; at < count; ++at) sum += candidates[at].value;
    return sum;
}

// The last of the fewest candidates, in the order of `before`, whose weights exceed or equal `least`; candidates are
// put in another order.
static Candidate last_of_the_fewest(Candidate* candidates, int64_t count, double least) {
    int64_t first = 0;
    while (count - first > 1) {
        const int64_t middle = first + (count - first) / 2;
        std::nth_element(candidates + first, candidates + middle, candidates + count, before);
        const double sum = total(candidates + first, middle - first);
        if (sum >= least) {
            count = middle;
        } else {
            first = middle;
            least -= sum;
        }
    }
    return candidates[first];
}

// Keep the fewest of the candidates whose weights, at most 1, are `least` or more in all, the most probable ones.
static int64_t fewest(Candidate* candidates, int64_t count, double least, Candidate* scratch) {
    // weights by exponent and three bits of the mantissa
    const auto bucket = [](float weight) {
        uint32_t bits;
        memcpy(&bits, &weight, sizeof bits);
        return bits >> 20;
    };
    double sums[1024] = {};
    for (int64_t at = 0; at < count; ++at) sums[bucket(candidates[at].value)] += candidates[at].value;
    uint32_t border = 1023;
    for (; border > 0 && sums[border] < least; --border) least -= sums[border];
    int64_t in_border = 0;
    for (int64_t at = 0; at < count; ++at)
        if (bucket(candidates[at].value) == border) scratch[in_border++] = candidates[at];
    // rounding may leave nothing of what is left
    if (!in_border) return count;
    const Candidate last = last_of_the_fewest(scratch, in_border, least);
    return std::remove_if(candidates, candidates + count, [&](const Candidate& one) { return before(last, one); }) -
           candidates;
}

// The candidate with which the sum of weights exceeds a share of all.
static int64_t drawn(const Candidate* candidates, int64_t count, double share) {
    const double goal = share * total(candidates, count);
    double sum = 0;
    int64_t last = 0;
    for (int64_t at = 0; at < count; ++at)
        if (candidates[at].value > 0) {
            sum += candidates[at].value;
            last = at;
            if (sum > goal) break;
        }
    return candidates[last].word;
}

// The weights of all words, and their sums by block; returns the sum of all.
static double weigh(const Row& row, float inverse) {
    double sum_of_all = 0;
    for (int64_t block = 0; block < row.blocks; ++block) {
        Floats sums = splat(0.0f);
        for (int64_t at = block * SPAN; at < row.end(block); at += LANES) {
            const int count = row.count(at, block);
            const Floats weights = weights_of((load_some(row.logits + at, count, -INFINITY) - row.top) * inverse);
            store_some(row.weights + at, weights, count);
            sums += weights;
        }
        row.sums[block] = sum(sums);
        sum_of_all += row.sums[block];
    }
    return sum_of_all;
}

// The word with which the sum of all words' weights exceeds a share of the whole.
static int64_t drawn_of_all(const Row& row, double goal) {
    double sum = 0;
    int64_t last = 0;
    for (int64_t block = 0; block < row.blocks; ++block) {
        if (sum + row.sums[block] <= goal && block + 1 < row.blocks) {
            sum += row.sums[block];
            continue;
        }
        for (int64_t at = block * SPAN; at < row.end(block); ++at)
            if (row.weights[at] > 0) {
                sum += row.weights[at];
                last = at;
                if (sum > goal) return at;
            }
    }
    return last;
}

// A word, or -1 where the logits are not numbers.
static int64_t draw(Row& row, const Settings& settings, double share) {
    if (!find_maxima(row)) return -1;
    if (settings.inverse == 0) return first_of_the_largest(row);
    if (settings.k) {
        int64_t count = most_probable(row, settings);
        if (settings.p < 1)
            count = fewest(row.candidates, count, settings.p * total(row.candidates, count), row.scratch);
        return drawn(row.candidates, count, share);
    }
    const double whole = weigh(row, settings.inverse);
    if (settings.p >= 1) return drawn_of_all(row, share * whole);
    // all words with less have less than 1 - p together
    const float least = (float)((1 - settings.p) * whole / (double)row.words) * 0.999f;
    const float least_logit = row.top + (std::log(std::max(least, FLT_MIN)) - 0.01f) / settings.inverse;
    const int64_t count = collect(row, row.weights, std::max(least, FLT_MIN), least_logit);
    return drawn(row.candidates, fewest(row.candidates, count, settings.p * whole, row.scratch), share);
}

extern "C" {

// Logits (rows, words) and a number in [0, 1) for each row -> a word for each row, or -1 where a logit is NaN or all
// are infinite. `settings` are the inverse of the temperature and p.
int sampling_draw(const float* logits, const double* shares, const double* settings, int64_t* drawn_words, int64_t k,
                  int64_t rows, int64_t words, int64_t threads) {
    const Settings given = {(float)settings[0], settings[1], k};
    const int64_t blocks = (words + SPAN - 1) / SPAN;
    bool failed = false;
#pragma omp parallel num_threads((int)threads) if (rows > 1 && (double)rows * words > SMALL)
    {
        const int64_t size = 3 * blocks + blocks * SPAN;
        float* memory = (float*)malloc(size * sizeof(float) + 2 * words * sizeof(Candidate));
        if (!memory) {
#pragma omp atomic write
            failed = true;
        }
#pragma omp for schedule(static)
        for (int64_t at = 0; at < rows; ++at) {
            if (!memory) continue;
            Row row = {logits + at * words,
                       words,
                       blocks,
                       memory,
                       memory + 2 * blocks,
                       memory + 3 * blocks,
                       (Candidate*)(memory + size),
                       (Candidate*)(memory + size) + words,
                       0};
            drawn_words[at] = draw(row, given, shares[at]);
        }
        free(memory);
    }
    return failed ? 1 : 0;
}
}
