// The recurrence of a GRU over a window, forward and backward, in a single call each. Gates: reset, update, candidate.
//
// T steps, B batch, H hidden units. All tensors are contiguous; Element is the type of matmul inputs: float or bf16.

#include "barrier.h"
#include "matmul.h"

// How a workspace is divided: the packed weight, the packed rows of two steps, then the sums of each thread. All sizes
// are in words of 32 bits.
struct Layout {
    int64_t count, depth, panel_words, rows, sums;

    // panels that are depth words deep and V registers wide
    Layout(int64_t depth, int V, int64_t B, int64_t H)
        : count(panels(H)), depth(depth), panel_words(depth * V * LANES), rows(depth * B), sums(B * V * LANES) {}
    int64_t words(int64_t threads) const { return count * panel_words + 2 * rows + threads * sums; }
};

template <typename Element>
static Layout forward_layout(int64_t B, int64_t H) {
    return Layout(depth_words<Element>(H), 3, B, H);
}

template <typename Element>
static Layout backward_layout(int64_t B, int64_t H) {
    return Layout(depth_words<Element>(H, 3), 1, B, H);
}

// projected (T, B, 3H), bias (4H): of the three gates, then of the candidate's recurrent part, hidden before the window
// (B, H), weight (3H, H)
// -> outputs (T, B, H), gates (T, B, 4H): reset, update, candidate, and the candidate's recurrent part before the reset
// gate, remembered (T, B, H): the hidden state before each step.
template <typename Element>
static int forward(const Element* projected, const float* bias, const float* hidden, const float* weight,
                   float* outputs, float* gates, Element* remembered, uint32_t* workspace, int64_t T, int64_t B,
                   int64_t H, int64_t threads) {
    const Layout layout = forward_layout<Element>(B, H);
    const int64_t count = layout.count, depth = layout.depth, panel_words = layout.panel_words;
    uint32_t* packed = workspace;
    uint32_t* rows[2] = {packed + count * panel_words, packed + count * panel_words + layout.rows};
    float* all_sums = (float*)(rows[1] + layout.rows);
    Barrier barrier;
#pragma omp parallel num_threads((int)threads)
    {
        const Share mine(count, this_thread(), team_size());
        Tiles tiles;
        float* sums = all_sums + this_thread() * layout.sums;
        for (int64_t panel = mine.first; panel < mine.last; ++panel) {
            pack_rows<Element, 3>(weight, true, H, H, panel, packed + panel * panel_words);
            const int64_t unit = panel * LANES;
            const int width = present(unit, H);
            for (int64_t row = 0; row < B; ++row) {
                const Floats before = load_some(hidden + row * H + unit, width);
                put<Element>(rows[0], B, row, unit, before, width);
                store_some(remembered + row * H + unit, before, width);
            }
        }
        for (int step = 0; step < 2 && mine.first == 0; ++step) pad<Element>(rows[step], B, H);
        for (int64_t t = 0; t < T; ++t) {
            barrier.wait();
            const float* before = t ? outputs + (t - 1) * B * H : hidden;
            for (int64_t panel = mine.first; panel < mine.last; ++panel) {
                multiply<Element, 3>(tiles, rows[t & 1], B, packed + panel * panel_words, depth, sums);
                const int64_t unit = panel * LANES;
                const int width = present(unit, H);
                for (int64_t row = 0; row < B; ++row) {
                    Floats parts[3];
                    for (int gate = 0; gate < 3; ++gate)
                        parts[gate] = load_some(projected + ((t * B + row) * 3 + gate) * H + unit, width) +
                                      load_some(bias + gate * H + unit, width);
                    const Floats by_state = load(sums + (row * 3 + 2) * LANES) + load_some(bias + 3 * H + unit, width);
                    const Floats reset = sigmoid(parts[0] + load(sums + row * 3 * LANES));
                    const Floats update = sigmoid(parts[1] + load(sums + (row * 3 + 1) * LANES));
                    const Floats candidate = hyperbolic_tangent(parts[2] + reset * by_state);
                    const Floats output =
                        (1.0f - update) * candidate + update * load_some(before + row * H + unit, width);
                    const Floats kept[4] = {reset, update, candidate, by_state};
                    for (int part = 0; part < 4; ++part)
                        store_some(gates + ((t * B + row) * 4 + part) * H + unit, kept[part], width);
                    store_some(outputs + (t * B + row) * H + unit, output, width);
                    if (t + 1 < T) store_some(remembered + ((t + 1) * B + row) * H + unit, output, width);
                    put<Element>(rows[(t + 1) & 1], B, row, unit, output, width);
                }
            }
        }
    }
    return 0;
}

