// A window of a GRU's recurrence and its way back, as a single call each. Gates: reset, update, candidate.
//
// T steps, B rows, H hidden units. All tensors are contiguous; Element is that of products: float or bf16.

#include "products.h"

// projected (T, B, 3H), bias (3H), hidden before the window (B, H), weight (3H, H)
// -> outputs (T, B, H), gates (T, B, 4H): reset, update, candidate, and the candidate's product before the reset gate,
// remembered (T, B, H): the hidden state before each step.
// workspace: 3 * P * P + 2 * B * P words and sums of 3 * B * LANES a thread, where P is H in whole panels.
template <typename Element>
static int forward(const Element* projected, const float* bias, const float* hidden, const float* weight,
                   float* outputs, float* gates, Element* remembered, uint32_t* workspace, int64_t T, int64_t B,
                   int64_t H, int64_t threads) {
    const int64_t count = panels(H), depth = depth_words<Element>(H), panel_words = depth * 3 * LANES;
    uint32_t* packed = workspace;
    uint32_t* rows[2] = {packed + count * panel_words, packed + count * panel_words + depth * B};
    float* all_sums = (float*)(rows[1] + depth * B);
#pragma omp parallel num_threads((int)threads)
    {
        const Share mine(count, this_thread(), team_size());
        float* sums = all_sums + this_thread() * B * 3 * LANES;
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
        for (int64_t t = 0; t < T; ++t) {
#pragma omp barrier
            const float* before = t ? outputs + (t - 1) * B * H : hidden;
            for (int64_t panel = mine.first; panel < mine.last; ++panel) {
                multiply<Element, 3>(rows[t & 1], B, packed + panel * panel_words, depth, sums);
                const int64_t unit = panel * LANES;
                const int width = present(unit, H);
                for (int64_t row = 0; row < B; ++row) {
                    Floats parts[3];
                    for (int gate = 0; gate < 3; ++gate)
                        parts[gate] = load_some(projected + ((t * B + row) * 3 + gate) * H + unit, width) +
                                      load_some(bias + gate * H + unit, width);
                    const Floats product = load(sums + (row * 3 + 2) * LANES);
                    const Floats reset = sigmoid(parts[0] + load(sums + row * 3 * LANES));
                    const Floats update = sigmoid(parts[1] + load(sums + (row * 3 + 1) * LANES));
                    const Floats candidate = hyperbolic_tangent(parts[2] + reset * product);
                    const Floats output =
                        (1.0f - update) * candidate + update * load_some(before + row * H + unit, width);
                    const Floats kept[4] = {reset, update, candidate, product};
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

// d_outputs (T, B, H), outputs, hidden, gates and weight as above; d_hidden (B, H) and d_bias (3H) of zeros
// -> d_hidden, d_projected (T, B, 3H), d_recurrent (T, B, 3H): of the products with the weight, d_bias.
// workspace: 3 * P * P + 6 * B * P words and sums of B * LANES a thread.
template <typename Element>
static int backward(const float* d_outputs, const float* outputs, const float* hidden, const float* gates,
                    const float* weight, float* d_hidden, float* d_bias, Element* d_projected, Element* d_recurrent,
                    uint32_t* workspace, int64_t T, int64_t B, int64_t H, int64_t threads) {
    const int64_t count = panels(H), depth = 3 * depth_words<Element>(H), panel_words = depth * LANES;
    uint32_t* packed = workspace;
    uint32_t* rows[2] = {packed + count * panel_words, packed + count * panel_words + depth * B};
    float* all_sums = (float*)(rows[1] + depth * B);
#pragma omp parallel num_threads((int)threads)
    {
        const Share mine(count, this_thread(), team_size());
        float* sums = all_sums + this_thread() * B * LANES;
        for (int64_t panel = mine.first; panel < mine.last; ++panel)
            pack_columns<Element, 1>(weight, 3, H, H, panel, packed + panel * panel_words);
        // one step more than there are: what the first step sends to the hidden state before the window
        for (int64_t t = T - 1; t >= -1; --t) {
            for (int64_t panel = mine.first; panel < mine.last; ++panel) {
                if (t + 1 < T)
                    multiply<Element, 1>(rows[(t + 1) & 1], B, packed + panel * panel_words, depth, sums);
                else
                    memset(sums, 0, sizeof(float) * B * LANES);
                const int64_t unit = panel * LANES;
                const int width = present(unit, H);
                Floats totals[3] = {};
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
                    const Floats candidate = load_some(kept + 2 * H, width), product = load_some(kept + 3 * H, width);
                    const Floats before = load_some(t ? outputs + at - B * H : hidden + row * H + unit, width);
                    const Floats d_output = sent + load_some(d_outputs + at, width);
                    const Floats d_candidate = d_output * (1.0f - update) * (1.0f - candidate * candidate);
                    const Floats d_parts[3] = {
                        d_candidate * product * reset * (1.0f - reset),
                        d_output * (before - candidate) * update * (1.0f - update),
                        d_candidate,
                    };
                    store_some(carried, d_output * update, width);
                    for (int gate = 0; gate < 3; ++gate) {
                        const Floats recurrent = gate == 2 ? d_candidate * reset : d_parts[gate];
                        const int64_t place = ((t * B + row) * 3 + gate) * H + unit;
                        store_some(d_projected + place, d_parts[gate], width);
                        store_some(d_recurrent + place, recurrent, width);
                        put<Element>(rows[t & 1], B, row, (panel * 3 + gate) * LANES, recurrent, width);
                        totals[gate] += d_parts[gate];
                    }
                }
                for (int gate = 0; gate < 3 && t >= 0; ++gate) {
                    float* bias = d_bias + gate * H + unit;
                    store_some(bias, load_some(bias, width) + totals[gate], width);
                }
            }
#pragma omp barrier
        }
    }
    return 0;
}

#define GRU_KERNELS(NAME, ELEMENT)                                                                                    \
    extern "C" int gru_forward_##NAME(const ELEMENT* projected, const float* bias, const float* hidden,               \
                                      const float* weight, float* outputs, float* gates, ELEMENT* remembered,         \
                                      uint32_t* workspace, int64_t T, int64_t B, int64_t H, int64_t threads) {        \
        return forward(projected, bias, hidden, weight, outputs, gates, remembered, workspace, T, B, H, threads);     \
    }                                                                                                                 \
    extern "C" int gru_backward_##NAME(const float* d_outputs, const float* outputs, const float* hidden,             \
                                       const float* gates, const float* weight, float* d_hidden, float* d_bias,       \
                                       ELEMENT* d_projected, ELEMENT* d_recurrent, uint32_t* workspace, int64_t T,    \
                                       int64_t B, int64_t H, int64_t threads) {                                       \
        return backward(d_outputs, outputs, hidden, gates, weight, d_hidden, d_bias, d_projected, d_recurrent,        \
                        workspace, T, B, H, threads);                                                                 \
    }

GRU_KERNELS(float32, float)
GRU_KERNELS(bf16, bf16)
