// One step of LSTMs and of matrix products for a batch of many streams: a thread reads its part of the weights once,
// and uses it for all streams.
//
// Weights are floats, or int8 with a scale for each row, for which each stream's inputs are rounded as in
// integers.h. The order of a sum depends neither on the number of threads nor on the size of the batch. Functions
// return 0, or 1 where there was no memory; then their outputs have no meaning.

#include <cstdlib>

#include "barrier.h"
#include "integers.h"

// words of depth of a panel that stay in the first-level cache while the rows of a block go by
constexpr int64_t CHUNK = 128;
// multiply-adds below which a second thread costs more than it brings
constexpr double SMALL = 1e5;

// A packed matrix of floats.
struct Numbers {
    typedef float Element;
    const uint32_t* weight;
    int64_t width;

    int64_t depth() const { return width; }
    const uint32_t* panel(int64_t index) const { return weight + index * width * PANEL; }
    Floats numbers(const float* sums, int64_t, float) const { return load(sums); }
};

// Rows of inputs as the products read them, in blocks of BLOCK rows, and a scale for each.
struct Packed {
    uint32_t* words;
    float* scales;
};

// Put the rows of a block into the order in which a matrix reads them.
static void pack_inputs(const Numbers& matrix, const float* x, int64_t rows, uint32_t* packed, float*) {
    for (int64_t row = 0; row < rows; ++row)
        for (int64_t k = 0; k < matrix.width; ++k) memcpy(packed + k * rows + row, x + row * matrix.width + k, 4);
}

#ifdef BYTES
static void pack_inputs(const Integers& matrix, const float* x, int64_t rows, uint32_t* packed, float* scales) {
    round_rows(x, rows, matrix.width, packed, scales);
}
#endif

// The rows of a block of the batch.
struct Rows {
    int64_t first, count;
    Rows(int64_t block, int64_t batch) : first(block * BLOCK), count(batch - first < BLOCK ? batch - first : BLOCK) {}
};

static inline int64_t blocks_of(int64_t batch) { return (batch + BLOCK - 1) / BLOCK; }

// A panel's sums for the rows of a block, chunk by chunk of depth.
template <typename Matrix>
static inline void multiply_panel(Tiles& tiles, const Matrix& matrix, const uint32_t* x, int64_t rows, int64_t panel,
                                  float* sums) {
    typedef typename Matrix::Element Element;
    const uint32_t* weight = matrix.panel(panel);
    const int64_t depth = matrix.depth();
    if (BY_TILES<Element>) return multiply<Element, V>(tiles, x, rows, weight, depth, sums);
    multiply<Element, V>(x, rows, weight, depth < CHUNK ? depth : CHUNK, sums);
    for (int64_t k = CHUNK; k < depth; k += CHUNK)
        multiply<Element, V, true>(x + k * rows, rows, weight + k * PANEL, depth - k < CHUNK ? depth - k : CHUNK, sums);
}

// One step of an LSTM.
template <typename Matrix>
struct Step {
    Matrix first, second;
    const float* bias;    // as packed
    const float *x, *y;   // (batch, width of first), (batch, width of second)
    const float* before;  // the cell: (batch, size)
    float *hidden, *cell;
    int64_t size, batch;
};

// The cell of one panel of units, for the rows of a block.
template <typename Matrix>
static void cell_panel(const Step<Matrix>& p, Rows rows, int64_t panel, const float* by_x, const float* by_y,
                       const float* scales_x, const float* scales_y) {
    const int64_t unit = panel * LANES;
    const int count = present(unit, p.size);
    for (int64_t r = 0; r < rows.count; ++r) {
        Floats gates[V];
        for (int v = 0; v < V; ++v) {
            const int64_t at = panel * PANEL + v * LANES, sum_at = (r * V + v) * LANES;
            gates[v] = p.first.numbers(by_x + sum_at, at, scales_x[r]) +
                       p.second.numbers(by_y + sum_at, at, scales_y[r]) + load(p.bias + at);
        }
        const Floats i = sigmoid(gates[0]), f = sigmoid(gates[1]), o = sigmoid(gates[3]);
        const int64_t at = (rows.first + r) * p.size + unit;
        const Floats after = f * load_some(p.before + at, count) + i * hyperbolic_tangent(gates[2]);
        store_some(p.cell + at, after, count);
        store_some(p.hidden + at, o * hyperbolic_tangent(after), count);
    }
}

// Memory for packed inputs, of as many words of depth as all matrices of a step have.
struct Memory {
    uint32_t* words;
    explicit Memory(int64_t count) : words((uint32_t*)malloc(count * sizeof(uint32_t) + 1)) {}
    Memory(const Memory&) = delete;
    Memory& operator=(const Memory&) = delete;
    ~Memory() { free(words); }
    // Hand out the part for a matrix and its inputs, and go on behind it.
    Packed part(int64_t batch, int64_t depth) {
        const Packed found = {next(batch * depth), (float*)next(batch)};
        return found;
    }

  private:
    int64_t used = 0;
    uint32_t* next(int64_t count) {
        uint32_t* found = words + used;
        used += count;
        return found;
    }
};

