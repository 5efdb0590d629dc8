"""Penalties on activations (Merity et al., 2017, Revisiting Activation Regularization; 2018, section 4.6).

T steps in the window, batch B, H width of the last layer.
"""

from collections.abc import Callable

from torch import Tensor

from .hooks import Window


def activation_penalty(strength: float) -> Callable[[Window], Tensor]:
    """Return the AR penalty: strength times the mean square of the last layer's output (T, B, H) after dropout.

    The paper writes an L2 norm; its code computes the mean over all elements, as is done here.

    Args:
        strength: alpha, relative to a loss that is a mean over tokens.
    """
    return lambda window: strength * window.outputs.dropped.square().mean()


def temporal_penalty(strength: float) -> Callable[[Window], Tensor]:
    """Return the TAR penalty: strength times the mean square of output changes between steps.

    The output is that of the last layer before dropout. The penalty of a window with one step is zero.

    Args:
        strength: beta, relative to a loss that is a mean over tokens.
    """

    def penalty(window: Window) -> Tensor:
        raw = window.outputs.raw
        change: Tensor = raw[1:] - raw[:-1]
        return strength * (change.square().mean() if len(change) else raw.new_zeros(()))

    return penalty
