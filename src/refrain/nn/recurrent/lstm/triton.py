"""One step of an LSTM between its matmuls, forward and backward, on a GPU; equations in `TorchGates` of gates.py.

B batch, H hidden width; B H units in all. Gates are packed (B, 4H) in the order input, forget, candidate, output.
Arithmetic is float32, whatever the dtype of the inputs.
"""

import triton
import triton.language as tl


@triton.jit
def tanh(x):
    """Hyperbolic tangent, without overflow."""
    small = tl.exp(-2.0 * tl.abs(x))
    size = (1.0 - small) / (1.0 + small)
    return tl.where(x < 0.0, -size, size)


@triton.jit(do_not_specialize=["step"])
def forward(
    projected,  # (T, B, 4H), the input's part of the gates
    recurrent,  # (B, 4H), the recurrent part
    gates,  # (T, B, 4H), written
    cells,  # (T + 1, B, H); [step] read, [step + 1] written
    outputs,  # (T, B, H), written
    matmul_inputs,  # (T + 1, B, H), outputs in the dtype of matmul inputs; [step + 1] written
    step,
    width,
    units,
    BLOCK: tl.constexpr,
):
    """Compute the activated gates, the cell and the output of a step."""
    unit = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = unit < units
    # offsets into a window may need 64 bits
    now = step.to(tl.int64) * units
    after = now + units
    at_i = (unit // width) * 4 * width + unit % width  # offset of the unit's input gate in a step
    at_f = at_i + width
    at_g = at_f + width
    at_o = at_g + width
    i = tl.load(projected + 4 * now + at_i, inside).to(tl.float32)
    f = tl.load(projected + 4 * now + at_f, inside).to(tl.float32)
    g = tl.load(projected + 4 * now + at_g, inside).to(tl.float32)
    o = tl.load(projected + 4 * now + at_o, inside).to(tl.float32)
    i = tl.sigmoid(i + tl.load(recurrent + at_i, inside).to(tl.float32))
    f = tl.sigmoid(f + tl.load(recurrent + at_f, inside).to(tl.float32))
    g = tanh(g + tl.load(recurrent + at_g, inside).to(tl.float32))
    o = tl.sigmoid(o + tl.load(recurrent + at_o, inside).to(tl.float32))
    cell = f * tl.load(cells + now + unit, inside) + i * g
    output = o * tanh(cell)
    tl.store(gates + 4 * now + at_i, i, inside)
    tl.store(gates + 4 * now + at_f, f, inside)
    tl.store(gates + 4 * now + at_g, g, inside)
    tl.store(gates + 4 * now + at_o, o, inside)
    tl.store(cells + after + unit, cell, inside)
    tl.store(outputs + now + unit, output, inside)
    tl.store(matmul_inputs + after + unit, output.to(matmul_inputs.dtype.element_ty), inside)


@triton.jit(do_not_specialize=["step"])
def backward(
    d_outputs,  # (T, B, H), from the layer above
    d_recurrent,  # (B, H), from the next step
    gates,  # (T, B, 4H)
    cells,  # (T + 1, B, H)
    d_cell,  # (B, H), read and written
    d_gates,  # (T, B, 4H) in the dtype of matmul inputs, written
    step,
    width,
    units,
    BLOCK: tl.constexpr,
):
    """Compute the gradients of a step's gates before their activations, and of the cell before the step."""
    unit = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = unit < units
    now = step.to(tl.int64) * units
    after = now + units
    at_i = 4 * now + (unit // width) * 4 * width + unit % width
    at_f = at_i + width
    at_g = at_f + width
    at_o = at_g + width
    i = tl.load(gates + at_i, inside)
    f = tl.load(gates + at_f, inside)
    g = tl.load(gates + at_g, inside)
    o = tl.load(gates + at_o, inside)
    tanh_cell = tanh(tl.load(cells + after + unit, inside))
    d_hidden = tl.load(d_outputs + now + unit, inside) + tl.load(d_recurrent + unit, inside).to(tl.float32)
    d = tl.load(d_cell + unit, inside) + d_hidden * o * (1.0 - tanh_cell * tanh_cell)
    d_i = d * g * i * (1.0 - i)
    d_f = d * tl.load(cells + now + unit, inside) * f * (1.0 - f)
    d_g = d * i * (1.0 - g * g)
    d_o = d_hidden * tanh_cell * o * (1.0 - o)
    dtype = d_gates.dtype.element_ty
    tl.store(d_gates + at_i, d_i.to(dtype), inside)
    tl.store(d_gates + at_f, d_f.to(dtype), inside)
    tl.store(d_gates + at_g, d_g.to(dtype), inside)
    tl.store(d_gates + at_o, d_o.to(dtype), inside)
    tl.store(d_cell + unit, d * f, inside)
