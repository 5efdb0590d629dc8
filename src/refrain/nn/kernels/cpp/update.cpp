// The norm of all gradients of a model, and a step of gradient descent on all its parameters, in a single call each;
// and what group lasso needs of a matrix: sums of squares of rows and columns, and their scaling, in one pass each.
//
// Work is divided into blocks of a fixed size, so that sums do not depend on the number of threads.

#include <cstdlib>

#include "vectors.h"

// entries of a block: weight, gradient and mean of a block fit into the second-level cache
constexpr int64_t BLOCK = 16384;

// One parameter. Its gradient is float or bf16, and dense or the rows of a few indices, ascending and distinct.
struct Part {
    float* weight;
    const void* gradient;  // null: the weight stays, and only the mean moves
    const int64_t* rows;   // the indices; null for a dense gradient
    float* mean;           // running mean of the weight, or null
    int64_t entries;       // of the gradient; of the weight without a gradient
    int64_t width;         // entries of a row
    int64_t bf16;
    float rate, decay;

    int64_t lines() const { return rows ? (BLOCK + width - 1) / width : 0; }
    int64_t blocks() const {
        const int64_t size = rows ? lines() * width : BLOCK;
        return (entries + size - 1) / size;
    }
};

static int64_t all_blocks(const Part* parts, int64_t count) {
    int64_t blocks = 0;
    for (int64_t at = 0; at < count; ++at) blocks += parts[at].blocks();
    return blocks;
}

// Call act(part, weight, gradient, mean, entries) for the runs of entries that lie side by side in a block.
template <typename Act>
static void in_block(const Part* parts, int64_t block, const Act& act) {
    while (block >= parts->blocks()) block -= parts++->blocks();
    const Part& part = *parts;
    const int64_t element = part.bf16 ? sizeof(bf16) : sizeof(float);
    const auto run = [&](int64_t at, int64_t to, int64_t count) {
        const char* gradient = part.gradient ? (const char*)part.gradient + at * element : nullptr;
        act(part, part.weight + to, gradient, part.mean ? part.mean + to : nullptr, count);
    };
    const int64_t size = part.rows ? part.lines() * part.width : BLOCK;
    const int64_t first = block * size, last = first + size < part.entries ? first + size : part.entries;
    if (!part.rows) return run(first, first, last - first);
    for (int64_t at = first; at < last; at += part.width) run(at, part.rows[at / part.width] * part.width, part.width);
}

template <typename Element>
static double squares(const Element* values, int64_t count) {
    Floats sums[4] = {};
    int64_t at = 0;
    for (; at + 4 * LANES <= count; at += 4 * LANES)
        for (int part = 0; part < 4; ++part) {
            const Floats now = load(values + at + part * LANES);
            sums[part] += now * now;
        }
    for (; at < count; at += LANES) {
        const Floats now = load_some(values + at, count - at < LANES ? (int)(count - at) : LANES);
        sums[0] += now * now;
    }
    return (double)sum((sums[0] + sums[1]) + (sums[2] + sums[3]));
}

// parts (count) -> total (1): the sum of squares of all gradients. Returns 1 if there is no memory for partial sums.
extern "C" int update_squares(const Part* parts, double* total, int64_t count, int64_t threads) {
    const int64_t blocks = all_blocks(parts, count);
    double* partial = (double*)calloc(blocks + 1, sizeof(double));
    if (!partial) return 1;
#pragma omp parallel for num_threads((int)threads) schedule(static)
    for (int64_t block = 0; block < blocks; ++block)
        in_block(parts, block, [&](const Part& part, float*, const char* gradient, float*, int64_t entries) {
            if (!gradient) return;
            partial[block] +=
                part.bf16 ? squares((const bf16*)gradient, entries) : squares((const float*)gradient, entries);
        });
    *total = 0.0;
    for (int64_t block = 0; block < blocks; ++block) *total += partial[block];
    free(partial);
    return 0;
}

