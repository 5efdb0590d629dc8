"""Penalties on activations (Merity et al., 2017, Revisiting Activation Regularization; 2018, section 4.6).

T steps in the window, B sequences, H width of the last layer.
"""

from collections.abc import Callable

from torch import Tensor

from .hooks import Window


def activation_penalty(strength: float) -> Callable[[Window], Tensor]:
    """AR: strength times the mean square of the last layer's output after dropout (T, B, H).

    The paper writes an L2 norm; the mean over every element is what its code computes.

    Args:
        strength: alpha, relative to a loss that is a mean over tokens.
    """
    return lambda window: strength * window.outputs.dropped.square().mean()


def temporal_penalty(strength: float) -> Callable[[Window], Tensor]:
    """TAR: strength times the mean square of the change of the last layer's raw output from step to step.

    Zero for a window of one step, which has no change.

    Args:
        strength: beta, relative to a loss that is a mean over tokens.
    """

    def penalty(window: Window) -> Tensor:
        raw = window.outputs.raw
        change: Tensor = raw[1:] - raw[:-1]
        return strength * (change.square().mean() if len(change) else raw.new_zeros(()))

    return penalty
