"""How the command `refrain evaluate` prints the figures of a language model."""

import math
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from refrain.data import Split, Vocabulary

FIGURES = (
    "nats_per_token", "bits_per_token", "bits_per_byte", "bits_per_character", "perplexity", "perplexity_per_word",
)  # fmt: skip
# the setting of dynamic evaluation that figures by it have
RATE = "dynamic_learning_rate"
# figures from here on are printed in scientific notation
LARGE = 1e6
# without unknown words; printed where the text has some
OTHERS = ("nats_per_token_without_unknown", "perplexity_without_unknown")


# how the protocols differ on every split except test, see `refrain.evaluation.protocol_windows`
PROTOCOLS = {
    "zaremba": "20 streams side by side, without a last window that is shorter",
    "awd": "10 streams side by side",
}


def protocol_in_words(protocol: str, split: str) -> str:
    """The name of a protocol with what it means for a split.

    Args:
        protocol: exact, zaremba or awd.
        split: the name of the split.
    """
    words = PROTOCOLS.get(protocol) if split != "test" else None
    return f"{protocol}: {words or 'one stream, every token except the first'}"


def concerns_about(
    vocabulary: "Vocabulary", text: "Split", figures: dict[str, dict[str, Any]], *, own: bool
) -> list[str]:
    """What makes the figures of a language model doubtful, a line for each.

    Args:
        vocabulary: the vocabulary of the model.
        text: the text.
        figures: the figures by method.
        own: whether the text is of the corpus of the model.
    """
    from refrain.data.unknown import unknown_concerns
    from refrain.evaluation.perplexity import guessing_concerns, has_diverged
    from refrain.progress import perplexity_text

    concerns = unknown_concerns(vocabulary, {"the text": (text.unseen, len(text.tokens))}, own=own)
    tokens = len(vocabulary)
    adapted = {name: figure["perplexity"] for name, figure in figures.items() if RATE in figure}
    run_away = {name for name, found in adapted.items() if has_diverged(found, tokens)}
    diverged = [
        f"the perplexity of the text, method {name}, is {perplexity_text(figure['perplexity'], 1)}: the weights ran "
        f"away while they were adapted to the text; lower --dynamic-rate (got {figure[RATE]:g})"
        for name, figure in figures.items()
        if name in run_away
    ]
    others = {f"the text, method {name}": figure for name, figure in figures.items() if name not in run_away}
    return concerns + diverged + guessing_concerns(others, tokens)


def report_all(
    about: dict[str, Any], concerns: list[str], unseen: int, figures: dict[str, dict[str, Any]], json: bool
) -> None:
    """Print the figures of a language model, and log what makes them doubtful.

    Args:
        about: what was measured.
        concerns: what makes the figures doubtful.
        unseen: the number of tokens of the text that the vocabulary lacks.
        figures: the figures by method; several methods are printed as a table.
        json: whether one JSON object is printed.
    """
    from .output import log

    for concern in concerns:
        log(f"note: {concern}")
    warnings = {"warnings": concerns} if json else {}
    if not json:
        for figure in figures.values():
            if not figure.get("unknown"):
                for key in ("unknown", *OTHERS):
                    figure.pop(key, None)
    if len(figures) > 1:
        _report_several(about | {"unseen": unseen} | warnings, figures, json)
        return
    ((name, figure),) = figures.items()
    if not json:
        about = about | {"protocol": protocol_in_words(about["protocol"], about["split"])}
    _report(about | {"method": name, "unseen": unseen} | figure | warnings, json)


def _report(found: dict[str, Any], json: bool) -> None:
    from .output import print_json, print_line

    if json:
        print_json(found)
        return
    for key, value in found.items():
        print_line(f"{key:{max(map(len, found))}}  {_formatted(key, value)}")


def _report_several(about: dict[str, Any], figures: dict[str, dict[str, Any]], json: bool) -> None:
    """Print a table with a row for each method; its last column lists the settings of the method."""
    from .output import print_json, table

    if json:
        print_json(about | {"figures": figures})
        return
    same = ("split", "protocol")
    _report({key: value for key, value in about.items() if key not in same}, json)
    measured = ("unknown", *FIGURES, *OTHERS)
    # what a method does not count apart, such as unknown words, is missing in its figure
    known = [key for key in measured if any(key in figure for figure in figures.values())]
    columns = ["tokens", *known, "tokens_per_second"]
    rows = [["method", *same, *columns, "settings"]]
    for name, figure in figures.items():
        settings = ", ".join(f"{key} {_setting(value)}" for key, value in figure.items() if key not in columns)
        rows.append(
            [name, *(about[key] for key in same), *(_formatted(key, figure.get(key)) for key in columns), settings]
        )
    print()
    print(table(rows))


def _setting(value: Any) -> str:
    return value if isinstance(value, str) else f"{value:g}"


def _formatted(key: str, value: Any) -> str:
    if value is None:
        return "-"
    if key in (*FIGURES, *OTHERS):
        return number_text(value)
    return f"{value:,}" if isinstance(value, int) else f"{value}"


def number_text(value: float) -> str:
    """A figure with four digits after the point; from a million on in scientific notation.

    Args:
        value: the figure.
    """
    return f"{value:,.4f}" if value < LARGE or math.isinf(value) else f"{value:.4e}"
