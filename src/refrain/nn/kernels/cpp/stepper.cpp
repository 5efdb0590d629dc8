// One step of recurrent layers and of a softmax, for a small batch: each weight is read once and used for all
// sequences.
//
// The order of a sum depends neither on the number of threads nor on the size of the batch. Every function returns 0,
// or 1 where there was no memory for a padded copy of its inputs; then its outputs have no meaning.

#include <cmath>

#include "packed.h"

// units of one piece of work, which fill whole registers; sequences of one pass over the weights
constexpr int UNITS = LANES > 8 ? LANES : 8, PASS = 16;
// multiply-adds below which a second thread costs more than it brings
constexpr double SMALL = 3e4;

// Add the dot products of R rows of a unit with each input, having read `used` entries of each group.
template <int R, typename Weight>
static inline void add_dots(float (*gates)[R][UNITS], int u, int64_t unit, const Matrix* matrix, int64_t used,
                            const Inputs& inputs, int64_t first, int64_t batch) {
    const int64_t width = inputs.width, gap = (matrix->stride - used) * (int64_t)sizeof(Weight);
    const Weight* weight = (const Weight*)matrix->weight + unit * matrix->stride;
    const float* scale = matrix->scale ? matrix->scale + unit * R : nullptr;
    for (int64_t from = 0; from < batch; from += TILE) {
        const int count = batch - from < TILE ? (int)(batch - from) : TILE;
        float found[R][TILE];
        dots_of<R>(count, weight, width, gap, inputs.rows + (first + from) * width, found);
        for (int b = 0; b < count; ++b)
            for (int r = 0; r < R; ++r) gates[from + b][r][u] += found[r][b] * (scale ? scale[r] : 1.0f);
    }
}

// Set the gates to `base`, or to zeros.
template <int R>
static inline void start_gates(float (*gates)[R][UNITS], const float* base, int64_t stride, int64_t unit, int count,
                               int64_t batch) {
    for (int64_t b = 0; b < batch; ++b)
        for (int r = 0; r < R; ++r)
            for (int u = 0; u < UNITS; ++u)
                gates[b][r][u] = base && u < count ? base[b * stride + (unit + u) * R + r] : 0.0f;
}

// One step of a layer: its two matrices and their inputs, what is added to the gates, and the state.
struct Step {
    const Matrix *first, *second;
    const float *x, *y;   // (batch, width of first), (batch, width of second)
    const float* base;    // added to the gates: (gates), or a row for each sequence at a stride
    int64_t stride;       // 0 for one row that all sequences share
    const float* before;  // an LSTM's cell, a GRU's hidden state: (batch, size)
    float *hidden, *cell;
    int64_t size, batch, threads;

    // Whether several threads are worth while, with R gates.
    bool is_large(int R) const {
        const double width = (first ? first->width : 0) + (second ? second->width : 0) + 32;
        return width * R * size * batch > SMALL;
    }
    bool has_scales() const { return (first && first->scale) || (second && second->scale); }
};

template <typename Weight>
static int lstm_step(const Step& p) {
    const int64_t blocks = (p.size + UNITS - 1) / UNITS;
    const Inputs x(p.x, p.first ? p.first->width : 0, p.batch), y(p.y, p.second ? p.second->width : 0, p.batch);
    if (x.failed() || y.failed()) return 1;
    const int64_t used = 4 * (x.width + y.width);
#pragma omp parallel for num_threads((int)p.threads) schedule(static) if (p.is_large(4))
    for (int64_t block = 0; block < blocks; ++block) {
        const int64_t unit = block * UNITS;
        const int count = p.size - unit < UNITS ? (int)(p.size - unit) : UNITS;
        for (int64_t from = 0; from < p.batch; from += PASS) {
            const int64_t some = p.batch - from < PASS ? p.batch - from : PASS;
            float gates[PASS][4][UNITS];
            start_gates<4>(gates, p.base + from * p.stride, p.stride, unit, count, some);
            for (int u = 0; u < count; ++u) {
                if (p.first) add_dots<4, Weight>(gates, u, unit + u, p.first, used, x, from, some);
                if (p.second) add_dots<4, Weight>(gates, u, unit + u, p.second, used, y, from, some);
            }
            for (int64_t b = 0; b < some; ++b)
                for (int u = 0; u < UNITS; u += LANES) {
                    const int64_t at = (from + b) * p.size + unit + u;
                    const Floats i = sigmoid(load(gates[b][0] + u)), f = sigmoid(load(gates[b][1] + u));
                    const Floats g = hyperbolic_tangent(load(gates[b][2] + u)), o = sigmoid(load(gates[b][3] + u));
                    const Floats cell = f * load_some(p.before + at, count - u) + i * g;
                    store_some(p.cell + at, cell, count - u);
                    store_some(p.hidden + at, o * hyperbolic_tangent(cell), count - u);
                }
        }
    }
    return 0;
}

