// A window of a multiplicative LSTM's recurrence and its way back, as a single call each.
//
// T steps, B rows, H hidden units, M intermediate units. All tensors are contiguous; Element is that of products.

#include "lstm.h"

// Registers of the products with a single gate that are taken together.
constexpr int V = 2;

static inline int64_t pairs(int64_t units) { return (panels(units) + V - 1) / V; }

// projected (T, B, 4H), factors (T, B, M): the input's part of the intermediate state, bias (4H), hidden and cell before
// the window (B, H), w_hm (M, H), w_mh (4H, M)
// -> outputs (T, B, H), cells (T + 1, B, H), gates (T, B, 4H), remembered (T, B, H): the hidden state before each step,
// products (T, B, M): of the hidden state with w_hm, intermediate (T, B, M).
// workspace: (P + LANES) * (Q + LANES) for both weights together times 5, B * (P + Q) words and sums of 4 * B * LANES a
// thread, where P and Q are H and M in whole panels.
template <typename Element>
static int forward(const Element* projected, const Element* factors, const float* bias, const float* hidden,
                   const float* cell, const float* w_hm, const float* w_mh, float* outputs, float* cells, float* gates,
                   Element* remembered, Element* products, Element* intermediate, uint32_t* workspace, int64_t T,
                   int64_t B, int64_t H, int64_t M, int64_t threads) {
    const int64_t depth_h = depth_words<Element>(H), depth_m = depth_words<Element>(M);
    const int64_t words_hm = depth_h * V * LANES, words_mh = depth_m * 4 * LANES;
    uint32_t* packed_hm = workspace;
    uint32_t* packed_mh = packed_hm + pairs(M) * words_hm;
    uint32_t* rows_h = packed_mh + panels(H) * words_mh;
    uint32_t* rows_m = rows_h + depth_h * B;
    float* all_sums = (float*)(rows_m + depth_m * B);
#pragma omp parallel num_threads((int)threads)
    {
        const Share inner(pairs(M), this_thread(), team_size()), mine(panels(H), this_thread(), team_size());
        float* sums = all_sums + this_thread() * B * 4 * LANES;
        for (int64_t panel = inner.first; panel < inner.last; ++panel)
            pack_rows<Element, V>(w_hm, false, M, H, panel, packed_hm + panel * words_hm);
        for (int64_t panel = mine.first; panel < mine.last; ++panel) {
            pack_rows<Element, 4>(w_mh, true, H, M, panel, packed_mh + panel * words_mh);
            start_panel<Element>(hidden, cell, remembered, cells, rows_h, B, H, panel);
        }
        for (int64_t t = 0; t < T; ++t) {
#pragma omp barrier
            for (int64_t panel = inner.first; panel < inner.last; ++panel) {
                multiply<Element, V>(rows_h, B, packed_hm + panel * words_hm, depth_h, sums);
                for (int v = 0; v < V && panel * V + v < panels(M); ++v) {
                    const int64_t unit = (panel * V + v) * LANES;
                    const int count = present(unit, M);
                    for (int64_t row = 0; row < B; ++row) {
                        const int64_t at = (t * B + row) * M + unit;
                        const Floats product = load(sums + (row * V + v) * LANES);
                        const Floats state = product * load_some(factors + at, count);
                        store_some(products + at, product, count);
                        store_some(intermediate + at, state, count);
                        put<Element>(rows_m, B, row, unit, state, count);
                    }
                }
            }
#pragma omp barrier
            const CellStep<Element> step = {
                projected + t * B * 4 * H, bias, cells + t * B * H, gates + t * B * 4 * H, cells + (t + 1) * B * H,
                outputs + t * B * H, t + 1 < T ? remembered + (t + 1) * B * H : nullptr, rows_h};
            for (int64_t panel = mine.first; panel < mine.last; ++panel) {
                multiply<Element, 4>(rows_m, B, packed_mh + panel * words_mh, depth_m, sums);
                cell_forward(step, sums, B, H, panel);
            }
        }
    }
    return 0;
}

