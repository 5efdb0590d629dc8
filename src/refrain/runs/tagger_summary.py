"""The description of a tagger's run before training, and its summary and its card after training."""

from shlex import quote
from typing import Any

import numpy as np

from refrain.config import TaggerExperiment, TaggerModel
from refrain.data import TaggedCorpus
from refrain.evaluation.tagging import TaggingFigure, figure_of
from refrain.models import Tagger
from refrain.parallel import ALONE, Ranks
from refrain.progress import Track, untracked
from refrain.storage.run_folder import RunFolder
from refrain.training import Position

from .outline import card_of, commands, evaluate_command, load_best, summary_of
from .summary import machine_line, model_lines

# in the confusion matrix of a summary
MOST_TAGS = 40


def describe_tagger(experiment: TaggerExperiment, corpus: TaggedCorpus, model: Tagger, run: RunFolder) -> list[str]:
    """Describe a run in a few lines of text, before training."""
    settings = experiment.model
    splits = "  ".join(f"{name} {split.lines:,}" for name, split in corpus.splits.items())
    unseen = ", ".join(
        f"{name} {100 * split.unseen / len(split.tokens):.1f} %"
        for name, split in corpus.splits.items()
        if name != "train"
    )
    sizes = "-".join(str(size) for size in settings.hidden_sizes)
    vocabulary = corpus.vocabulary
    return [
        machine_line(model),
        f"data   {corpus.name}: {splits} sentences, {len(vocabulary.tags)} tags, vocabulary {len(vocabulary):,}"
        + (f", features {len(vocabulary.features):,}" if vocabulary.features else "")
        + (f"; words not in the training text: {unseen}" if unseen else ""),
        *model_lines(f"bidirectional {settings.cell.kind} {settings.embedding_size}-{sizes}{_above(settings)}", model),
        f"run    {run.path}",
    ]


def summarise_tagger(
    experiment: TaggerExperiment,
    corpus: TaggedCorpus,
    model: Tagger,
    run: RunFolder,
    position: Position,
    track: Track = untracked,
    ranks: Ranks = ALONE,
) -> dict[str, Any]:
    """Measure the best checkpoint and summarise the run. The model gets the weights of the checkpoint."""
    load_best(model, run, position)
    measured = {
        split: figure_of(
            model,
            corpus.vocabulary,
            corpus.splits[split].sentences,
            track=track,
            what=f"measuring the {split} text",
            ranks=ranks,
        )
        for split in ("valid", "test")
        if split in corpus.splits
    }
    figures: dict[str, Any] = {"valid": None, "test": None}
    figures |= {split: figure.document() for split, figure in measured.items()}
    if measured:
        # of the test text if there is one
        split, figure = list(measured.items())[-1]
        names = [*corpus.vocabulary.tags, *figure.new_tags]
        figures["by_tag"] = {
            "split": split,
            "tags": figure.per_tag(corpus.vocabulary.tags),
            **_confusion(figure, names),
        }
    tags = {"task": "tagger", "tags": len(corpus.vocabulary.tags)}
    about = {"run": str(run.path), "recipe": experiment.name, "corpus": corpus.name, **tags}
    skipped = {name: len(split.skipped) for name, split in corpus.splits.items()}
    return summary_of(about, {**figures, "skipped": skipped}, model, position, experiment.training.epochs)


def _confusion(figure: TaggingFigure, names: list[str]) -> dict[str, Any]:
    """The confusion matrix of the most frequent tags, by true tag and predicted tag."""
    words = figure.confusion.sum(axis=1)
    order = sorted(range(len(names)), key=lambda index: (-words[index], names[index]))
    kept = [index for index in order if words[index]][:MOST_TAGS]
    counts = figure.confusion[np.ix_(kept, kept)]
    return {"confusion_tags": [names[index] for index in kept], "confusion": counts.tolist()}


def _above(settings: TaggerModel) -> str:
    """What is between the layers and the tags besides a softmax, in words."""
    parts = {"skip connection": settings.skip_connection, "conditional random field": settings.head.kind == "crf"}
    return "".join(f", {name}" for name, present in parts.items() if present)


def percent(share: float | None) -> str:
    """Format a share as a percentage; None is empty."""
    return "" if share is None else f"{100 * share:.2f} %"


def tagger_card(summary: dict[str, Any], experiment: TaggerExperiment, manifest: dict[str, Any]) -> str:
    """The README of the run folder, with measured figures only."""
    head, rows = tagger_figure_rows(summary)
    model = experiment.model
    run = quote(summary["run"])
    shape = "-".join(str(size) for size in (model.embedding_size, *model.hidden_sizes))
    left_out = sum(summary["skipped"].values())
    return card_of(
        f"A tagger of {summary['tags']} tags: bidirectional {model.cell.kind} {shape}{_above(model)}",
        [f"{left_out} bad sentence{'s were' if left_out > 1 else ' was'} left out of the corpus."] if left_out else [],
        [
            f"| {' | '.join(head)} |",
            "|---" * len(head) + "|",
            *(f"| {' | '.join(row)} |" for row in rows),
        ],
        commands(
            summary["run"], evaluate_command(summary), f"echo 'A sentence of mine .' | refrain tag {run} --tokenised"
        ),
        summary,
        manifest,
    )


def tagger_figure_rows(summary: dict[str, Any]) -> tuple[list[str], list[list[str]]]:
    """The figures of a tagger as a table: the names of its columns, and the cells of each row.

    Args:
        summary: the content of `summary.json`.
    """
    rows = []
    for split in ("valid", "test"):
        if (figure := summary[split]) is not None:
            low, high = figure["interval"]
            shares = [figure[part]["accuracy"] for part in ("seen", "unseen", "sentences")]
            cells = [percent(figure["accuracy"]), f"{percent(low)} to {percent(high)}", *map(percent, shares)]
            rows.append([split, f"{figure['tokens']:,}", *cells])
    words = ["words seen in training", "unseen words", "whole sentences"]
    return ["split", "words", "accuracy", "95 % interval", *words], rows
