"""A step of an LSTM between its products, forward and backward; equations in `TorchGates` of gates.py.

B sequences, H hidden width; B H units in all. Gates are packed (B, 4H) in the order input, forget, candidate, output.
Whatever the type of what is read, arithmetic is float32.
"""

import triton
import triton.language as tl


@triton.jit
def tanh(x):
    """Hyperbolic tangent, without overflow."""
    shrunk = tl.exp(-2.0 * tl.abs(x))
    size = (1.0 - shrunk) / (1.0 + shrunk)
    return tl.where(x < 0.0, -size, size)


@triton.jit(do_not_specialize=["step"])
def forward(
    projected,  # (T, B, 4H)
    product,  # (B, 4H), what comes of the hidden state
    gates,  # (T, B, 4H), written
    cells,  # (T + 1, B, H); [step] read, [step + 1] written
    outputs,  # (T, B, H), written
    operands,  # (T + 1, B, H), outputs in the products' type; [step + 1] written
    step,
    width,
    units,
    BLOCK: tl.constexpr,
):
    """Activated gates, cell and output of a step."""
    unit = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = unit < units
    # offsets into a window may need 64 bits
    here, after = step.to(tl.int64) * units, (step.to(tl.int64) + 1) * units
    place = (unit // width) * 4 * width + unit % width  # of the unit's input gate
    i = tl.load(projected + 4 * here + place, inside).to(tl.float32) + tl.load(product + place, inside).to(tl.float32)
    place_f, place_g, place_o = place + width, place + 2 * width, place + 3 * width
    f = tl.load(projected + 4 * here + place_f, inside).to(tl.float32)
    f += tl.load(product + place_f, inside).to(tl.float32)
    g = tl.load(projected + 4 * here + place_g, inside).to(tl.float32)
    g += tl.load(product + place_g, inside).to(tl.float32)
    o = tl.load(projected + 4 * here + place_o, inside).to(tl.float32)
    o += tl.load(product + place_o, inside).to(tl.float32)
    i, f, g, o = tl.sigmoid(i), tl.sigmoid(f), tanh(g), tl.sigmoid(o)
    cell = f * tl.load(cells + here + unit, inside) + i * g
    output = o * tanh(cell)
    tl.store(gates + 4 * here + place, i, inside)
    tl.store(gates + 4 * here + place_f, f, inside)
    tl.store(gates + 4 * here + place_g, g, inside)
    tl.store(gates + 4 * here + place_o, o, inside)
    tl.store(cells + after + unit, cell, inside)
    tl.store(outputs + here + unit, output, inside)
    tl.store(operands + after + unit, output.to(operands.dtype.element_ty), inside)


@triton.jit(do_not_specialize=["step"])
def backward(
    d_outputs,  # (T, B, H), from above
    d_product,  # (B, H), from the step after
    gates,  # (T, B, 4H)
    cells,  # (T + 1, B, H)
    d_cell,  # (B, H), read and written
    d_gates,  # (T, B, 4H) in the products' type, written
    step,
    width,
    units,
    BLOCK: tl.constexpr,
):
    """Gradients of a step's gates before their activations, and of the cell before the step."""
    unit = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = unit < units
    here, after = step.to(tl.int64) * units, (step.to(tl.int64) + 1) * units
    place = (unit // width) * 4 * width + unit % width
    place_f, place_g, place_o = place + width, place + 2 * width, place + 3 * width
    i, f = tl.load(gates + 4 * here + place, inside), tl.load(gates + 4 * here + place_f, inside)
    g, o = tl.load(gates + 4 * here + place_g, inside), tl.load(gates + 4 * here + place_o, inside)
    squashed = tanh(tl.load(cells + after + unit, inside))
    d_hidden = tl.load(d_outputs + here + unit, inside) + tl.load(d_product + unit, inside).to(tl.float32)
    d = tl.load(d_cell + unit, inside) + d_hidden * o * (1.0 - squashed * squashed)
    kind = d_gates.dtype.element_ty
    d_i, d_f = d * g * i * (1.0 - i), d * tl.load(cells + here + unit, inside) * f * (1.0 - f)
    d_g, d_o = d * i * (1.0 - g * g), d_hidden * squashed * o * (1.0 - o)
    tl.store(d_gates + 4 * here + place, d_i.to(kind), inside)
    tl.store(d_gates + 4 * here + place_f, d_f.to(kind), inside)
    tl.store(d_gates + 4 * here + place_g, d_g.to(kind), inside)
    tl.store(d_gates + 4 * here + place_o, d_o.to(kind), inside)
    tl.store(d_cell + unit, d * f, inside)
