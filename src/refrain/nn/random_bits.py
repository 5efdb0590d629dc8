"""Random bits from torch's global generator."""

import torch
from torch import Tensor

LEAST = -(2**63)


def random_bits(count: int) -> Tensor:
    """Random integers (count,) of 64 bits from the global generator, also in code that torch compiles or maps.

    Args:
        count: their number.
    """
    if is_mapped():
        # only a function that returns its result can draw for each sample
        return torch.randint(LEAST, 2**63 - 1, (count,))
    draws = torch.empty(count, dtype=torch.int64)
    if torch.compiler.is_compiling():
        _draw_bits(draws)
    else:
        draws.random_(LEAST, None)
    return draws


def is_mapped() -> bool:
    """Whether `torch.vmap` maps the code that runs; not for compiled code."""
    functorch = torch._C._functorch
    if torch.compiler.is_compiling() or functorch.maybe_current_level() is None:
        return False
    return any(each.key() == functorch.TransformType.Vmap for each in functorch.get_interpreter_stack() or ())


@torch.library.custom_op("refrain::draw_bits", mutates_args=("draws",), tags=(torch.Tag.nondeterministic_seeded,))
def _draw_bits(draws: Tensor) -> None:
    # The compiler cannot trace `random_`. It would merge two calls that return tensors of one size, so that two layers
    # shared a mask; it does not merge calls that change their argument.
    draws.random_(LEAST, None)
