"""One step of a GRU between its matmuls, forward and backward, on a GPU; equations in `TorchGates` of scan.py.

B batch, H hidden width; B H units in all. Gates are packed (B, 3H) in the order reset, update, candidate. Arithmetic is
float32, whatever the dtype of the inputs.
"""

import triton
import triton.language as tl

from refrain.nn.recurrent.lstm.triton import tanh


@triton.jit(do_not_specialize=["step"])
def forward(
    projected,  # (T, B, 3H), the input's part of the gates
    recurrent,  # (B, 3H), the recurrent part
    gates,  # (T, B, 4H): reset, update, candidate, and the candidate's recurrent part; written
    states,  # (T + 1, B, H); [step] read, [step + 1] written
    matmul_inputs,  # (T + 1, B, H), states in the dtype of matmul inputs; [step + 1] written
    step,
    width,
    units,
    BLOCK: tl.constexpr,
):
    """Compute the activated gates and the hidden state after a step."""
    unit = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = unit < units
    # offsets into a window may need 64 bits
    now = step.to(tl.int64) * units
    after = now + units
    row = unit // width
    column = unit % width
    at = row * 3 * width + column
    kept = 4 * now + row * 4 * width + column
    r = tl.load(projected + 3 * now + at, inside).to(tl.float32)
    u = tl.load(projected + 3 * now + at + width, inside).to(tl.float32)
    c = tl.load(projected + 3 * now + at + 2 * width, inside).to(tl.float32)
    p = tl.load(recurrent + at + 2 * width, inside).to(tl.float32)
    r = tl.sigmoid(r + tl.load(recurrent + at, inside).to(tl.float32))
    u = tl.sigmoid(u + tl.load(recurrent + at + width, inside).to(tl.float32))
    c = tanh(c + r * p)
    state = c + u * (tl.load(states + now + unit, inside) - c)
    tl.store(gates + kept, r, inside)
    tl.store(gates + kept + width, u, inside)
    tl.store(gates + kept + 2 * width, c, inside)
    tl.store(gates + kept + 3 * width, p, inside)
    tl.store(states + after + unit, state, inside)
    tl.store(matmul_inputs + after + unit, state.to(matmul_inputs.dtype.element_ty), inside)


@triton.jit(do_not_specialize=["step"])
def backward(
    d_outputs,  # (T, B, H), from the layer above
    d_by_gates,  # (B, H), from the next step, through its gates
    d_direct,  # (B, H), from the next step, past its gates; read and written
    gates,  # (T, B, 4H)
    states,  # (T + 1, B, H)
    d_projected,  # (T, B, 3H) in the dtype of matmul inputs, written
    d_recurrent,  # (T, B, 3H) in the dtype of matmul inputs, written
    step,
    width,
    units,
    BLOCK: tl.constexpr,
):
    """Compute the gradients of both parts of a step's gates, and of the hidden state before it past the gates."""
    unit = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = unit < units
    now = step.to(tl.int64) * units
    row = unit // width
    column = unit % width
    at = 3 * now + row * 3 * width + column
    kept = 4 * now + row * 4 * width + column
    r = tl.load(gates + kept, inside)
    u = tl.load(gates + kept + width, inside)
    c = tl.load(gates + kept + 2 * width, inside)
    p = tl.load(gates + kept + 3 * width, inside)
    d = tl.load(d_outputs + now + unit, inside) + tl.load(d_direct + unit, inside)
    d += tl.load(d_by_gates + unit, inside).to(tl.float32)
    d_c = d * (1.0 - u) * (1.0 - c * c)
    d_r = d_c * p * r * (1.0 - r)
    d_u = d * (tl.load(states + now + unit, inside) - c) * u * (1.0 - u)
    dtype = d_projected.dtype.element_ty
    tl.store(d_projected + at, d_r.to(dtype), inside)
    tl.store(d_projected + at + width, d_u.to(dtype), inside)
    tl.store(d_projected + at + 2 * width, d_c.to(dtype), inside)
    tl.store(d_recurrent + at, d_r.to(dtype), inside)
    tl.store(d_recurrent + at + width, d_u.to(dtype), inside)
    tl.store(d_recurrent + at + 2 * width, (d_c * r).to(dtype), inside)
    tl.store(d_direct + unit, d * u, inside)
