"""Which figure of a text decides between models: accuracy or F1 of taggers, bits per byte of bytes, else perplexity."""

import math
from collections.abc import Mapping
from typing import Any

from refrain.progress import perplexity_text

HIGHER_IS_BETTER = ("accuracy", "span_f1")
DIGITS = {
    "accuracy": "{:.2%}", "span_f1": "{:.2%}", "bits_per_byte": "{:.4f}", "nats_per_token": "{:.4f}",
}  # fmt: skip
# a perplexity -> the nats from which it is computed
_NATS = {
    "perplexity": "nats_per_token",
    "perplexity_per_word": "nats_per_token",
    "perplexity_without_unknown": "nats_per_token_without_unknown",
}


def with_infinity(figures: Mapping[str, Any]) -> dict[str, Any]:
    """The figures of a JSON document, in which a perplexity that is null beside its nats is infinite again.

    Args:
        figures: a line of metrics, or the figures of a split in a summary.
    """
    infinite = {
        name: math.inf
        for name, nats in _NATS.items()
        if name in figures and figures[name] is None and figures.get(nats) is not None
    }
    return {**figures, **infinite}


def comparable(figures: Mapping[str, Any], best_by: Any) -> dict[str, Any]:
    """The figures of a run as it compares them: with `span_f1` only where the F1 of spans decides which epoch is best.

    A perplexity that is null in the document is infinite.

    Args:
        figures: a line of metrics, or `valid` or `test` of a summary, which has the F1 in `spans`.
        best_by: the setting `training.best_by`; None for a language model.
    """
    spans = figures.get("spans")
    f1 = spans.get("f1") if isinstance(spans, Mapping) else figures.get("span_f1")
    rest = {name: value for name, value in with_infinity(figures).items() if name != "span_f1"}
    return rest if best_by != "f1" or f1 is None else {**rest, "span_f1": f1}


def deciding(figures: Mapping[str, Any], unit: Any = None) -> str | None:
    """The name of the figure that decides.

    Args:
        figures: the figures of a text, as `comparable` returns them.
        unit: the setting `data.unit`; where it is None, a token is taken for a byte if the figures agree with that.

    Returns:
        `span_f1`, `accuracy`, `bits_per_byte` where a token is a byte, `perplexity`, or None without figures.
    """
    if figures.get("accuracy") is not None:
        return "accuracy" if figures.get("span_f1") is None else "span_f1"
    bits, nats = figures.get("bits_per_byte"), figures.get("nats_per_token")
    # characters of ASCII have a byte each, too
    bytewise = bits is not None and nats is not None and math.isclose(bits, nats / math.log(2), rel_tol=1e-9)
    if bytewise and unit in (None, "byte"):
        return "bits_per_byte"
    return None if figures.get("perplexity") is None else "perplexity"


def rank(figures: Mapping[str, Any], unit: Any = None) -> float:
    """A number that is lower for better figures, and infinite without any, to sort by; see `deciding`."""
    name = deciding(figures, unit)
    if name is None:
        return math.inf
    value = float(figures[name])
    return -value if name in HIGHER_IS_BETTER else value


def order(figures: Mapping[str, Any], unit: Any) -> tuple[bool, str, str, float]:
    """What runs are sorted by: the best first among those whose figures can be compared, and those without any last.

    Args:
        figures: the figures of a text.
        unit: the setting `data.unit`, whose perplexities are of something else than those of another unit; None for a
            tagger.
    """
    name = deciding(figures, unit)
    return name is None, name or "", str(unit or ""), rank(figures, unit)


def text_of_figure(name: str, value: float | None) -> str:
    """A figure as people read it; `-` without one.

    Args:
        name: the name of the figure.
        value: its value.
    """
    if value is None:
        return "-"
    return perplexity_text(value) if name == "perplexity" else DIGITS[name].format(value)


def deciding_text(figures: Mapping[str, Any], unit: Any = None) -> str:
    """The figure that decides as people read it, with its unit where that is not plain; `-` without one.

    Args:
        figures: the figures of a text.
        unit: see `deciding`.
    """
    name = deciding(figures, unit)
    units = {"bits_per_byte": " bits/byte", "span_f1": " F1"}
    return "-" if name is None else text_of_figure(name, figures[name]) + units.get(name, "")
