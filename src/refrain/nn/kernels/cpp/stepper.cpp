// One step of recurrent layers and of a softmax, for few streams: each weight is read once and used for all streams.
// The order of a sum depends neither on the number of threads nor on that of the streams.

#include "packed.h"

// units of one piece of work, streams of one pass over the weights
constexpr int UNITS = 8, PASS = 16;
// multiply-adds below which a second thread costs more than it brings
constexpr double SMALL = 3e4;

// exp for all floats, to about two units in the last place: 2^n times a polynomial on [-ln 2 / 2, ln 2 / 2]
static inline float exponential(float x) {
    x = x < -87.0f ? -87.0f : x;
    x = x > 88.0f ? 88.0f : x;
    const float magic = 12582912.0f;  // 1.5 * 2^23: adding it rounds to a whole number
    const float n = (x * 1.44269504f + magic) - magic;
    const float r = (x - n * 0.693359375f) + n * 2.12194440e-4f;
    float p = 1.3888889e-3f;
    p = p * r + 8.3333333e-3f;
    p = p * r + 4.1666667e-2f;
    p = p * r + 1.6666667e-1f;
    p = p * r + 0.5f;
    p = p * r + 1.0f;
    p = p * r + 1.0f;
    const float finite = n == n ? n : 0.0f;
    const int32_t bits = ((int32_t)finite + 127) << 23;
    float power;
    memcpy(&power, &bits, sizeof power);
    return p * power;
}

static inline float sigmoid(float x) { return 1.0f / (1.0f + exponential(-x)); }
static inline float hyperbolic(float x) { return 1.0f - 2.0f / (1.0f + exponential(2.0f * x)); }

// Add what a matrix gives for `rows` rows of a unit, for each stream, having read `used` entries of each group.
template <int rows, class Weight>
static inline void add_products(float (*gates)[rows][UNITS], int u, ptrdiff_t unit, const Matrix *matrix,
                                ptrdiff_t used, const Inputs &inputs, ptrdiff_t from, ptrdiff_t streams) {
    const ptrdiff_t width = inputs.width, gap = (matrix->stride - used) * (ptrdiff_t)sizeof(Weight);
    const Weight *weight = (const Weight *)matrix->weight + unit * matrix->stride;
    const float *scale = matrix->scale ? matrix->scale + unit * rows : nullptr;
    for (ptrdiff_t first = 0; first < streams; first += TILE) {
        const int count = streams - first < TILE ? (int)(streams - first) : TILE;
        float found[rows][TILE];
        tile<rows>(count, weight, width, gap, inputs.rows + (from + first) * width, found);
        for (int s = 0; s < count; s++)
            for (int r = 0; r < rows; r++) gates[first + s][r][u] += found[r][s] * (scale ? scale[r] : 1.0f);
    }
}

template <int rows>
static inline void begin(float (*gates)[rows][UNITS], const float *base, ptrdiff_t stride, ptrdiff_t unit, int count,
                         ptrdiff_t streams) {
    for (ptrdiff_t s = 0; s < streams; s++)
        for (int r = 0; r < rows; r++)
            for (int u = 0; u < UNITS; u++)
                gates[s][r][u] = base && u < count ? base[s * stride + (unit + u) * rows + r] : 0.0f;
}

// One step of a layer: what the two matrices read, what is added, and the state.
struct Step {
    const Matrix *first, *second;
    const float *x, *y;  // (streams, width of first), (streams, width of second)
    const float *base;   // added to the products: (rows), or a row a stream with a stride
    ptrdiff_t stride;
    const float *before;  // an LSTM's cell, a GRU's hidden state: (streams, size)
    float *hidden, *cell;
    ptrdiff_t size, streams;
    bool large(int rows) const {
        const double width = (first ? first->width : 0) + (second ? second->width : 0) + 32;
        return width * rows * size * streams > SMALL;
    }
};

