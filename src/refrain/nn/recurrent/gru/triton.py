"""A step of a GRU between its products, forward and backward; equations in `TorchGates` of scan.py.

B sequences, H hidden width; B H units in all. Gates are packed (B, 3H) in the order reset, update, candidate. Whatever
the type of what is read, arithmetic is float32.
"""

import triton
import triton.language as tl

from refrain.nn.recurrent.lstm.triton import tanh


@triton.jit(do_not_specialize=["step"])
def forward(
    projected,  # (T, B, 3H)
    product,  # (B, 3H), what comes of the hidden state
    gates,  # (T, B, 4H): reset, update, candidate, and the candidate's part of the product; written
    states,  # (T + 1, B, H); [step] read, [step + 1] written
    operands,  # (T + 1, B, H), states in the products' type; [step + 1] written
    step,
    width,
    units,
    BLOCK: tl.constexpr,
):
    """Activated gates and the hidden state after a step."""
    unit = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = unit < units
    # offsets into a window may need 64 bits
    here, after = step.to(tl.int64) * units, (step.to(tl.int64) + 1) * units
    row, column = unit // width, unit % width
    place, kept = row * 3 * width + column, 4 * here + row * 4 * width + column
    r = tl.load(projected + 3 * here + place, inside).to(tl.float32) + tl.load(product + place, inside).to(tl.float32)
    u = tl.load(projected + 3 * here + place + width, inside).to(tl.float32)
    u += tl.load(product + place + width, inside).to(tl.float32)
    c = tl.load(projected + 3 * here + place + 2 * width, inside).to(tl.float32)
    p = tl.load(product + place + 2 * width, inside).to(tl.float32)
    r, u = tl.sigmoid(r), tl.sigmoid(u)
    c = tanh(c + r * p)
    state = c + u * (tl.load(states + here + unit, inside) - c)
    tl.store(gates + kept, r, inside)
    tl.store(gates + kept + width, u, inside)
    tl.store(gates + kept + 2 * width, c, inside)
    tl.store(gates + kept + 3 * width, p, inside)
    tl.store(states + after + unit, state, inside)
    tl.store(operands + after + unit, state.to(operands.dtype.element_ty), inside)


@triton.jit(do_not_specialize=["step"])
def backward(
    d_outputs,  # (T, B, H), from above
    d_product,  # (B, H), from the step after, through its product
    d_direct,  # (B, H), from the step after, past its gates; read and written
    gates,  # (T, B, 4H)
    states,  # (T + 1, B, H)
    d_projected,  # (T, B, 3H) in the products' type, written
    d_recurrent,  # (T, B, 3H) in the products' type, written
    step,
    width,
    units,
    BLOCK: tl.constexpr,
):
    """Gradients of both parts of a step's gates, and of the hidden state before it past the gates."""
    unit = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = unit < units
    here = step.to(tl.int64) * units
    row, column = unit // width, unit % width
    place, kept = 3 * here + row * 3 * width + column, 4 * here + row * 4 * width + column
    r, u = tl.load(gates + kept, inside), tl.load(gates + kept + width, inside)
    c, p = tl.load(gates + kept + 2 * width, inside), tl.load(gates + kept + 3 * width, inside)
    d = tl.load(d_outputs + here + unit, inside) + tl.load(d_direct + unit, inside)
    d += tl.load(d_product + unit, inside).to(tl.float32)
    d_c = d * (1.0 - u) * (1.0 - c * c)
    d_r = d_c * p * r * (1.0 - r)
    d_u = d * (tl.load(states + here + unit, inside) - c) * u * (1.0 - u)
    kind = d_projected.dtype.element_ty
    tl.store(d_projected + place, d_r.to(kind), inside)
    tl.store(d_projected + place + width, d_u.to(kind), inside)
    tl.store(d_projected + place + 2 * width, d_c.to(kind), inside)
    tl.store(d_recurrent + place, d_r.to(kind), inside)
    tl.store(d_recurrent + place + width, d_u.to(kind), inside)
    tl.store(d_recurrent + place + 2 * width, (d_c * r).to(kind), inside)
    tl.store(d_direct + unit, d * u, inside)
