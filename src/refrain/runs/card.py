"""The card of a language model's run: a README with the model, the measured figures and the usage."""

from shlex import quote
from typing import Any

from refrain.config import Experiment
from refrain.progress import perplexity_text

from .figure_names import with_infinity
from .outline import about_best, card_of, commands, evaluate_command

# further columns, for the figures that a unit of tokens has
COLUMNS = {
    "bits_per_byte": "bits per byte",
    "bits_per_character": "bits per character",
    "perplexity_per_word": "perplexity per word",
    "unknown": "unknown",
    "perplexity_without_unknown": "perplexity without unknown",
}


def card(summary: dict[str, Any], experiment: Experiment, manifest: dict[str, Any]) -> str:
    """The README of the run folder, with measured figures only."""
    head, rows = figure_rows(summary)
    model = experiment.model
    sizes = "-".join(str(size) for size in (model.embedding_size, *model.hidden_sizes))
    own = summary.get("network")
    shape = f"{model.cell.kind} {sizes}" if own is None else f"the network `{own}`"
    return card_of(
        f"A language model over {manifest['data']['unit']}s: {shape}",
        [f"{line[0].upper()}{line[1:]}." for line in summary.get("warnings", [])],
        [
            f"| {' | '.join(head)} |",
            "|---" * len(head) + "|",
            *(f"| {' | '.join(row)} |" for row in rows),
        ],
        _usage(summary, own),
        summary,
        manifest,
    )


def figure_rows(summary: dict[str, Any]) -> tuple[list[str], list[list[str]]]:
    """The figures of a language model as a table: the names of its columns, and the cells of each row.

    Args:
        summary: the content of `summary.json`.
    """
    measured: dict[tuple[str, str], dict[str, Any]] = {}
    for split in ("valid", "test"):
        for figure in (summary.get(split), (summary.get("exact") or {}).get(split)):
            # in a file that another program has written, they may be missing
            if isinstance(figure, dict) and {"protocol", "tokens"} <= figure.keys():
                measured.setdefault((split, figure["protocol"]), with_infinity(figure))
    columns = {key: title for key, title in COLUMNS.items() if any(figure.get(key) for figure in measured.values())}
    if "unknown" not in columns:
        columns.pop("perplexity_without_unknown", None)
    rows = [
        [
            split,
            protocol,
            f"{figure['tokens']:,}",
            *(_cell(key, figure.get(key)) for key in ("nats_per_token", "perplexity", *columns)),
        ]
        for (split, protocol), figure in measured.items()
    ]
    return ["split", "protocol", "tokens", "nats per token", "perplexity", *columns.values()], rows


def _cell(key: str, value: float | None) -> str:
    if value is None:
        return ""
    if key.startswith("perplexity"):
        return perplexity_text(value)
    return f"{value:,}" if key == "unknown" else f"{value:.4f}"


def _usage(summary: dict[str, Any], own: str | None) -> list[str]:
    run = summary["run"]
    if own is None:
        return commands(run, evaluate_command(summary), f"refrain generate {quote(run)} --tokens 50")
    return [
        f"The `model` settings in `config.json` do not describe it. Load it with `network`, an instance of `{own}`",
        "or a function that maps the vocabulary to one:",
        "",
        "```python",
        f"lm = refrain.load({run!r}, model=network)",
        "print(lm.generate(tokens=50)[0])",
        "```",
        "",
        *about_best(run, "loaded in the same way"),
    ]