template <class Weight>
static void lstm(const Step &p) {
    const ptrdiff_t blocks = (p.size + UNITS - 1) / UNITS;
    const Inputs x(p.x, p.first ? p.first->width : 0, p.streams), y(p.y, p.second ? p.second->width : 0, p.streams);
    const ptrdiff_t used = 4 * (x.width + y.width);
#pragma omp parallel for schedule(static) if (p.large(4))
    for (ptrdiff_t block = 0; block < blocks; block++) {
        const ptrdiff_t unit = block * UNITS;
        const int count = p.size - unit < UNITS ? (int)(p.size - unit) : UNITS;
        for (ptrdiff_t from = 0; from < p.streams; from += PASS) {
            const ptrdiff_t some = p.streams - from < PASS ? p.streams - from : PASS;
            float gates[PASS][4][UNITS];
            begin<4>(gates, p.base + from * p.stride, p.stride, unit, count, some);
            for (int u = 0; u < count; u++) {
                if (p.first) add_products<4, Weight>(gates, u, unit + u, p.first, used, x, from, some);
                if (p.second) add_products<4, Weight>(gates, u, unit + u, p.second, used, y, from, some);
            }
            for (ptrdiff_t s = 0; s < some; s++) {
                const ptrdiff_t at = (from + s) * p.size + unit;
                float before[UNITS] = {}, cell[UNITS], hidden[UNITS];
                memcpy(before, p.before + at, count * sizeof(float));
#pragma omp simd
                for (int u = 0; u < UNITS; u++) {
                    cell[u] = sigmoid(gates[s][1][u]) * before[u] + sigmoid(gates[s][0][u]) * hyperbolic(gates[s][2][u]);
                    hidden[u] = sigmoid(gates[s][3][u]) * hyperbolic(cell[u]);
                }
                memcpy(p.cell + at, cell, count * sizeof(float));
                memcpy(p.hidden + at, hidden, count * sizeof(float));
            }
        }
    }
}

template <class Weight>
static void gru(const Step &p, const float *recurrent) {
    const ptrdiff_t blocks = (p.size + UNITS - 1) / UNITS;
    const Inputs x(p.x, p.first ? p.first->width : 0, p.streams), y(p.y, p.second ? p.second->width : 0, p.streams);
    const ptrdiff_t used = 3 * (x.width + y.width);
#pragma omp parallel for schedule(static) if (p.large(3))
    for (ptrdiff_t block = 0; block < blocks; block++) {
        const ptrdiff_t unit = block * UNITS;
        const int count = p.size - unit < UNITS ? (int)(p.size - unit) : UNITS;
        for (ptrdiff_t from = 0; from < p.streams; from += PASS) {
            const ptrdiff_t some = p.streams - from < PASS ? p.streams - from : PASS;
            // the candidate's two parts stay apart: the reset gate acts on the recurrent one alone
            float given[PASS][3][UNITS], back[PASS][3][UNITS];
            begin<3>(given, p.base + from * p.stride, p.stride, unit, count, some);
            begin<3>(back, recurrent ? recurrent + from * 3 * p.size : nullptr, 3 * p.size, unit, count, some);
            for (int u = 0; u < count; u++) {
                if (p.first) add_products<3, Weight>(given, u, unit + u, p.first, used, x, from, some);
                if (p.second) add_products<3, Weight>(back, u, unit + u, p.second, used, y, from, some);
            }
            for (ptrdiff_t s = 0; s < some; s++) {
                const ptrdiff_t at = (from + s) * p.size + unit;
                float before[UNITS] = {}, hidden[UNITS];
                memcpy(before, p.before + at, count * sizeof(float));
#pragma omp simd
                for (int u = 0; u < UNITS; u++) {
                    const float reset = sigmoid(given[s][0][u] + back[s][0][u]);
                    const float update = sigmoid(given[s][1][u] + back[s][1][u]);
                    const float candidate = hyperbolic(given[s][2][u] + reset * back[s][2][u]);
                    hidden[u] = (1.0f - update) * candidate + update * before[u];
                }
                memcpy(p.hidden + at, hidden, count * sizeof(float));
            }
        }
    }
}

