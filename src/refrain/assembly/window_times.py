"""The seconds that a layer or a head takes for a window, by torch's operations and by native kernels.

T steps in the window, B batch, H width of the hidden state that a head reads.
"""

import contextlib
import copy
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import nn

from refrain.nn.kernels.backend import Backend, Part

ROUNDS = 5
MANY_ROUNDS = 25
"""For parts of which a round takes less than `QUICK` seconds, whose times vary more."""
QUICK = 0.02
SHARES = (1, 2, 4, 8)
MARGIN = 1.03
"""The backend of the rule is kept unless the other one is faster by this factor, which is more than noise."""


class Shape(NamedTuple):
    """The windows of a run."""

    steps: int
    """T."""
    batch: int
    """B, of this process."""
    windows: int
    """The number of windows in the whole run."""
    hidden: int
    """H."""
    vocabulary: int
    """The number of words."""
    minutes: float | None = None
    """The limit of time of the run, if it has one."""


class Times(NamedTuple):
    """Seconds that a part takes for a window, forward and backward: from the least of several rounds."""

    torch: float
    native: float

    def prefers_native(self, rule: bool) -> bool:
        """Whether native kernels are to be used.

        Args:
            rule: what the rule by sizes says, which counts where the times do not differ.
        """
        return self.torch >= self.native * MARGIN or (rule and self.native <= self.torch * MARGIN)


def time_part(part: Part, shape: Shape, seconds: float, *, bf16: bool) -> Times | None:
    """Time a part with both backends, in turns.

    Args:
        part: the part; a copy of it is used.
        shape: the windows of the run. Where a whole one takes too long, the times of a half, a quarter or an eighth and
            of one step are taken, from which that of the whole window follows; see `extrapolated`.
        seconds: the time that it may take.
        bf16: whether matmul inputs are rounded to bfloat16.

    Returns:
        The times, or None if they could not be measured in that time.
    """
    end = time.perf_counter() + seconds
    with torch.random.fork_rng(devices=[]), torch.enable_grad():
        torch.manual_seed(0)
        # if a part cannot be measured, the rule by sizes decides
        with contextlib.suppress(TypeError, ValueError, RuntimeError, AttributeError):
            own = copy.deepcopy(part)
            _module(own).train()
            calls = {steps: window_call(own, shape._replace(steps=steps)) for steps in {1, *_lengths(shape)}}

            def seconds_of(steps: int) -> tuple[float, float]:
                found = []
                for native in (False, True):
                    own.backend = Backend(native, bf16)
                    found.append(_seconds(calls[steps]))
                return found[0], found[1]

            return _timed(seconds_of, shape, lambda: end - time.perf_counter())
    return None


def _timed(seconds_of: Callable[[int], tuple[float, float]], shape: Shape, left: Callable[[], float]) -> Times | None:
    """The times of a window by both backends.

    Args:
        seconds_of: gives the seconds that each backend takes for a number of steps.
        shape: the windows of the run.
        left: gives the seconds that are left.
    """
    seconds_of(1)  # not counted
    one = seconds_of(1)
    *longer, steps = _lengths(shape)
    # what is done once per window takes half the time of a step or more where a layer is large enough to matter
    if left() < sum(one) * (steps + 1) / 2:
        return None
    part = seconds_of(steps)
    whole = sum(extrapolated(*pair, steps, shape.steps) for pair in zip(one, part, strict=True))
    for length in longer:
        # one call that is not counted, and one round
        if 2 * whole * length / shape.steps < left():
            steps, part = length, seconds_of(length)
            break
    for count in range(ROUNDS if sum(part) > QUICK else MANY_ROUNDS):
        if left() < sum(part) + sum(one):
            break
        found = seconds_of(steps)
        # the first call was not counted
        part = found if not count else _least(part, found)
        if steps < shape.steps:
            one = _least(one, seconds_of(1))
    return Times(*(extrapolated(*pair, steps, shape.steps) for pair in zip(one, part, strict=True)))


def _lengths(shape: Shape) -> list[int]:
    """The lengths of a window and of its parts that may be measured, in steps."""
    return [max(1, shape.steps // share) for share in SHARES]


def _least(a: tuple[float, float], b: tuple[float, float]) -> tuple[float, float]:
    return min(a[0], b[0]), min(a[1], b[1])


def extrapolated(one: float, part: float, steps: int, all_steps: int) -> float:
    """The seconds of a window, from those of one step and of a part of a window.

    What is done once per window, such as to pack weights, takes as long in a part of it, so the times are not in
    proportion to the steps.

    Args:
        one: the seconds of one step.
        part: the seconds of a part of the window.
        steps: the steps of this part.
        all_steps: T.
    """
    if steps == all_steps:
        return part
    if steps == 1:
        return part * all_steps
    # noise apart, more steps take longer, and no longer than in proportion
    each = min(max((part - one) / (steps - 1), 0.0), part / steps)
    return part + (all_steps - steps) * each


def window_call(part: Any, shape: Shape) -> Callable[[], None]:
    """A call that computes a window of a part, forward and backward.

    Args:
        part: a recurrent layer or a head.
        shape: the windows.
    """
    module = _module(part)
    if hasattr(part, "initial_state"):
        inputs = torch.randn(shape.steps, shape.batch, part.input_size, requires_grad=True)
        state = part.initial_state(shape.batch)

        def layer() -> None:
            module.zero_grad(set_to_none=True)
            outputs, _ = part(inputs, state)
            outputs.sum().backward()

        return layer
    hidden = torch.randn(shape.steps, shape.batch, shape.hidden, requires_grad=True)
    # small ids are frequent, as in a vocabulary in order of frequency
    targets = (shape.vocabulary ** torch.rand(shape.steps, shape.batch)).long() - 1

    def head() -> None:
        module.zero_grad(set_to_none=True)
        part(hidden, targets).backward()

    return head


def _seconds(call: Callable[[], None]) -> float:
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


def _module(part: Any) -> nn.Module:
    assert isinstance(part, nn.Module)
    return part
