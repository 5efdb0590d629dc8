"""The figures of a run in a report: what is at its top, the tables of a language model and of a tagger, the ledger."""

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from refrain.config import Experiment, TaggerExperiment
from refrain.pictures.report.blocks import Block, Confusion, Fold, Paragraph, Table, Tile
from refrain.progress import duration
from refrain.recipes import RECIPES, description

from ..card import figure_rows
from ..figure_names import deciding, text_of_figure
from ..tagger_summary import percent, tagger_figure_rows
from .folder import RunData, number
from .sections import other_settings

NAMES = {"perplexity": "perplexity", "bits_per_byte": "bits per byte", "accuracy": "accuracy", "span_f1": "F1 of spans"}
SPLITS = {"valid": "Validation", "test": "Test"}


def shape_of(run: RunData) -> str:
    """The model in a few words: what it is, its cells and its widths."""
    own, given = run.summary.get("network"), run.experiment
    if own is not None:
        return f"A language model: the network {own}"
    model = given.model
    sizes = "-".join(str(size) for size in (model.embedding_size, *model.hidden_sizes))
    if isinstance(given, TaggerExperiment):
        return f"A tagger: bidirectional {model.cell.kind} {sizes}"
    assert isinstance(given, Experiment)
    return f"A language model over {given.data.unit}s: {model.cell.kind} {sizes}"


def tiles(run: RunData) -> list[Tile]:
    """The figures at the top of a report."""
    found = []
    for split in ("test", "valid"):
        figure = run.figure(split)
        if (name := deciding(figure, run.compared.entry.unit)) is not None:
            found.append(Tile(f"{SPLITS[split]} {NAMES[name]}", text_of_figure(name, figure[name]), _note(run, split)))
    spans = run.figure("test").get("spans") or run.figure("valid").get("spans")
    if isinstance(spans, dict) and number(spans.get("f1")) is not None:
        found.append(Tile("F1 of spans", percent(spans["f1"])))
    if (parameters := run.compared.entry.parameters) is not None:
        found.append(Tile("Parameters", f"{parameters:,}", f"{4 * parameters / 1e6:.1f} MB in float32"))
    sparsity = run.summary.get("sparsity")
    if isinstance(sparsity, dict) and (left := number(sparsity.get("compact_parameters"))) and parameters:
        found.append(Tile("Left once compacted", f"{left:,}", f"{left / parameters:.1%} of the parameters"))
    entry = run.compared.entry
    if entry.seconds is not None:
        epochs = f"{entry.epochs} epoch{'s' * (entry.epochs != 1)}"
        found.append(Tile("Training time", duration(entry.seconds), epochs))
    if run.state != "finished":
        found.append(Tile("State", run.state, "figures so far"))
    return found


def _note(run: RunData, split: str) -> str:
    figure = run.figure(split)
    if (interval := figure.get("interval")) and len(interval) == 2:
        return f"95 % interval {percent(interval[0])} to {percent(interval[1])}"
    parts = [f"protocol {figure['protocol']}"] if figure.get("protocol") else []
    if split == "valid" and run.summary.get("best_epoch"):
        parts.append(f"best epoch {run.summary['best_epoch']}")
    return ", ".join(parts)


def figure_blocks(run: RunData) -> list[Block]:
    """The tables of all figures, and where the recipe has published ones, these beside them."""
    blocks: list[Block] = []
    if {"valid", "test"} <= run.summary.keys():
        if run.is_tagger:
            head, rows = tagger_figure_rows(run.summary)
            blocks.append(Table(head, rows))
        else:
            head, rows = figure_rows({"exact": {"valid": None, "test": None}, **run.summary})
            blocks.append(Table(head, rows, texts=2))
    elif {"before", "after"} <= run.summary.keys():
        blocks.append(_before_and_after(run.summary["before"], run.summary["after"]))
    elif run.state == "finished":
        blocks.append(Paragraph("Nothing was measured when this run was made."))
    else:
        blocks.append(Paragraph(f"The run is {run.state}; its final figures are not measured yet."))
    return blocks + _ledger(run)