template <class Weight>
static void linear(const Matrix &matrix, const float *bias, const float *x, float *out, ptrdiff_t rows,
                   ptrdiff_t streams) {
    const Weight *weight = (const Weight *)matrix.weight;
    const Inputs inputs(x, matrix.width, streams);
    const ptrdiff_t blocks = (rows + TILE - 1) / TILE, width = inputs.width;
#pragma omp parallel for schedule(static) if ((double)rows * width * streams > SMALL)
    for (ptrdiff_t block = 0; block < blocks; block++) {
        const ptrdiff_t row = block * TILE;
        const int count = rows - row < TILE ? (int)(rows - row) : TILE;
        for (ptrdiff_t from = 0; from < streams; from += TILE) {
            const int some = streams - from < TILE ? (int)(streams - from) : TILE;
            float found[TILE][TILE];
            tile<TILE>(some, weight + row * width, width, 0, inputs.rows + from * width, found);
            for (int s = 0; s < some; s++)
                for (int r = 0; r < count; r++)
                    out[(from + s) * rows + row + r] =
                        found[r][s] * (matrix.scale ? matrix.scale[row + r] : 1.0f) + (bias ? bias[row + r] : 0.0f);
        }
    }
}

// log sum exp; not a number where an entry is not
static float log_sum_exp(const float *row, ptrdiff_t count) {
    float greatest = row[0];
#pragma omp simd reduction(max : greatest)
    for (ptrdiff_t k = 0; k < count; k++) greatest = row[k] > greatest ? row[k] : greatest;
    float sums[LANES] = {};
    ptrdiff_t k = 0;
    for (; k + LANES <= count; k += LANES)
#pragma omp simd
        for (int lane = 0; lane < LANES; lane++) sums[lane] += exponential(row[k + lane] - greatest);
    float total = 0.0f;
    for (; k < count; k++) total += exponential(row[k] - greatest);
    for (int lane = 0; lane < LANES; lane++) total += sums[lane];
    return greatest + __builtin_logf(total);
}

extern "C" {

void refrain_linear(const Matrix *matrix, const float *bias, const float *x, float *out, ptrdiff_t rows,
                    ptrdiff_t streams) {
    if (matrix->scale) linear<int8_t>(*matrix, bias, x, out, rows, streams);
    else linear<float>(*matrix, bias, x, out, rows, streams);
}

void refrain_lstm(const Matrix *first, const Matrix *second, const float *x, const float *y, const float *base,
                  ptrdiff_t stride, const float *before, float *hidden, float *cell, ptrdiff_t size,
                  ptrdiff_t streams) {
    const Step step = {first, second, x, y, base, stride, before, hidden, cell, size, streams};
    if ((first && first->scale) || (second && second->scale)) lstm<int8_t>(step);
    else lstm<float>(step);
}

// A window of steps; `base` (steps, streams, 4 * size) holds what the inputs give, and `cell` goes from that before the
// window to that after it.
void refrain_lstm_window(const Matrix *second, const float *base, const float *before, float *hidden, float *cell,
                         ptrdiff_t size, ptrdiff_t streams, ptrdiff_t steps) {
    const ptrdiff_t all = size * streams;
    for (ptrdiff_t t = 0; t < steps; t++, base += 4 * all, hidden += all)
        refrain_lstm(nullptr, second, nullptr, t ? hidden - all : before, base, 4 * size, cell, hidden, cell, size,
                     streams);
}

void refrain_gru(const Matrix *first, const Matrix *second, const float *x, const float *base, ptrdiff_t stride,
                 const float *recurrent, const float *before, float *hidden, ptrdiff_t size, ptrdiff_t streams) {
    const Step step = {first, second, x, before, base, stride, before, hidden, nullptr, size, streams};
    if ((first && first->scale) || (second && second->scale)) gru<int8_t>(step, recurrent);
    else gru<float>(step, recurrent);
}

// Logits become log-probabilities, in place.
void refrain_log_softmax(float *logits, ptrdiff_t rows, ptrdiff_t words) {
#pragma omp parallel for schedule(static) if ((double)rows * words > SMALL)
    for (ptrdiff_t row = 0; row < rows; row++) {
        float *values = logits + row * words;
        const float normaliser = log_sum_exp(values, words);
#pragma omp simd
        for (ptrdiff_t k = 0; k < words; k++) values[k] -= normaliser;
    }
}

// The nats of one word a row.
void refrain_target_nats(const float *logits, const int64_t *targets, float *nats, ptrdiff_t rows, ptrdiff_t words) {
#pragma omp parallel for schedule(static) if ((double)rows * words > SMALL)
    for (ptrdiff_t row = 0; row < rows; row++)
        nats[row] = log_sum_exp(logits + row * words, words) - logits[row * words + targets[row]];
}
}
