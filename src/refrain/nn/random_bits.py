"""Random bits from torch's global generator."""

import torch
from torch import Tensor


def draw_bits(draws: Tensor) -> None:
    """Fill a tensor of int64 with random bits from the global generator, also in code that torch compiles."""
    if torch.compiler.is_compiling():
        _draw_bits(draws)
    else:
        draws.random_(-(2**63), None)


@torch.library.custom_op("refrain::draw_bits", mutates_args=("draws",), tags=(torch.Tag.nondeterministic_seeded,))
def _draw_bits(draws: Tensor) -> None:
    # The compiler cannot trace `random_`. It would merge two calls that return tensors of one size, so that two layers
    # shared a mask; it does not merge calls that change their argument.
    draws.random_(-(2**63), None)