static int lstm_step(const Step& step) { return step.has_scales() ? lstm_step<int8_t>(step) : lstm_step<float>(step); }

template <typename Weight>
static int gru_step(const Step& p, const float* recurrent) {
    const int64_t blocks = (p.size + UNITS - 1) / UNITS;
    const Inputs x(p.x, p.first ? p.first->width : 0, p.batch), y(p.y, p.second ? p.second->width : 0, p.batch);
    if (x.failed() || y.failed()) return 1;
    const int64_t used = 3 * (x.width + y.width);
#pragma omp parallel for num_threads((int)p.threads) schedule(static) if (p.is_large(3))
    for (int64_t block = 0; block < blocks; ++block) {
        const int64_t unit = block * UNITS;
        const int count = p.size - unit < UNITS ? (int)(p.size - unit) : UNITS;
        for (int64_t from = 0; from < p.batch; from += PASS) {
            const int64_t some = p.batch - from < PASS ? p.batch - from : PASS;
            // the candidate's two parts are kept apart: the reset gate acts on the recurrent one alone
            float by_input[PASS][3][UNITS], by_state[PASS][3][UNITS];
            const float* base = p.base + from * p.stride;
            const float* projected = recurrent ? recurrent + from * 3 * p.size : nullptr;
            start_gates<3>(by_input, base, p.stride, unit, count, some);
            start_gates<3>(by_state, projected, 3 * p.size, unit, count, some);
            for (int u = 0; u < count; ++u) {
                if (p.first) add_dots<3, Weight>(by_input, u, unit + u, p.first, used, x, from, some);
                if (p.second) add_dots<3, Weight>(by_state, u, unit + u, p.second, used, y, from, some);
            }
            for (int64_t b = 0; b < some; ++b)
                for (int u = 0; u < UNITS; u += LANES) {
                    const int64_t at = (from + b) * p.size + unit + u;
                    const Floats reset = sigmoid(load(by_input[b][0] + u) + load(by_state[b][0] + u));
                    const Floats update = sigmoid(load(by_input[b][1] + u) + load(by_state[b][1] + u));
                    const Floats candidate =
                        hyperbolic_tangent(load(by_input[b][2] + u) + reset * load(by_state[b][2] + u));
                    const Floats before = load_some(p.before + at, count - u);
                    store_some(p.hidden + at, (1.0f - update) * candidate + update * before, count - u);
                }
        }
    }
    return 0;
}

template <typename Weight>
static int linear(const Matrix& matrix, const float* bias, const float* x, float* out, int64_t rows, int64_t batch,
                  int64_t threads) {
    const Weight* weight = (const Weight*)matrix.weight;
    const Inputs inputs(x, matrix.width, batch);
    if (inputs.failed()) return 1;
    const int64_t blocks = (rows + TILE - 1) / TILE, width = inputs.width;
#pragma omp parallel for num_threads((int)threads) schedule(static) if ((double)rows * width * batch > SMALL)
    for (int64_t block = 0; block < blocks; ++block) {
        const int64_t row = block * TILE;
        const int count = rows - row < TILE ? (int)(rows - row) : TILE;
        for (int64_t from = 0; from < batch; from += TILE) {
            const int some = batch - from < TILE ? (int)(batch - from) : TILE;
            float found[TILE][TILE];
            dots_of<TILE>(some, weight + row * width, width, 0, inputs.rows + from * width, found);
            for (int b = 0; b < some; ++b)
                for (int r = 0; r < count; ++r)
                    out[(from + b) * rows + row + r] =
                        found[r][b] * (matrix.scale ? matrix.scale[row + r] : 1.0f) + (bias ? bias[row + r] : 0.0f);
        }
    }
    return 0;
}