// weight -= rate * (scale * gradient + decay * weight); mean += share * (weight - mean).
template <typename Element>
static void move(float* weight, const Element* gradient, float* mean, int64_t entries, float rate, float decay,
                 float scale, float share) {
    for (int64_t at = 0; at < entries; at += LANES) {
        const int count = entries - at < LANES ? (int)(entries - at) : LANES;
        Floats now = load_some(weight + at, count);
        if (gradient) {
            Floats step = load_some(gradient + at, count) * scale;
            if (decay != 0.0f) step += now * decay;
            now -= step * rate;
            store_some(weight + at, now, count);
        }
        if (!mean) continue;
        const Floats before = load_some(mean + at, count);
        // a share of 1 replaces the mean, whatever it was
        store_some(mean + at, share == 1.0f ? now : before + (now - before) * share, count);
    }
}

// One step on all parameters, whose gradients are multiplied by scale (1); share (1) is that of a weight in its mean.
extern "C" int update_step(const Part* parts, const float* scale, const float* share, int64_t count, int64_t threads) {
    const int64_t blocks = all_blocks(parts, count);
#pragma omp parallel for num_threads((int)threads) schedule(static)
    for (int64_t block = 0; block < blocks; ++block)
        in_block(parts, block,
                 [&](const Part& part, float* weight, const char* gradient, float* mean, int64_t entries) {
                     if (part.bf16)
                         move(weight, (const bf16*)gradient, mean, entries, part.rate, part.decay, *scale, *share);
                     else
                         move(weight, (const float*)gradient, mean, entries, part.rate, part.decay, *scale, *share);
                 });
    return 0;
}

// rows of a matrix (R, C) whose squares are summed by columns
constexpr int64_t ROWS = 64;

// Lanes of a row of `columns` that begin with `at`.
static inline int present_at(int64_t at, int64_t columns) { return columns - at < LANES ? (int)(columns - at) : LANES; }

// The squares of a row, each entry times its column's factor and then times `factor`; added to `sums` if not null.
static float row_squares(const float* row, const float* of_columns, float factor, float* sums, int64_t columns) {
    Floats total = {};
    for (int64_t at = 0; at < columns; at += LANES) {
        const int count = present_at(at, columns);
        Floats now = load_some(row + at, count) * factor;
        if (of_columns) now *= load_some(of_columns + at, count);
        now *= now;
        total += now;
        if (sums) store_some(sums + at, load_some(sums + at, count) + now, count);
    }
    return sum(total);
}

// matrix (R, C), factors of rows and columns -> the sums of squares of the rows (R) and of the columns (C) of the
// matrix times these factors. Returns 1 if there is no memory for partial sums.
extern "C" int line_squares(const float* matrix, const float* of_rows, const float* of_columns, float* rows,
                            float* columns, int64_t R, int64_t C, int64_t threads) {
    const int64_t blocks = (R + ROWS - 1) / ROWS;
    float* partial = columns ? (float*)calloc(blocks * C + 1, sizeof(float)) : nullptr;
    if (columns && !partial) return 1;
#pragma omp parallel num_threads((int)threads)
    {
#pragma omp for schedule(static)
        for (int64_t block = 0; block < blocks; ++block) {
            const int64_t last = (block + 1) * ROWS < R ? (block + 1) * ROWS : R;
            for (int64_t row = block * ROWS; row < last; ++row) {
                const float found = row_squares(matrix + row * C, of_columns, of_rows ? of_rows[row] : 1.0f,
                                                partial ? partial + block * C : nullptr, C);
                if (rows) rows[row] = found;
            }
        }
        if (columns) {
#pragma omp for schedule(static)
            for (int64_t column = 0; column < C; ++column) {
                double total = 0.0;
                for (int64_t block = 0; block < blocks; ++block) total += partial[block * C + column];
                columns[column] = (float)total;
            }
        }
    }
    free(partial);
    return 0;
}

// Multiply each entry of matrix (R, C) by the factors of its row and of its column, in place.
extern "C" int scale_lines(float* matrix, const float* of_rows, const float* of_columns, int64_t R, int64_t C,
                           int64_t threads) {
#pragma omp parallel for num_threads((int)threads) schedule(static)
    for (int64_t row = 0; row < R; ++row) {
        float* values = matrix + row * C;
        const float factor = of_rows ? of_rows[row] : 1.0f;
        for (int64_t at = 0; at < C; at += LANES) {
            const int count = present_at(at, C);
            Floats now = load_some(values + at, count) * factor;
            if (of_columns) now *= load_some(of_columns + at, count);
            store_some(values + at, now, count);
        }
    }
    return 0;
}
