"""Which figure of a text decides between models: accuracy of taggers, bits per byte of bytes, or else perplexity."""

import math
from collections.abc import Mapping
from typing import Any

HIGHER_IS_BETTER = ("accuracy",)
DIGITS = {"accuracy": "{:.2%}", "bits_per_byte": "{:.4f}", "nats_per_token": "{:.4f}", "perplexity": "{:,.2f}"}


def deciding(figures: Mapping[str, Any]) -> str | None:
    """The name of the figure that decides.

    Args:
        figures: the figures of a text, such as `valid` of a summary.

    Returns:
        `accuracy`, `bits_per_byte` where a token is a byte, `perplexity`, or None without figures.
    """
    if figures.get("accuracy") is not None:
        return "accuracy"
    bits, nats = figures.get("bits_per_byte"), figures.get("nats_per_token")
    if bits is not None and nats is not None and math.isclose(bits, nats / math.log(2), rel_tol=1e-9):
        return "bits_per_byte"
    return None if figures.get("perplexity") is None else "perplexity"


def rank(figures: Mapping[str, Any]) -> float:
    """A number that is lower for better figures, and infinite without any, to sort by."""
    name = deciding(figures)
    if name is None:
        return math.inf
    value = float(figures[name])
    return -value if name in HIGHER_IS_BETTER else value


def text_of_figure(name: str, value: float | None) -> str:
    """A figure as people read it; `-` without one.

    Args:
        name: the name of the figure.
        value: its value.
    """
    return "-" if value is None else DIGITS[name].format(value)


def deciding_text(figures: Mapping[str, Any]) -> str:
    """The figure that decides as people read it, with its unit where that is not plain; `-` without one.

    Args:
        figures: the figures of a text.
    """
    name = deciding(figures)
    unit = " bits/byte" if name == "bits_per_byte" else ""
    return "-" if name is None else text_of_figure(name, figures[name]) + unit