// log sum exp of a row; NaN where an entry is NaN.
static float log_sum_exp(const float* row, int64_t count) {
    const auto present_at = [&](int64_t at) { return count - at < LANES ? (int)(count - at) : LANES; };
    Floats most = splat(-INFINITY);
    for (int64_t at = 0; at < count; at += LANES) {
        const Floats values = load_some(row + at, present_at(at), -INFINITY);
        most = values > most ? values : most;
    }
    const float greatest = largest(most);
    Floats sums = splat(0.0f);
    for (int64_t at = 0; at < count; at += LANES)
        sums += first_of(exponential(load_some(row + at, present_at(at)) - greatest), present_at(at));
    return greatest + std::log(sum(sums));
}

extern "C" {

// out (batch, rows) = x (batch, width) times the transposed matrix, plus bias (rows) or null.
int stepper_linear(const Matrix* matrix, const float* bias, const float* x, float* out, int64_t rows, int64_t batch,
                   int64_t threads) {
    return matrix->scale ? linear<int8_t>(*matrix, bias, x, out, rows, batch, threads)
                         : linear<float>(*matrix, bias, x, out, rows, batch, threads);
}

// One step; each matrix with its input may be null. `cell` may be the same memory as `before`.
int stepper_lstm(const Matrix* first, const Matrix* second, const float* x, const float* y, const float* base,
                 const float* before, float* hidden, float* cell, int64_t stride, int64_t size, int64_t batch,
                 int64_t threads) {
    return lstm_step({first, second, x, y, base, stride, before, hidden, cell, size, batch, threads});
}

// A window of steps: `base` (steps, batch, 4 * size) is the input's part of the gates, `before` the hidden state before
// the window; `cell` goes from that before the window to that after it.
int stepper_lstm_window(const Matrix* second, const float* base, const float* before, float* hidden, float* cell,
                        int64_t size, int64_t batch, int64_t steps, int64_t threads) {
    const int64_t state = size * batch;
    for (int64_t t = 0; t < steps; ++t) {
        float* after = hidden + t * state;
        const float* recurrent = t ? after - state : before;
        const float* given = base + 4 * t * state;
        const Step step = {nullptr, second, nullptr, recurrent, given, 4 * size,
                           cell,    after,  cell,    size,      batch, threads};
        if (const int status = lstm_step(step)) return status;
    }
    return 0;
}

// One step; each matrix may be null, and `recurrent` (batch, 3 * size) the hidden state's part of the gates instead.
int stepper_gru(const Matrix* first, const Matrix* second, const float* x, const float* base, const float* recurrent,
                const float* before, float* hidden, int64_t stride, int64_t size, int64_t batch, int64_t threads) {
    const Step step = {first, second, x, before, base, stride, before, hidden, nullptr, size, batch, threads};
    return step.has_scales() ? gru_step<int8_t>(step, recurrent) : gru_step<float>(step, recurrent);
}

// Logits (rows, words) become log-probabilities, in place.
int stepper_log_softmax(float* logits, int64_t rows, int64_t words, int64_t threads) {
#pragma omp parallel for num_threads((int)threads) schedule(static) if ((double)rows * words > SMALL)
    for (int64_t row = 0; row < rows; ++row) {
        float* values = logits + row * words;
        const float normaliser = log_sum_exp(values, words);
#pragma omp simd
        for (int64_t k = 0; k < words; ++k) values[k] -= normaliser;
    }
    return 0;
}

// Logits (rows, words) and targets (rows) -> the nats of each row's target (rows).
int stepper_target_nats(const float* logits, const int64_t* targets, float* nats, int64_t rows, int64_t words,
                        int64_t threads) {
#pragma omp parallel for num_threads((int)threads) schedule(static) if ((double)rows * words > SMALL)
    for (int64_t row = 0; row < rows; ++row)
        nats[row] = log_sum_exp(logits + row * words, words) - logits[row * words + targets[row]];
    return 0;
}
}
