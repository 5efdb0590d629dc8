// The recurrence of a multiplicative LSTM over a window, forward and backward, in a single call each.
//
// T steps, B batch, H hidden units, M intermediate units. All tensors are contiguous; Element is the type of matmul
// inputs: float or bf16.

#include "barrier.h"
#include "lstm.h"

// registers that are computed together in a matmul of a single gate
constexpr int V = 2;

static inline int64_t pairs(int64_t units) { return (panels(units) + V - 1) / V; }

// How a workspace is divided: the packed weights w_hm and w_mh, packed rows of each, then the sums of each thread. All
// sizes are in words of 32 bits, those of a panel in `_panel`.
struct Layout {
    int64_t hm_panel, mh_panel, hm, mh, rows_h, rows_m, sums;

    int64_t words(int64_t threads) const { return hm + mh + rows_h + rows_m + threads * sums; }
};

template <typename Element>
static Layout forward_layout(int64_t B, int64_t H, int64_t M) {
    const int64_t depth_h = depth_words<Element>(H), depth_m = depth_words<Element>(M);
    const int64_t hm_panel = depth_h * V * LANES, mh_panel = depth_m * 4 * LANES;
    return {hm_panel, mh_panel, pairs(M) * hm_panel, panels(H) * mh_panel, depth_h * B, depth_m * B, 4 * B * LANES};
}

// Here the rows of H are gradients of the gates, four a unit.
template <typename Element>
static Layout backward_layout(int64_t B, int64_t H, int64_t M) {
    const int64_t depth_g = depth_words<Element>(H, 4), depth_m = depth_words<Element>(M);
    const int64_t hm_panel = depth_m * V * LANES, mh_panel = depth_g * V * LANES;
    return {hm_panel, mh_panel, pairs(H) * hm_panel, pairs(M) * mh_panel, depth_g * B, depth_m * B, V * B * LANES};
}

// projected (T, B, 4H), factors (T, B, M): the input's part of the intermediate state, bias (4H), hidden and cell
// before the window (B, H), w_hm (M, H), w_mh (4H, M)
// -> outputs (T, B, H), cells (T + 1, B, H), gates (T, B, 4H), remembered (T, B, H): the hidden state before each step,
// projections (T, B, M): the hidden state's part of the intermediate state, intermediate (T, B, M).
template <typename Element>
static int forward(const Element* projected, const Element* factors, const float* bias, const float* hidden,
                   const float* cell, const float* w_hm, const float* w_mh, float* outputs, float* cells, float* gates,
                   Element* remembered, Element* projections, Element* intermediate, uint32_t* workspace, int64_t T,
                   int64_t B, int64_t H, int64_t M, int64_t threads) {
    const int64_t depth_h = depth_words<Element>(H), depth_m = depth_words<Element>(M);
    const Layout layout = forward_layout<Element>(B, H, M);
    uint32_t* packed_hm = workspace;
    uint32_t* packed_mh = packed_hm + layout.hm;
    uint32_t* rows_h = packed_mh + layout.mh;
    uint32_t* rows_m = rows_h + layout.rows_h;
    float* all_sums = (float*)(rows_m + layout.rows_m);
    Barrier barrier;
#pragma omp parallel num_threads((int)threads)
    {
        const Share inner(pairs(M), this_thread(), team_size()), mine(panels(H), this_thread(), team_size());
        Tiles tiles;
        float* sums = all_sums + this_thread() * layout.sums;
        for (int64_t panel = inner.first; panel < inner.last; ++panel)
            pack_rows<Element, V>(w_hm, false, M, H, panel, packed_hm + panel * layout.hm_panel);
        for (int64_t panel = mine.first; panel < mine.last; ++panel) {
            pack_rows<Element, 4>(w_mh, true, H, M, panel, packed_mh + panel * layout.mh_panel);
            start_panel<Element>(hidden, cell, remembered, cells, rows_h, B, H, panel);
        }
        if (mine.first == 0) pad<Element>(rows_h, B, H);
        if (inner.first == 0) pad<Element>(rows_m, B, M);
        for (int64_t t = 0; t < T; ++t) {
            barrier.wait();
            for (int64_t panel = inner.first; panel < inner.last; ++panel) {
                multiply<Element, V>(tiles, rows_h, B, packed_hm + panel * layout.hm_panel, depth_h, sums);
                for (int v = 0; v < V && panel * V + v < panels(M); ++v) {
                    const int64_t unit = (panel * V + v) * LANES;
                    const int count = present(unit, M);
                    for (int64_t row = 0; row < B; ++row) {
                        const int64_t at = (t * B + row) * M + unit;
                        const Floats projection = load(sums + (row * V + v) * LANES);
                        const Floats state = projection * load_some(factors + at, count);
                        store_some(projections + at, projection, count);
                        store_some(intermediate + at, state, count);
                        put<Element>(rows_m, B, row, unit, state, count);
                    }
                }
            }
            barrier.wait();
            const CellStep<Element> step = {projected + t * B * 4 * H,
                                            bias,
                                            cells + t * B * H,
                                            gates + t * B * 4 * H,
                                            cells + (t + 1) * B * H,
                                            outputs + t * B * H,
                                            t + 1 < T ? remembered + (t + 1) * B * H : nullptr,
                                            rows_h};
            for (int64_t panel = mine.first; panel < mine.last; ++panel) {
                multiply<Element, 4>(tiles, rows_m, B, packed_mh + panel * layout.mh_panel, depth_m, sums);
                cell_forward(step, sums, B, H, panel);
            }
        }
    }
    return 0;
}

