// The recurrence of K independent LSTMs over a window, forward and backward, in a single call each.
//
// K blocks, T steps, B batch, H hidden units of a block. All tensors are contiguous, block after block; Element is the
// type of matmul inputs: float or bf16. An LSTM layer is one block; a sparse layer has many, which are computed
// together.

#include "barrier.h"
#include "lstm.h"

// How a workspace is divided: for each block the packed weight and the packed rows of two steps, then the sums of each
// thread. All sizes are in words of 32 bits.
struct Layout {
    int64_t count, depth, panel_words, block_words, sums;

    // count panels, each depth words deep and V registers wide
    Layout(int64_t count, int64_t depth, int V, int64_t B)
        : count(count),
          depth(depth),
          panel_words(depth * V * LANES),
          block_words(count * panel_words + 2 * depth * B),
          sums(B * V * LANES) {}
    int64_t words(int64_t K, int64_t threads) const { return K * block_words + threads * sums; }
};

template <typename Element>
static Layout forward_layout(int64_t B, int64_t H) {
    return Layout(panels(H), depth_words<Element>(H), 4, B);
}

template <typename Element, int V>
static Layout backward_layout(int64_t B, int64_t H) {
    return Layout((panels(H) + V - 1) / V, depth_words<Element>(H, 4), V, B);
}

// projected (K, T, B, 4H), bias (K, 4H), hidden and cell before the window (K, B, H), weight (K, 4H, H)
// -> outputs (K, T, B, H), cells (K, T + 1, B, H), gates (K, T, B, 4H), remembered (K, T, B, H): the hidden state
// before each step.
template <typename Element>
static int forward(const Element* projected, const float* bias, const float* hidden, const float* cell,
                   const float* weight, float* outputs, float* cells, float* gates, Element* remembered,
                   uint32_t* workspace, int64_t K, int64_t T, int64_t B, int64_t H, int64_t threads) {
    const Layout layout = forward_layout<Element>(B, H);
    const int64_t count = layout.count, depth = layout.depth, panel_words = layout.panel_words;
    const int64_t window = T * B * H, state = B * H;
    float* all_sums = (float*)(workspace + K * layout.block_words);
    Barrier barrier;
#pragma omp parallel num_threads((int)threads)
    {
        const Share mine(K * count, this_thread(), team_size());
        Tiles tiles;
        float* sums = all_sums + this_thread() * layout.sums;
        for (int64_t at = mine.first; at < mine.last; ++at) {
            const int64_t k = at / count, panel = at % count;
            uint32_t* packed = workspace + k * layout.block_words;
            pack_rows<Element, 4>(weight + k * 4 * H * H, true, H, H, panel, packed + panel * panel_words);
            start_panel<Element>(hidden + k * state, cell + k * state, remembered + k * window,
                                 cells + k * (window + state), packed + count * panel_words, B, H, panel);
            // the rows of both steps
            for (int step = 0; step < 2 && panel == 0; ++step)
                pad<Element>(packed + count * panel_words + step * depth * B, B, H);
        }
        for (int64_t t = 0; t < T; ++t) {
            barrier.wait();
            for (int64_t at = mine.first; at < mine.last; ++at) {
                const int64_t k = at / count, panel = at % count, step_at = k * window + t * state;
                uint32_t* packed = workspace + k * layout.block_words;
                uint32_t* rows = packed + count * panel_words;
                float* cells_at = cells + k * (window + state) + t * state;
                const CellStep<Element> step = {projected + 4 * step_at,
                                                bias + k * 4 * H,
                                                cells_at,
                                                gates + 4 * step_at,
                                                cells_at + state,
                                                outputs + step_at,
                                                t + 1 < T ? remembered + step_at + state : nullptr,
                                                rows + ((t + 1) & 1) * depth * B};
                multiply<Element, 4>(tiles, rows + (t & 1) * depth * B, B, packed + panel * panel_words, depth, sums);
                cell_forward(step, sums, B, H, panel);
            }
        }
    }
    return 0;
}

