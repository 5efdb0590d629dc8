// A window of an LSTM's recurrence and its way back, as a single call each.
//
// T steps, B rows, H hidden units. All tensors are contiguous; Element is that of products: float or bf16.

#include "lstm.h"

// projected (T, B, 4H), bias (4H), hidden and cell before the window (B, H), weight (4H, H)
// -> outputs (T, B, H), cells (T + 1, B, H), gates (T, B, 4H), remembered (T, B, H): the hidden state before each step.
// workspace: 4 * P * P + 2 * B * P words and sums of 4 * B * LANES a thread, where P is H in whole panels.
template <typename Element>
static int forward(const Element* projected, const float* bias, const float* hidden, const float* cell,
                   const float* weight, float* outputs, float* cells, float* gates, Element* remembered,
                   uint32_t* workspace, int64_t T, int64_t B, int64_t H, int64_t threads) {
    const int64_t count = panels(H), depth = depth_words<Element>(H), panel_words = depth * 4 * LANES;
    uint32_t* packed = workspace;
    uint32_t* rows[2] = {packed + count * panel_words, packed + count * panel_words + depth * B};
    float* all_sums = (float*)(rows[1] + depth * B);
#pragma omp parallel num_threads((int)threads)
    {
        const Share mine(count, this_thread(), team_size());
        float* sums = all_sums + this_thread() * B * 4 * LANES;
        for (int64_t panel = mine.first; panel < mine.last; ++panel) {
            pack_rows<Element, 4>(weight, true, H, H, panel, packed + panel * panel_words);
            start_panel<Element>(hidden, cell, remembered, cells, rows[0], B, H, panel);
        }
        for (int64_t t = 0; t < T; ++t) {
#pragma omp barrier
            const CellStep<Element> step = {
                projected + t * B * 4 * H, bias, cells + t * B * H, gates + t * B * 4 * H, cells + (t + 1) * B * H,
                outputs + t * B * H, t + 1 < T ? remembered + (t + 1) * B * H : nullptr, rows[(t + 1) & 1]};
            for (int64_t panel = mine.first; panel < mine.last; ++panel) {
                multiply<Element, 4>(rows[t & 1], B, packed + panel * panel_words, depth, sums);
                cell_forward(step, sums, B, H, panel);
            }
        }
    }
    return 0;
}

// d_outputs (T, B, H), cells, gates and weight as above; d_cell (B, H) of the cell after the window, becomes that of
// the cell before; d_bias (4H) of zeros -> d_hidden (B, H), d_gates (T, B, 4H), d_bias.
// workspace: 4 * P * (P + LANES) + 8 * B * P words and sums of V * B * LANES a thread. V registers are taken together.
template <typename Element, int V>
static int backward_by(const float* d_outputs, const float* cells, const float* gates, const float* weight,
                       float* d_cell, float* d_bias, float* d_hidden, Element* d_gates, uint32_t* workspace, int64_t T,
                       int64_t B, int64_t H, int64_t threads) {
    const int64_t count = (panels(H) + V - 1) / V, depth = 4 * depth_words<Element>(H), panel_words = depth * V * LANES;
    uint32_t* packed = workspace;
    uint32_t* rows[2] = {packed + count * panel_words, packed + count * panel_words + depth * B};
    float* all_sums = (float*)(rows[1] + depth * B);
#pragma omp parallel num_threads((int)threads)
    {
        const Share mine(count, this_thread(), team_size());
        float* sums = all_sums + this_thread() * B * V * LANES;
        for (int64_t panel = mine.first; panel < mine.last; ++panel)
            pack_columns<Element, V>(weight, 4, H, H, panel, packed + panel * panel_words);
        for (int64_t t = T - 1; t >= 0; --t) {
            const CellStepBack<Element> step = {d_outputs + t * B * H, gates + t * B * 4 * H, cells + t * B * H,
                                                cells + (t + 1) * B * H, d_cell, d_bias, d_gates + t * B * 4 * H,
                                                rows[t & 1]};
            for (int64_t panel = mine.first; panel < mine.last; ++panel) {
                if (t + 1 < T)
                    multiply<Element, V>(rows[(t + 1) & 1], B, packed + panel * panel_words, depth, sums);
                else
                    memset(sums, 0, sizeof(float) * B * V * LANES);
                for (int v = 0; v < V && panel * V + v < panels(H); ++v)
                    cell_backward<Element, V>(step, sums + v * LANES, B, H, panel * V + v);
            }
#pragma omp barrier
        }
        for (int64_t panel = mine.first; panel < mine.last; ++panel) {
            multiply<Element, V>(rows[0], B, packed + panel * panel_words, depth, sums);
            store_sums<V>(d_hidden, sums, B, H, panel);
        }
    }
    return 0;
}

template <typename Element, typename... Arguments>
static int backward(int64_t H, Arguments... arguments) {
    // two registers at a time halve what is read of the rows, but few units are then hard to share out
    return panels(H) < 24 ? backward_by<Element, 1>(arguments...) : backward_by<Element, 2>(arguments...);
}

#define LSTM_KERNELS(NAME, ELEMENT)                                                                                   \
    extern "C" int lstm_forward_##NAME(const ELEMENT* projected, const float* bias, const float* hidden,              \
                                       const float* cell, const float* weight, float* outputs, float* cells,          \
                                       float* gates, ELEMENT* remembered, uint32_t* workspace, int64_t T, int64_t B,  \
                                       int64_t H, int64_t threads) {                                                  \
        return forward(projected, bias, hidden, cell, weight, outputs, cells, gates, remembered, workspace, T, B, H,  \
                       threads);                                                                                      \
    }                                                                                                                 \
    extern "C" int lstm_backward_##NAME(const float* d_outputs, const float* cells, const float* gates,               \
                                        const float* weight, float* d_cell, float* d_bias, float* d_hidden,           \
                                        ELEMENT* d_gates, uint32_t* workspace, int64_t T, int64_t B, int64_t H,       \
                                        int64_t threads) {                                                            \
        return backward<ELEMENT>(H, d_outputs, cells, gates, weight, d_cell, d_bias, d_hidden, d_gates, workspace, T, \
                                 B, H, threads);                                                                      \
    }

LSTM_KERNELS(float32, float)
LSTM_KERNELS(bf16, bf16)
