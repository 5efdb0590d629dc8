// The cell of an LSTM, forward and backward, for one panel of LANES units over all rows of a batch; shared by all
// layers that end in such a cell. The gates input, forget, candidate and output of a row are packed (4, units).
#pragma once

#include "matmul.h"

// The inputs and outputs of the cell in one step; tensors are (rows, units), gates (rows, 4, units).
template <typename Element>
struct CellStep {
    const Element* projected;  // the input's part of the gates, without the bias
    const float* bias;         // (4, units)
    const float* cell_before;
    float* gates;  // after their activations, for the backward pass
    float* cell;
    float* output;
    Element* remembered;  // a copy of the output for the gradient of the weight; null after the last step
    uint32_t* packed;     // the output as packed rows, for the next step
};

// `sums` (rows, 4, LANES): the recurrent part of the gates.
template <typename Element>
static void cell_forward(const CellStep<Element>& step, const float* sums, int64_t rows, int64_t units, int64_t panel) {
    const int64_t unit = panel * LANES;
    const int count = present(unit, units);
    Floats bias[4];
    for (int gate = 0; gate < 4; ++gate) bias[gate] = load_some(step.bias + gate * units + unit, count);
    for (int64_t row = 0; row < rows; ++row) {
        Floats gates[4];
        for (int gate = 0; gate < 4; ++gate)
            gates[gate] = load(sums + (row * 4 + gate) * LANES) + bias[gate] +
                          load_some(step.projected + (row * 4 + gate) * units + unit, count);
        const Floats i = sigmoid(gates[0]), f = sigmoid(gates[1]), g = hyperbolic_tangent(gates[2]);
        const Floats o = sigmoid(gates[3]);
        const Floats cell = f * load_some(step.cell_before + row * units + unit, count) + i * g;
        const Floats output = o * hyperbolic_tangent(cell);
        const Floats kept[4] = {i, f, g, o};
        for (int gate = 0; gate < 4; ++gate)
            store_some(step.gates + (row * 4 + gate) * units + unit, kept[gate], count);
        store_some(step.cell + row * units + unit, cell, count);
        store_some(step.output + row * units + unit, output, count);
        if (step.remembered) store_some(step.remembered + row * units + unit, output, count);
        put<Element>(step.packed, rows, row, unit, output, count);
    }
}

// Copy one panel of the state before a window to packed rows and to where the first step reads it.
template <typename Element>
static void start_panel(const float* hidden, const float* cell, Element* remembered, float* cells, uint32_t* packed,
                        int64_t rows, int64_t units, int64_t panel) {
    const int64_t unit = panel * LANES;
    const int count = present(unit, units);
    for (int64_t row = 0; row < rows; ++row) {
        const Floats before = load_some(hidden + row * units + unit, count);
        put<Element>(packed, rows, row, unit, before, count);
        store_some(remembered + row * units + unit, before, count);
        store_some(cells + row * units + unit, load_some(cell + row * units + unit, count), count);
    }
}

template <typename Element>
struct CellStepBack {
    const float* d_output;  // from the layer above
    const float* gates;
    const float* cell_before;
    const float* cell;
    float* d_cell;     // gradient of the cell after the step; replaced by that of the cell before
    float* d_bias;     // (4, units), accumulated
    Element* d_gates;  // before their activations
    uint32_t* packed;  // the same as packed rows, in the order of pack_columns
};

// `sums` (rows, V, LANES): their first LANES are the gradient that the next step sends to the output.
template <typename Element, int V>
static void cell_backward(const CellStepBack<Element>& step, const float* sums, int64_t rows, int64_t units,
                          int64_t panel) {
    const int64_t unit = panel * LANES;
    const int count = present(unit, units);
    Floats totals[4] = {};
    constexpr int WIDTH = 4 / PER_WORD<Element>;
    alignas(64) uint32_t block[LANES][WIDTH * LANES] = {};
    for (int64_t row = 0; row < rows; ++row) {
        const int64_t at = row * units + unit;
        Element* kept = (Element*)block[row % LANES];
        Floats gates[4];
        for (int gate = 0; gate < 4; ++gate)
            gates[gate] = load_some(step.gates + (row * 4 + gate) * units + unit, count);
        const Floats i = gates[0], f = gates[1], g = gates[2], o = gates[3];
        const Floats tanh_cell = hyperbolic_tangent(load_some(step.cell + at, count));
        const Floats d_output = load(sums + row * V * LANES) + load_some(step.d_output + at, count);
        const Floats d_cell = load_some(step.d_cell + at, count) + d_output * o * (1.0f - tanh_cell * tanh_cell);
        const Floats d_gates[4] = {
            d_cell * g * i * (1.0f - i),
            d_cell * load_some(step.cell_before + at, count) * f * (1.0f - f),
            d_cell * i * (1.0f - g * g),
            d_output * tanh_cell * o * (1.0f - o),
        };
        store_some(step.d_cell + at, d_cell * f, count);
        for (int gate = 0; gate < 4; ++gate) {
            store_some(step.d_gates + (row * 4 + gate) * units + unit, d_gates[gate], count);
            store(kept + gate * LANES, first_of(d_gates[gate], count));
            totals[gate] += d_gates[gate];
        }
        if (row % LANES == LANES - 1 || row == rows - 1)
            put_block<Element, WIDTH>(step.packed, rows, row - row % LANES, panel * WIDTH * LANES, block[0],
                                      (int)(row % LANES) + 1);
    }
    for (int gate = 0; gate < 4; ++gate) {
        float* bias = step.d_bias + gate * units + unit;
        store_some(bias, load_some(bias, count) + totals[gate], count);
    }
}