// d_outputs (K, T, B, H), cells, gates and weight as above; d_cell (K, B, H), the gradient of the cell after the
// window, is replaced by that of the cell before; d_bias (K, 4H) of zeros -> d_hidden (K, B, H), d_gates (K, T, B, 4H),
// d_bias. V registers are computed together.
template <typename Element, int V>
static int backward_by(const float* d_outputs, const float* cells, const float* gates, const float* weight,
                       float* d_cell, float* d_bias, float* d_hidden, Element* d_gates, uint32_t* workspace, int64_t K,
                       int64_t T, int64_t B, int64_t H, int64_t threads) {
    const Layout layout = backward_layout<Element, V>(B, H);
    const int64_t count = layout.count, depth = layout.depth, panel_words = layout.panel_words;
    const int64_t window = T * B * H, state = B * H;
    float* all_sums = (float*)(workspace + K * layout.block_words);
    Barrier barrier;
#pragma omp parallel num_threads((int)threads)
    {
        const Share mine(K * count, this_thread(), team_size());
        Tiles tiles;
        float* sums = all_sums + this_thread() * layout.sums;
        for (int64_t at = mine.first; at < mine.last; ++at) {
            const int64_t k = at / count, panel = at % count;
            uint32_t* packed = workspace + k * layout.block_words;
            pack_columns<Element, V>(weight + k * 4 * H * H, 4, H, H, panel, packed + panel * panel_words);
        }
        for (int64_t t = T - 1; t >= 0; --t) {
            for (int64_t at = mine.first; at < mine.last; ++at) {
                const int64_t k = at / count, panel = at % count, step_at = k * window + t * state;
                uint32_t* packed = workspace + k * layout.block_words;
                uint32_t* rows = packed + count * panel_words;
                const float* cells_at = cells + k * (window + state) + t * state;
                const CellStepBack<Element> step = {
                    d_outputs + step_at,   gates + 4 * step_at,       cells_at,
                    cells_at + state,      d_cell + k * state,        d_bias + k * 4 * H,
                    d_gates + 4 * step_at, rows + (t & 1) * depth * B};
                if (t + 1 < T)
                    multiply<Element, V>(tiles, rows + ((t + 1) & 1) * depth * B, B, packed + panel * panel_words,
                                         depth, sums);
                else
                    memset(sums, 0, sizeof(float) * B * V * LANES);
                for (int v = 0; v < V && panel * V + v < panels(H); ++v)
                    cell_backward<Element, V>(step, sums + v * LANES, B, H, panel * V + v);
            }
            barrier.wait();
        }
        for (int64_t at = mine.first; at < mine.last; ++at) {
            const int64_t k = at / count, panel = at % count;
            uint32_t* packed = workspace + k * layout.block_words;
            multiply<Element, V>(tiles, packed + count * panel_words, B, packed + panel * panel_words, depth, sums);
            store_sums<V>(d_hidden + k * state, sums, B, H, panel);
        }
    }
    return 0;
}

// Two registers at a time halve how often the rows are read, but few units are then hard to share among threads.
static bool by_one_register(int64_t K, int64_t H) { return K * panels(H) < 24; }

template <typename Element, typename... Arguments>
static int backward(int64_t K, int64_t H, Arguments... arguments) {
    return by_one_register(K, H) ? backward_by<Element, 1>(arguments...) : backward_by<Element, 2>(arguments...);
}

template <typename Element>
static int64_t backward_words(int64_t K, int64_t B, int64_t H, int64_t threads) {
    return by_one_register(K, H) ? backward_layout<Element, 1>(B, H).words(K, threads)
                                 : backward_layout<Element, 2>(B, H).words(K, threads);
}

#define LSTM_KERNELS(NAME, ELEMENT)                                                                                   \
    extern "C" int64_t lstm_forward_##NAME##_workspace(int64_t K, int64_t, int64_t B, int64_t H, int64_t threads) {   \
        return forward_layout<ELEMENT>(B, H).words(K, threads);                                                       \
    }                                                                                                                 \
    extern "C" int64_t lstm_backward_##NAME##_workspace(int64_t K, int64_t, int64_t B, int64_t H, int64_t threads) {  \
        return backward_words<ELEMENT>(K, B, H, threads);                                                             \
    }                                                                                                                 \
    extern "C" int lstm_forward_##NAME(const ELEMENT* projected, const float* bias, const float* hidden,              \
                                       const float* cell, const float* weight, float* outputs, float* cells,          \
                                       float* gates, ELEMENT* remembered, uint32_t* workspace, int64_t K, int64_t T,  \
                                       int64_t B, int64_t H, int64_t threads) {                                       \
        return forward(projected, bias, hidden, cell, weight, outputs, cells, gates, remembered, workspace, K, T, B,  \
                       H, threads);                                                                                   \
    }                                                                                                                 \
    extern "C" int lstm_backward_##NAME(const float* d_outputs, const float* cells, const float* gates,               \
                                        const float* weight, float* d_cell, float* d_bias, float* d_hidden,           \
                                        ELEMENT* d_gates, uint32_t* workspace, int64_t K, int64_t T, int64_t B,       \
                                        int64_t H, int64_t threads) {                                                 \
        return backward<ELEMENT>(K, H, d_outputs, cells, gates, weight, d_cell, d_bias, d_hidden, d_gates, workspace, \
                                 K, T, B, H, threads);                                                                \
    }

LSTM_KERNELS(float32, float)
LSTM_KERNELS(bf16, bf16)
