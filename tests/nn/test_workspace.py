"""The scratch memory of the C++ kernels: as much as C++ reports, and not a byte more."""

import pytest
import torch

from refrain.nn.heads.softmax_gradient import scaled
from refrain.nn.kernels.call import kernel, workspace_words
from refrain.nn.kernels.workspace import BufferPool, Workspace

pytestmark = pytest.mark.compiler

TENSORS = {
    ("lstm", "forward"): 9,
    ("lstm", "backward"): 8,
    ("gru", "forward"): 7,
    ("gru", "backward"): 9,
    ("multiplicative_lstm", "forward"): 13,
    ("multiplicative_lstm", "backward"): 13,
}
"""How many tensors a kernel takes before its workspace."""


@pytest.mark.parametrize("dtype", ["float32", "bf16"])
@pytest.mark.parametrize(
    ("file", "sizes"),
    [
        ("lstm", (1, 3, 2, 5)),
        ("lstm", (1, 3, 2, 400)),
        ("lstm", (3, 2, 5, 17)),
        ("gru", (3, 2, 33)),
        ("multiplicative_lstm", (3, 2, 17, 50)),
    ],
)
def test_a_kernel_stays_within_the_workspace_that_it_asks_for(file, sizes, dtype):
    """Scratch memory between two guards, which are as they were after the kernel ran forward and backward."""
    blocks, steps, batch, width = sizes if file == "lstm" else (1, *sizes[:3])
    inner = sizes[3] if file == "multiplicative_lstm" else 0
    for direction in ("forward", "backward"):
        function = f"{file}_{direction}_{dtype}"
        words = workspace_words(file, function, sizes)
        scratch = torch.full((words + 128,), 7.0)
        # every other tensor has room for the largest that the kernel takes, and zeros in it
        room = blocks * (steps + 1) * batch * 4 * max(width, inner) + 4 * max(width, inner, batch) ** 2 * blocks
        others = [torch.zeros(room) for _ in range(TENSORS[file, direction])]
        kernel(file, function)(*others, scratch[64:-64], *sizes)
        assert words > 0 and (scratch[:64] == 7).all() and (scratch[-64:] == 7).all()
        # no more than the kernel needs: most of it is written
        assert not (scratch[64 + words // 2 : -64] == 7).all()


def test_the_workspace_grows_with_the_threads():
    before = torch.get_num_threads()
    try:
        found = []
        for threads in (1, 2):
            torch.set_num_threads(threads)
            found.append(workspace_words("lstm", "lstm_forward_float32", (1, 3, 2, 5)))
    finally:
        torch.set_num_threads(before)
    assert found[0] < found[1]


def test_tensors_of_one_buffer_do_not_overlap():
    pool, like = BufferPool(), torch.zeros(1)
    workspace = Workspace(pool, like)
    wanted = [((3, 5), torch.float32), ((7,), torch.bfloat16), ((0, 2), torch.float32), ((2, 9), torch.bfloat16)]
    found = workspace.allocate_all(*wanted)
    assert [(tuple(tensor.shape), tensor.dtype) for tensor in found] == wanted
    for value, tensor in enumerate(found):
        tensor.fill_(value)
    assert all(bool((tensor == value).all()) for value, tensor in enumerate(found))
    assert all(tensor.data_ptr() % 64 == found[0].data_ptr() % 64 for tensor in found if tensor.numel())
    assert len({tensor.untyped_storage().data_ptr() for tensor in found}) == 1
    workspace.release()
    # the next window has the same memory
    assert Workspace(pool, like).allocate_all(*wanted)[0].data_ptr() == found[0].data_ptr()


def test_the_head_scales_a_gradient_in_bf16_once():
    values = torch.randn(3, 37).bfloat16()
    factor = torch.tensor(0.3)
    wanted = (values.float() * 0.3).bfloat16()
    for native in (False, True):
        given = values.clone()
        got = scaled(given, factor, native=native, in_place=True)
        assert got is given and torch.equal(got, wanted)
