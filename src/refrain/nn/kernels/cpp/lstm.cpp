// A window of the recurrence of K LSTMs side by side and its way back, as a single call each.
//
// K blocks, T steps, B rows, H hidden units of a block. All tensors are contiguous, block after block; Element is that
// of products: float or bf16. One LSTM is one block; a sparse layer has many, which share nothing but the work.

#include "lstm.h"

// projected (K, T, B, 4H), bias (K, 4H), hidden and cell before the window (K, B, H), weight (K, 4H, H)
// -> outputs (K, T, B, H), cells (K, T + 1, B, H), gates (K, T, B, 4H), remembered (K, T, B, H): the hidden state
// before each step. workspace: 4 * P * P + 2 * B * P words a block, where P is H in whole panels, then sums of
// 4 * B * LANES a thread.
template <typename Element>
static int forward(const Element* projected, const float* bias, const float* hidden, const float* cell,
                   const float* weight, float* outputs, float* cells, float* gates, Element* remembered,
                   uint32_t* workspace, int64_t K, int64_t T, int64_t B, int64_t H, int64_t threads) {
    const int64_t count = panels(H), depth = depth_words<Element>(H), panel_words = depth * 4 * LANES;
    const int64_t room = count * panel_words + 2 * depth * B, window = T * B * H, state = B * H;
    float* all_sums = (float*)(workspace + K * room);
#pragma omp parallel num_threads((int)threads)
    {
        const Share mine(K * count, this_thread(), team_size());
        float* sums = all_sums + this_thread() * B * 4 * LANES;
        for (int64_t at = mine.first; at < mine.last; ++at) {
            const int64_t k = at / count, panel = at % count;
            uint32_t* packed = workspace + k * room;
            pack_rows<Element, 4>(weight + k * 4 * H * H, true, H, H, panel, packed + panel * panel_words);
            start_panel<Element>(hidden + k * state, cell + k * state, remembered + k * window,
                                 cells + k * (window + state), packed + count * panel_words, B, H, panel);
        }
        for (int64_t t = 0; t < T; ++t) {
#pragma omp barrier
            for (int64_t at = mine.first; at < mine.last; ++at) {
                const int64_t k = at / count, panel = at % count, step_at = k * window + t * state;
                uint32_t* packed = workspace + k * room;
                uint32_t* rows = packed + count * panel_words;
                float* cells_at = cells + k * (window + state) + t * state;
                const CellStep<Element> step = {
                    projected + 4 * step_at, bias + k * 4 * H, cells_at, gates + 4 * step_at, cells_at + state,
                    outputs + step_at, t + 1 < T ? remembered + step_at + state : nullptr,
                    rows + ((t + 1) & 1) * depth * B};
                multiply<Element, 4>(rows + (t & 1) * depth * B, B, packed + panel * panel_words, depth, sums);
                cell_forward(step, sums, B, H, panel);
            }
        }
    }
    return 0;
}

// d_outputs (K, T, B, H), cells, gates and weight as above; d_cell (K, B, H) of the cell after the window, becomes that
// of the cell before; d_bias (K, 4H) of zeros -> d_hidden (K, B, H), d_gates (K, T, B, 4H), d_bias.
// workspace: 4 * P * (P + LANES) + 8 * B * P words a block, then sums of V * B * LANES a thread. V registers are taken
// together.
template <typename Element, int V>
static int backward_by(const float* d_outputs, const float* cells, const float* gates, const float* weight,
                       float* d_cell, float* d_bias, float* d_hidden, Element* d_gates, uint32_t* workspace, int64_t K,
                       int64_t T, int64_t B, int64_t H, int64_t threads) {
    const int64_t count = (panels(H) + V - 1) / V, depth = 4 * depth_words<Element>(H), panel_words = depth * V * LANES;
    const int64_t room = count * panel_words + 2 * depth * B, window = T * B * H, state = B * H;
    float* all_sums = (float*)(workspace + K * room);
#pragma omp parallel num_threads((int)threads)
    {
        const Share mine(K * count, this_thread(), team_size());
        float* sums = all_sums + this_thread() * B * V * LANES;
        for (int64_t at = mine.first; at < mine.last; ++at) {
            const int64_t k = at / count, panel = at % count;
            uint32_t* packed = workspace + k * room;
            pack_columns<Element, V>(weight + k * 4 * H * H, 4, H, H, panel, packed + panel * panel_words);
        }
        for (int64_t t = T - 1; t >= 0; --t) {
            for (int64_t at = mine.first; at < mine.last; ++at) {
                const int64_t k = at / count, panel = at % count, step_at = k * window + t * state;
                uint32_t* packed = workspace + k * room;
                uint32_t* rows = packed + count * panel_words;
                const float* cells_at = cells + k * (window + state) + t * state;
                const CellStepBack<Element> step = {d_outputs + step_at, gates + 4 * step_at, cells_at,
                                                    cells_at + state, d_cell + k * state, d_bias + k * 4 * H,
                                                    d_gates + 4 * step_at, rows + (t & 1) * depth * B};
                if (t + 1 < T)
                    multiply<Element, V>(rows + ((t + 1) & 1) * depth * B, B, packed + panel * panel_words, depth, sums);
                else
                    memset(sums, 0, sizeof(float) * B * V * LANES);
                for (int v = 0; v < V && panel * V + v < panels(H); ++v)
                    cell_backward<Element, V>(step, sums + v * LANES, B, H, panel * V + v);
            }
#pragma omp barrier
        }
        for (int64_t at = mine.first; at < mine.last; ++at) {
            const int64_t k = at / count, panel = at % count;
            uint32_t* packed = workspace + k * room;
            multiply<Element, V>(packed + count * panel_words, B, packed + panel * panel_words, depth, sums);
            store_sums<V>(d_hidden + k * state, sums, B, H, panel);
        }
    }
    return 0;
}

template <typename Element, typename... Arguments>
static int backward(int64_t K, int64_t H, Arguments... arguments) {
    // two registers at a time halve what is read of the rows, but few units are then hard to share out
    return K * panels(H) < 24 ? backward_by<Element, 1>(arguments...) : backward_by<Element, 2>(arguments...);
}

#define LSTM_KERNELS(NAME, ELEMENT)                                                                                   \
    extern "C" int lstm_forward_##NAME(const ELEMENT* projected, const float* bias, const float* hidden,              \
                                       const float* cell, const float* weight, float* outputs, float* cells,          \
                                       float* gates, ELEMENT* remembered, uint32_t* workspace, int64_t K, int64_t T,  \
                                       int64_t B, int64_t H, int64_t threads) {                                       \
        return forward(projected, bias, hidden, cell, weight, outputs, cells, gates, remembered, workspace, K, T, B,  \
                       H, threads);                                                                                      \
    }                                                                                                                 \
    extern "C" int lstm_backward_##NAME(const float* d_outputs, const float* cells, const float* gates,               \
                                        const float* weight, float* d_cell, float* d_bias, float* d_hidden,           \
                                        ELEMENT* d_gates, uint32_t* workspace, int64_t K, int64_t T, int64_t B,       \
                                        int64_t H, int64_t threads) {                                                 \
        return backward<ELEMENT>(K, H, d_outputs, cells, gates, weight, d_cell, d_bias, d_hidden, d_gates, workspace, \
                                 K, T, B, H, threads);                                                                      \
    }

LSTM_KERNELS(float32, float)
LSTM_KERNELS(bf16, bf16)
