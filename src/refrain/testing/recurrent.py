"""All laws of recurrent layers on one layer, for example of your own.

I input width, H hidden width.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch

from .axes import check_axes
from .case import Case, recurrent_case
from .laws import (
    check_batch_entries_are_independent,
    check_evaluation_is_deterministic,
    check_long_window_is_finite,
    check_state_dict_restores_the_layer,
    check_state_is_passed,
    check_two_windows_equal_one,
    check_window_equals_steps,
    check_wrong_shapes_are_refused,
)

LAWS: dict[str, Callable[[Case], None]] = {
    "a window equals its steps": check_window_equals_steps,
    "two windows equal one": check_two_windows_equal_one,
    "batch entries are independent": check_batch_entries_are_independent,
    "evaluation is deterministic": check_evaluation_is_deterministic,
    "the state is passed and never kept": check_state_is_passed,
    "wrong shapes are refused": check_wrong_shapes_are_refused,
}
"""Laws of a layer as it is; each has a case of its own."""


def check_recurrent_layer(make_layer: Callable[[int, int], Any], *, input_size: int = 5, hidden_size: int = 4) -> None:
    """Every law that the library's own recurrent layers keep, on the CPU in float64.

    They hold in evaluation mode, and in training mode where the layer draws nothing at random there.

    Args:
        make_layer: (input_size, hidden_size) -> a layer that keeps the protocol `refrain.nn.RecurrentLayer`, for
            example its class. The layer may leave out `axes`; then nothing that reads axes works with it.
        input_size: I, at least 2.
        hidden_size: H, at least 2.

    Raises:
        AssertionError: naming every law that does not hold, one a line.
    """
    first = make_layer(input_size, hidden_size)
    missing = [name for name in ("input_size", "hidden_size", "initial_state", "step") if not hasattr(first, name)]
    if missing:
        raise AssertionError(f"{type(first).__name__} has no {', '.join(missing)}; see refrain.nn.RecurrentLayer")
    sizes = {"input_size": input_size, "hidden_size": hidden_size}
    modes = (False, True) if _is_deterministic_in_training(make_layer(input_size, hidden_size)) else (False,)
    laws: dict[str, Callable[[], None]] = {
        name: partial(_in_modes, law, make_layer, (input_size, hidden_size), modes) for name, law in LAWS.items()
    }
    laws["a long window is finite"] = partial(check_long_window_is_finite, make_layer, **sizes)
    laws["the state dict restores the layer"] = partial(check_state_dict_restores_the_layer, make_layer, **sizes)
    if hasattr(first, "axes"):
        laws["a unit removed as declared changes nothing else"] = partial(check_axes, make_layer, **sizes)
    broken = {}
    for name, law in laws.items():
        try:
            law()
        except Exception as error:
            message = str(error) if isinstance(error, AssertionError) else f"{type(error).__name__}: {error}"
            broken[name] = " ".join(message.split())
    if broken:
        lines = [f"  {name}: {message}" for name, message in broken.items()]
        raise AssertionError("\n".join([f"{type(first).__name__} breaks {len(broken)} of {len(laws)} laws:", *lines]))


def _is_deterministic_in_training(layer: Any) -> bool:
    try:
        case = recurrent_case(layer.train())
        with torch.no_grad():
            first, _ = case.layer(case.inputs, case.state)
            second, _ = case.layer(case.inputs, case.state)
    except Exception:
        # the laws report it, each in its own mode
        return True
    return torch.equal(first, second)


def _in_modes(
    law: Callable[[Case], None],
    make_layer: Callable[[int, int], Any],
    sizes: tuple[int, int],
    modes: tuple[bool, ...],
) -> None:
    for training in modes:
        law(recurrent_case(make_layer(*sizes).train(training)))
