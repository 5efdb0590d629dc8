"""Inputs and states as torch's own layers take them: no state, a plain tuple, and a sequence without a batch.

T steps in the window, B batch, I input width, H hidden width.
"""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar, cast

from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from refrain.errors import quantity
from refrain.nn.dropout import HeldMask

State = TypeVar("State", bound=tuple[Any, ...])

TRANSFORMS = ("input_transform", "recurrent_transform", "transforms")


def is_plain(inputs: Tensor, state: object, kind: type, ndim: int) -> bool:
    """Whether inputs and state have the form that layers compute with.

    Args:
        inputs: of a window or a step.
        state: the state before it.
        kind: the class of the layer's states.
        ndim: the number of dimensions of inputs with a batch.
    """
    return type(state) is kind and isinstance(inputs, Tensor) and inputs.ndim == ndim


def check_tensor(inputs: object) -> None:
    """Check that inputs are a tensor.

    Args:
        inputs: what a layer is given.

    Raises:
        ValueError: when they are something else, such as a packed sequence.
    """
    if isinstance(inputs, PackedSequence):
        raise ValueError(
            "inputs must be a tensor (T, B, I) (got PackedSequence); pad sequences of different lengths, as "
            "torch.nn.utils.rnn.pad_packed_sequence does, and give Bidirectional their lengths"
        )
    if not isinstance(inputs, Tensor):
        raise ValueError(f"inputs must be a tensor (got {type(inputs).__name__})")


def with_any_state(
    compute: Callable[[Tensor, State], tuple[Tensor, State]],
    initial_state: Callable[[int], State],
    inputs: Tensor,
    state: Sequence[Tensor] | Tensor | None,
    ndim: int,
) -> tuple[Tensor, State]:
    """Compute a window or a step from inputs that may lack a batch, and a state that may be missing or a plain tuple.

    Args:
        compute: maps inputs with a batch, and a state, to outputs and the state after them.
        initial_state: the state for a batch of a size.
        inputs: (T, B, I) or (T, I) for a window, (B, I) or (I,) for a step.
        state: None for zeros, a single tensor if the state has one, or all tensors in their order.
        ndim: the number of dimensions of inputs with a batch.

    Returns:
        Outputs and state, without a batch if the inputs have none.

    Raises:
        ValueError: when the inputs are no tensor or have another number of dimensions, or the state has another number
            of tensors.
    """
    check_tensor(inputs)
    alone = inputs.ndim == ndim - 1
    if not alone and inputs.ndim != ndim:
        raise ValueError(
            f"inputs have {quantity(inputs.ndim, 'dimension')}, the layer expects {ndim}, or {ndim - 1} without a batch"
        )
    batched = inputs.unsqueeze(-2) if alone else inputs
    zeros = initial_state(batched.shape[-2])
    if state is None:
        before = zeros
    else:
        parts = [state] if isinstance(state, Tensor) else list(state)
        if len(parts) != len(zeros):
            names = ", ".join(cast(Any, zeros)._fields)
            raise ValueError(f"the state has {quantity(len(parts), 'tensor')}, the layer expects {len(zeros)}: {names}")
        # as torch's cells, a sequence without a batch has a state without one
        before = type(zeros)(*(part[None] if alone and part.ndim == 1 else part for part in parts))
    outputs, after = compute(batched, before)
    if not alone:
        return outputs, after
    return outputs.squeeze(-2), type(after)(*(part.squeeze(0) for part in after))


def drop_held_masks(layer: nn.Module, state_dict: dict[str, Any], prefix: str) -> None:
    """Take the masks of transforms out of a state dict, in place, where a layer does not hold such a mask.

    A mask is of one window. The weights of a layer with a held mask are those of a layer without one.

    Args:
        layer: the layer that is about to be loaded.
        state_dict: the state dict.
        prefix: of the layer's names.
    """
    for name in list(state_dict):
        own = name.removeprefix(prefix)
        path = own.removesuffix(".mask")
        if not name.startswith(prefix) or path == own or own.partition(".")[0] not in TRANSFORMS:
            continue
        try:
            held = isinstance(layer.get_submodule(path), HeldMask)
        except AttributeError:
            held = False
        if not held and path.endswith(".held"):
            del state_dict[name]