def _before_and_after(before: Mapping[str, Any], after: Mapping[str, Any]) -> Table:
    """The sizes and figures of a compressed run beside those of the run that it was made of."""
    # a perplexity that is null is infinite
    figures = [
        {**each, "perplexity": math.inf} if each.get("perplexity", 0) is None else each for each in (before, after)
    ]
    names = [name for name in before if all(_is_number(each.get(name)) for each in figures)]
    rows = [[name.replace("_", " "), *(_short(each[name]) for each in figures)] for name in names]
    return Table(["", "before", "after"], rows)


def _is_number(value: Any) -> bool:
    return number(value) is not None or value == math.inf


def _short(value: float) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:,.4f}"


def _ledger(run: RunData) -> list[Block]:
    """The published figures of the recipe and ours, beside those of the run."""
    name = run.experiment.name
    if name not in RECIPES:
        return []
    known = ledger_lines(description(name))
    if not known:
        return []
    rows = [[title.replace("ours", "measured for the recipe"), text] for title, text in known.items()]
    here = []
    for split in ("valid", "test"):
        figure = run.figure(split)
        if (deciding_name := deciding(figure, run.compared.entry.unit)) is not None:
            protocol = f" (protocol {figure['protocol']})" if figure.get("protocol") else ""
            value = text_of_figure(deciding_name, figure[deciding_name])
            here.append(f"{SPLITS[split].lower()} {NAMES[deciding_name]} {value}{protocol}")
    # where the corpus lies is no difference
    count = sum(row[0] != "data.corpus" for row in other_settings(run)[1])
    other = f", with {count} other setting{'s' * (count > 1)}" if count else ""
    # the published figures are of one text; one of the same name is taken for that
    other += f", on the text {Path(run.experiment.data.corpus).resolve().name}"
    rows.append([f"this run{other}", ", ".join(here) or "not measured yet"])
    return [
        Table(
            [f"recipe {name}", "validation / test, unless a line says otherwise"], rows, texts=2, strong=len(rows) - 1
        )
    ]


def ledger_lines(text: str) -> dict[str, str]:
    """The lines about published figures and ours in the description of a recipe.

    Args:
        text: the description; such a line begins with `Published:` or `Ours:` and may go on in the next ones.
    """
    found: dict[str, str] = {}
    title = ""
    for line in text.splitlines()[1:]:
        if match := re.match(r"(Published|Ours)\b[^:]*: ?", line):
            title = match[0].strip().rstrip(":").lower()
            found[title] = line[match.end() :]
        elif title and line.strip():
            found[title] += f" {line.strip()}"
        else:
            title = ""
    return found


def tag_blocks(run: RunData) -> list[Block]:
    """The figures of each tag and the confusion matrix of a tagger; nothing for other runs."""
    found = run.summary.get("by_tag")
    if not isinstance(found, dict):
        return []
    tags: Mapping[str, Any] = found["tags"]
    rows = [
        [tag, f"{each['words']:,}", percent(each["precision"]), percent(each["recall"]), percent(each["f1"])]
        for tag, each in tags.items()
    ]
    names = found["confusion_tags"]
    matrix = Confusion(names, found["confusion"], [tags[name]["words"] for name in names])
    left_out = len([each for each in tags.values() if each["words"]]) - len(names)
    more = f" The {len(names)} most frequent tags are shown." if left_out > 0 else ""
    return [
        Paragraph(
            f"On the {found['split']} text. Of the words of each tag (row), how many were predicted as each tag "
            f"(column); blue is right, orange is wrong, stronger colours are larger shares of the row.{more}"
        ),
        matrix,
        Fold(
            f"Precision, recall and F1 of {len(rows)} tags",
            [Table(["tag", "words", "precision", "recall", "F1"], rows)],
        ),
    ]