template <typename Matrix>
static int lstm_step(const Step<Matrix>& p, int64_t threads) {
    const int64_t depth_x = p.first.depth(), depth_y = p.second.depth();
    Memory memory(p.batch * (depth_x + depth_y + 2));
    if (!memory.words) return 1;
    const Packed x = memory.part(p.batch, depth_x), y = memory.part(p.batch, depth_y);
    const double work = (double)(p.first.width + p.second.width) * 4 * p.size * p.batch;
    Barrier barrier;
#pragma omp parallel num_threads((int)threads) if (work > SMALL)
    {
#pragma omp for schedule(static) nowait
        for (int64_t part = 0; part < 2 * blocks_of(p.batch); ++part) {
            const Rows rows(part / 2, p.batch);
            if (part % 2)
                pack_inputs(p.first, p.x + rows.first * p.first.width, rows.count, x.words + rows.first * depth_x,
                            x.scales + rows.first);
            else
                pack_inputs(p.second, p.y + rows.first * p.second.width, rows.count, y.words + rows.first * depth_y,
                            y.scales + rows.first);
        }
        barrier.wait();
        Tiles tiles;
#pragma omp for schedule(static) nowait
        for (int64_t panel = 0; panel < panels(p.size); ++panel) {
            alignas(64) float by_x[BLOCK * PANEL], by_y[BLOCK * PANEL];
            for (int64_t block = 0; block < blocks_of(p.batch); ++block) {
                const Rows rows(block, p.batch);
                multiply_panel(tiles, p.first, x.words + rows.first * depth_x, rows.count, panel, by_x);
                multiply_panel(tiles, p.second, y.words + rows.first * depth_y, rows.count, panel, by_y);
                cell_panel(p, rows, panel, by_x, by_y, x.scales + rows.first, y.scales + rows.first);
            }
        }
    }
    return 0;
}

template <typename Matrix>
static int linear(const Matrix& matrix, const float* bias, const float* x, float* out, int64_t count, int64_t batch,
                  int64_t threads) {
    const int64_t depth = matrix.depth();
    Memory memory(batch * (depth + 1));
    if (!memory.words) return 1;
    const Packed packed = memory.part(batch, depth);
    Barrier barrier;
#pragma omp parallel num_threads((int)threads) if ((double)count * matrix.width * batch > SMALL)
    {
#pragma omp for schedule(static) nowait
        for (int64_t block = 0; block < blocks_of(batch); ++block) {
            const Rows rows(block, batch);
            pack_inputs(matrix, x + rows.first * matrix.width, rows.count, packed.words + rows.first * depth,
                        packed.scales + rows.first);
        }
        barrier.wait();
        Tiles tiles;
#pragma omp for schedule(static) nowait
        for (int64_t panel = 0; panel < (count + PANEL - 1) / PANEL; ++panel) {
            alignas(64) float sums[BLOCK * PANEL];
            for (int64_t block = 0; block < blocks_of(batch); ++block) {
                const Rows rows(block, batch);
                multiply_panel(tiles, matrix, packed.words + rows.first * depth, rows.count, panel, sums);
                for (int64_t r = 0; r < rows.count; ++r)
                    for (int v = 0; v < V; ++v) {
                        const int64_t at = panel * PANEL + v * LANES;
                        if (at >= count) break;
                        const Floats found =
                            matrix.numbers(sums + (r * V + v) * LANES, at, packed.scales[rows.first + r]);
                        store_some(out + (rows.first + r) * count + at, found + load(bias + at), present(at, count));
                    }
            }
        }
    }
    return 0;
}

extern "C" {

// One step of an LSTM: x (batch, width), y (batch, depth) and the cell before it -> hidden and cell (batch, size).
// `cell` may be the same memory as `before`.
int streams_lstm_float32(const uint32_t* first, const uint32_t* second, const float* bias, const float* x,
                         const float* y, const float* before, float* hidden, float* cell, int64_t width, int64_t depth,
                         int64_t size, int64_t batch, int64_t threads) {
    const Numbers by_x = {first, width}, by_y = {second, depth};
    return lstm_step<Numbers>({by_x, by_y, bias, x, y, before, hidden, cell, size, batch}, threads);
}

// out (batch, count) = x (batch, width) times the transposed matrix, plus the bias, which is padded to whole panels.
int streams_linear_float32(const uint32_t* weight, const float* bias, const float* x, float* out, int64_t count,
                           int64_t width, int64_t batch, int64_t threads) {
    return linear<Numbers>({weight, width}, bias, x, out, count, batch, threads);
}

#ifdef BYTES
int streams_lstm_int8(const uint32_t* first, const float* first_scale, const int32_t* first_start,
                      const uint32_t* second, const float* second_scale, const int32_t* second_start, const float* bias,
                      const float* x, const float* y, const float* before, float* hidden, float* cell, int64_t width,
                      int64_t depth, int64_t size, int64_t batch, int64_t threads) {
    const Integers by_x = {first, first_scale, first_start, width}, by_y = {second, second_scale, second_start, depth};
    return lstm_step<Integers>({by_x, by_y, bias, x, y, before, hidden, cell, size, batch}, threads);
}

int streams_linear_int8(const uint32_t* weight, const float* scale, const int32_t* start, const float* bias,
                        const float* x, float* out, int64_t count, int64_t width, int64_t batch, int64_t threads) {
    return linear<Integers>({weight, scale, start, width}, bias, x, out, count, batch, threads);
}
#endif
}

// The width of a vector in the order of packed weights.
extern "C" int streams_lanes() { return LANES; }