// d_outputs (T, B, H); cells, gates, factors, projections and weights as above; d_cell (B, H), the gradient of the cell
// after the window, is replaced by that of the cell before; d_bias (4H) of zeros
// -> d_hidden (B, H), d_gates (T, B, 4H), d_factors and d_projections (T, B, M), d_bias.
template <typename Element>
static int backward(const float* d_outputs, const float* cells, const float* gates, const Element* factors,
                    const Element* projections, const float* w_hm, const float* w_mh, float* d_cell, float* d_bias,
                    float* d_hidden, Element* d_gates, Element* d_factors, Element* d_projections, uint32_t* workspace,
                    int64_t T, int64_t B, int64_t H, int64_t M, int64_t threads) {
    const int64_t depth_g = depth_words<Element>(H, 4), depth_m = depth_words<Element>(M);
    const Layout layout = backward_layout<Element>(B, H, M);
    uint32_t* packed_hm = workspace;
    uint32_t* packed_mh = packed_hm + layout.hm;
    uint32_t* rows_g = packed_mh + layout.mh;
    uint32_t* rows_m = rows_g + layout.rows_h;
    float* all_sums = (float*)(rows_m + layout.rows_m);
    Barrier barrier;
#pragma omp parallel num_threads((int)threads)
    {
        const Share inner(pairs(M), this_thread(), team_size()), mine(pairs(H), this_thread(), team_size());
        Tiles tiles;
        float* sums = all_sums + this_thread() * layout.sums;
        for (int64_t panel = mine.first; panel < mine.last; ++panel)
            pack_columns<Element, V>(w_hm, 1, M, H, panel, packed_hm + panel * layout.hm_panel);
        for (int64_t panel = inner.first; panel < inner.last; ++panel)
            pack_columns<Element, V>(w_mh, 4, H, M, panel, packed_mh + panel * layout.mh_panel);
        if (inner.first == 0) pad<Element>(rows_m, B, M);
        for (int64_t t = T - 1; t >= 0; --t) {
            const CellStepBack<Element> step = {d_outputs + t * B * H,
                                                gates + t * B * 4 * H,
                                                cells + t * B * H,
                                                cells + (t + 1) * B * H,
                                                d_cell,
                                                d_bias,
                                                d_gates + t * B * 4 * H,
                                                rows_g};
            for (int64_t panel = mine.first; panel < mine.last; ++panel) {
                if (t + 1 < T)
                    multiply<Element, V>(tiles, rows_m, B, packed_hm + panel * layout.hm_panel, depth_m, sums);
                else
                    memset(sums, 0, sizeof(float) * B * V * LANES);
                for (int v = 0; v < V && panel * V + v < panels(H); ++v)
                    cell_backward<Element, V>(step, sums + v * LANES, B, H, panel * V + v);
            }
            barrier.wait();
            for (int64_t panel = inner.first; panel < inner.last; ++panel) {
                multiply<Element, V>(tiles, rows_g, B, packed_mh + panel * layout.mh_panel, depth_g, sums);
                for (int v = 0; v < V && panel * V + v < panels(M); ++v) {
                    const int64_t unit = (panel * V + v) * LANES;
                    const int count = present(unit, M);
                    for (int64_t row = 0; row < B; ++row) {
                        const int64_t at = (t * B + row) * M + unit;
                        const Floats d_state = load(sums + (row * V + v) * LANES);
                        const Floats d_projection = d_state * load_some(factors + at, count);
                        store_some(d_factors + at, d_state * load_some(projections + at, count), count);
                        store_some(d_projections + at, d_projection, count);
                        put<Element>(rows_m, B, row, unit, d_projection, count);
                    }
                }
            }
            barrier.wait();
        }
        for (int64_t panel = mine.first; panel < mine.last; ++panel) {
            multiply<Element, V>(tiles, rows_m, B, packed_hm + panel * layout.hm_panel, depth_m, sums);
            store_sums<V>(d_hidden, sums, B, H, panel);
        }
    }
    return 0;
}