// d_outputs (T, B, H); cells, gates, factors, products and weights as above; d_cell (B, H) of the cell after the window,
// becomes that of the cell before; d_bias (4H) of zeros
// -> d_hidden (B, H), d_gates (T, B, 4H), d_factors and d_products (T, B, M), d_bias.
// workspace: as above, with 4 * B * P words more.
template <typename Element>
static int backward(const float* d_outputs, const float* cells, const float* gates, const Element* factors,
                    const Element* products, const float* w_hm, const float* w_mh, float* d_cell, float* d_bias,
                    float* d_hidden, Element* d_gates, Element* d_factors, Element* d_products, uint32_t* workspace,
                    int64_t T, int64_t B, int64_t H, int64_t M, int64_t threads) {
    const int64_t depth_g = 4 * depth_words<Element>(H), depth_m = depth_words<Element>(M);
    const int64_t words_hm = depth_m * V * LANES, words_mh = depth_g * V * LANES;
    uint32_t* packed_hm = workspace;
    uint32_t* packed_mh = packed_hm + pairs(H) * words_hm;
    uint32_t* rows_g = packed_mh + pairs(M) * words_mh;
    uint32_t* rows_m = rows_g + depth_g * B;
    float* all_sums = (float*)(rows_m + depth_m * B);
#pragma omp parallel num_threads((int)threads)
    {
        const Share inner(pairs(M), this_thread(), team_size()), mine(pairs(H), this_thread(), team_size());
        float* sums = all_sums + this_thread() * B * V * LANES;
        for (int64_t panel = mine.first; panel < mine.last; ++panel)
            pack_columns<Element, V>(w_hm, 1, M, H, panel, packed_hm + panel * words_hm);
        for (int64_t panel = inner.first; panel < inner.last; ++panel)
            pack_columns<Element, V>(w_mh, 4, H, M, panel, packed_mh + panel * words_mh);
        for (int64_t t = T - 1; t >= 0; --t) {
            const CellStepBack<Element> step = {d_outputs + t * B * H, gates + t * B * 4 * H, cells + t * B * H,
                                                cells + (t + 1) * B * H, d_cell, d_bias, d_gates + t * B * 4 * H,
                                                rows_g};
            for (int64_t panel = mine.first; panel < mine.last; ++panel) {
                if (t + 1 < T)
                    multiply<Element, V>(rows_m, B, packed_hm + panel * words_hm, depth_m, sums);
                else
                    memset(sums, 0, sizeof(float) * B * V * LANES);
                for (int v = 0; v < V && panel * V + v < panels(H); ++v)
                    cell_backward<Element, V>(step, sums + v * LANES, B, H, panel * V + v);
            }
#pragma omp barrier
            for (int64_t panel = inner.first; panel < inner.last; ++panel) {
                multiply<Element, V>(rows_g, B, packed_mh + panel * words_mh, depth_g, sums);
                for (int v = 0; v < V && panel * V + v < panels(M); ++v) {
                    const int64_t unit = (panel * V + v) * LANES;
                    const int count = present(unit, M);
                    for (int64_t row = 0; row < B; ++row) {
                        const int64_t at = (t * B + row) * M + unit;
                        const Floats d_state = load(sums + (row * V + v) * LANES);
                        const Floats d_product = d_state * load_some(factors + at, count);
                        store_some(d_factors + at, d_state * load_some(products + at, count), count);
                        store_some(d_products + at, d_product, count);
                        put<Element>(rows_m, B, row, unit, d_product, count);
                    }
                }
            }
#pragma omp barrier
        }
        for (int64_t panel = mine.first; panel < mine.last; ++panel) {
            multiply<Element, V>(rows_m, B, packed_hm + panel * words_hm, depth_m, sums);
            store_sums<V>(d_hidden, sums, B, H, panel);
        }
    }
    return 0;
}

#define MULTIPLICATIVE_LSTM_KERNELS(NAME, ELEMENT)                                                                    \
    extern "C" int multiplicative_lstm_forward_##NAME(                                                                \
        const ELEMENT* projected, const ELEMENT* factors, const float* bias, const float* hidden, const float* cell,  \
        const float* w_hm, const float* w_mh, float* outputs, float* cells, float* gates, ELEMENT* remembered,        \
        ELEMENT* products, ELEMENT* intermediate, uint32_t* workspace, int64_t T, int64_t B, int64_t H, int64_t M,    \
        int64_t threads) {                                                                                            \
        return forward(projected, factors, bias, hidden, cell, w_hm, w_mh, outputs, cells, gates, remembered,         \
                       products, intermediate, workspace, T, B, H, M, threads);                                       \
    }                                                                                                                 \
    extern "C" int multiplicative_lstm_backward_##NAME(                                                               \
        const float* d_outputs, const float* cells, const float* gates, const ELEMENT* factors,                       \
        const ELEMENT* products, const float* w_hm, const float* w_mh, float* d_cell, float* d_bias, float* d_hidden, \
        ELEMENT* d_gates, ELEMENT* d_factors, ELEMENT* d_products, uint32_t* workspace, int64_t T, int64_t B,         \
        int64_t H, int64_t M, int64_t threads) {                                                                      \
        return backward(d_outputs, cells, gates, factors, products, w_hm, w_mh, d_cell, d_bias, d_hidden, d_gates,    \
                        d_factors, d_products, workspace, T, B, H, M, threads);                                       \
    }

MULTIPLICATIVE_LSTM_KERNELS(float32, float)
MULTIPLICATIVE_LSTM_KERNELS(bf16, bf16)