// d_outputs (T, B, H), outputs, hidden, gates and weight as above; d_hidden (B, H) and d_bias (4H) of zeros
// -> d_hidden, d_projected (T, B, 3H), d_recurrent (T, B, 3H): the gradient of the recurrent part of the gates, d_bias.
template <typename Element>
static int backward(const float* d_outputs, const float* outputs, const float* hidden, const float* gates,
                    const float* weight, float* d_hidden, float* d_bias, Element* d_projected, Element* d_recurrent,
                    uint32_t* workspace, int64_t T, int64_t B, int64_t H, int64_t threads) {
    const Layout layout = backward_layout<Element>(B, H);
    const int64_t count = layout.count, depth = layout.depth, panel_words = layout.panel_words;
    uint32_t* packed = workspace;
    uint32_t* rows[2] = {packed + count * panel_words, packed + count * panel_words + layout.rows};
    float* all_sums = (float*)(rows[1] + layout.rows);
    Barrier barrier;
#pragma omp parallel num_threads((int)threads)
    {
        const Share mine(count, this_thread(), team_size());
        Tiles tiles;
        float* sums = all_sums + this_thread() * layout.sums;
        for (int64_t panel = mine.first; panel < mine.last; ++panel)
            pack_columns<Element, 1>(weight, 3, H, H, panel, packed + panel * panel_words);
        for (int step = 0; step < 2 && mine.first == 0; ++step) pad<Element>(rows[step], B, H, 3);
        // step -1 is what the first step sends to the hidden state before the window
        for (int64_t t = T - 1; t >= -1; --t) {
            for (int64_t panel = mine.first; panel < mine.last; ++panel) {
                if (t + 1 < T)
                    multiply<Element, 1>(tiles, rows[(t + 1) & 1], B, packed + panel * panel_words, depth, sums);
                else
                    memset(sums, 0, sizeof(float) * B * LANES);
                const int64_t unit = panel * LANES;
                const int width = present(unit, H);
                Floats totals[4] = {};
                for (int64_t row = 0; row < B; ++row) {
                    float* carried = d_hidden + row * H + unit;
                    const Floats sent = load(sums + row * LANES) + load_some(carried, width);
                    if (t < 0) {
                        store_some(carried, sent, width);
                        continue;
                    }
                    const int64_t at = (t * B + row) * H + unit;
                    const float* kept = gates + (t * B + row) * 4 * H + unit;
                    const Floats reset = load_some(kept, width), update = load_some(kept + H, width);
                    const Floats candidate = load_some(kept + 2 * H, width), by_state = load_some(kept + 3 * H, width);
                    const Floats before = load_some(t ? outputs + at - B * H : hidden + row * H + unit, width);
                    const Floats d_output = sent + load_some(d_outputs + at, width);
                    const Floats d_candidate = d_output * (1.0f - update) * (1.0f - candidate * candidate);
                    const Floats d_parts[3] = {
                        d_candidate * by_state * reset * (1.0f - reset),
                        d_output * (before - candidate) * update * (1.0f - update),
                        d_candidate,
                    };
                    store_some(carried, d_output * update, width);
                    for (int gate = 0; gate < 3; ++gate) {
                        const Floats recurrent = gate == 2 ? d_candidate * reset : d_parts[gate];
                        const int64_t offset = ((t * B + row) * 3 + gate) * H + unit;
                        store_some(d_projected + offset, d_parts[gate], width);
                        store_some(d_recurrent + offset, recurrent, width);
                        put<Element>(rows[t & 1], B, row, (panel * 3 + gate) * LANES, recurrent, width);
                        totals[gate] += d_parts[gate];
                    }
                    totals[3] += d_candidate * reset;
                }
                for (int part = 0; part < 4 && t >= 0; ++part) {
                    float* bias = d_bias + part * H + unit;
                    store_some(bias, load_some(bias, width) + totals[part], width);
                }
            }
            barrier.wait();
        }
    }
    return 0;
}

#define GRU_KERNELS(NAME, ELEMENT)                                                                                 \
    extern "C" int64_t gru_forward_##NAME##_workspace(int64_t, int64_t B, int64_t H, int64_t threads) {            \
        return forward_layout<ELEMENT>(B, H).words(threads);                                                       \
    }                                                                                                              \
    extern "C" int64_t gru_backward_##NAME##_workspace(int64_t, int64_t B, int64_t H, int64_t threads) {           \
        return backward_layout<ELEMENT>(B, H).words(threads);                                                      \
    }                                                                                                              \
    extern "C" int gru_forward_##NAME(const ELEMENT* projected, const float* bias, const float* hidden,            \
                                      const float* weight, float* outputs, float* gates, ELEMENT* remembered,      \
                                      uint32_t* workspace, int64_t T, int64_t B, int64_t H, int64_t threads) {     \
        return forward(projected, bias, hidden, weight, outputs, gates, remembered, workspace, T, B, H, threads);  \
    }                                                                                                              \
    extern "C" int gru_backward_##NAME(const float* d_outputs, const float* outputs, const float* hidden,          \
                                       const float* gates, const float* weight, float* d_hidden, float* d_bias,    \
                                       ELEMENT* d_projected, ELEMENT* d_recurrent, uint32_t* workspace, int64_t T, \
                                       int64_t B, int64_t H, int64_t threads) {                                    \
        return backward(d_outputs, outputs, hidden, gates, weight, d_hidden, d_bias, d_projected, d_recurrent,     \
                        workspace, T, B, H, threads);                                                              \
    }

GRU_KERNELS(float32, float)
GRU_KERNELS(bf16, bf16)