#define MULTIPLICATIVE_LSTM_KERNELS(NAME, ELEMENT)                                                                     \
    extern "C" int64_t multiplicative_lstm_forward_##NAME##_workspace(int64_t, int64_t B, int64_t H, int64_t M,        \
                                                                      int64_t threads) {                               \
        return forward_layout<ELEMENT>(B, H, M).words(threads);                                                        \
    }                                                                                                                  \
    extern "C" int64_t multiplicative_lstm_backward_##NAME##_workspace(int64_t, int64_t B, int64_t H, int64_t M,       \
                                                                       int64_t threads) {                              \
        return backward_layout<ELEMENT>(B, H, M).words(threads);                                                       \
    }                                                                                                                  \
    extern "C" int multiplicative_lstm_forward_##NAME(                                                                 \
        const ELEMENT* projected, const ELEMENT* factors, const float* bias, const float* hidden, const float* cell,   \
        const float* w_hm, const float* w_mh, float* outputs, float* cells, float* gates, ELEMENT* remembered,         \
        ELEMENT* projections, ELEMENT* intermediate, uint32_t* workspace, int64_t T, int64_t B, int64_t H, int64_t M,  \
        int64_t threads) {                                                                                             \
        return forward(projected, factors, bias, hidden, cell, w_hm, w_mh, outputs, cells, gates, remembered,          \
                       projections, intermediate, workspace, T, B, H, M, threads);                                     \
    }                                                                                                                  \
    extern "C" int multiplicative_lstm_backward_##NAME(                                                                \
        const float* d_outputs, const float* cells, const float* gates, const ELEMENT* factors,                        \
        const ELEMENT* projections, const float* w_hm, const float* w_mh, float* d_cell, float* d_bias,                \
        float* d_hidden, ELEMENT* d_gates, ELEMENT* d_factors, ELEMENT* d_projections, uint32_t* workspace, int64_t T, \
        int64_t B, int64_t H, int64_t M, int64_t threads) {                                                            \
        return backward(d_outputs, cells, gates, factors, projections, w_hm, w_mh, d_cell, d_bias, d_hidden, d_gates,  \
                        d_factors, d_projections, workspace, T, B, H, M, threads);                                     \
    }

MULTIPLICATIVE_LSTM_KERNELS(float32, float)
MULTIPLICATIVE_LSTM_KERNELS(bf16, bf16)
