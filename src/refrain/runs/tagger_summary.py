"""What is said of a tagger's run: before it, at its end, and in its card."""

import math
import time
from typing import Any

from refrain.config import TaggerExperiment
from refrain.data import TaggedCorpus
from refrain.evaluation.tagging import figure_of
from refrain.models import Tagger
from refrain.storage.run_folder import RunFolder
from refrain.training import Position, load_weights
from refrain.training.progress import duration

from .manifest import peak_memory_bytes
from .summary import machine_line, model_lines


def describe_tagger(experiment: TaggerExperiment, corpus: TaggedCorpus, model: Tagger, run: RunFolder) -> list[str]:
    """What is about to happen, in a few lines."""
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
        + (f"; words that training lacks: {unseen}" if unseen else ""),
        *model_lines(f"{settings.cell.kind} {settings.embedding_size}-{sizes} both ways", model),
        f"run    {run.path}",
    ]


def summarise_tagger(
    experiment: TaggerExperiment, corpus: TaggedCorpus, model: Tagger, run: RunFolder, position: Position
) -> dict[str, Any]:
    """The final figures, with the weights of the best checkpoint. Changes the model's weights to those."""
    best = position.best
    assert best is not None and math.isfinite(best.nats_per_token)
    load_weights(model, run.checkpoint(best.step).tensors("model"))
    figures = {
        split: figure_of(model, corpus.vocabulary, corpus.splits[split].sentences).document()
        if split in corpus.splits
        else None
        for split in ("valid", "test")
    }
    return {
        "run": str(run.path),
        "task": "tagger",
        "recipe": experiment.name,
        "corpus": corpus.name,
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "tags": len(corpus.vocabulary.tags),
        "epochs": position.epoch,
        "best_epoch": best.epoch + 1,
        **figures,
        "skipped": {name: len(split.skipped) for name, split in corpus.splits.items()},
        "train_seconds": round(position.seconds, 1),
        "peak_memory_bytes": peak_memory_bytes(),
        "finished": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }


def percent(share: float | None) -> str:
    """A share as it is printed, empty where there is none."""
    return "" if share is None else f"{100 * share:.2f} %"


def tagger_card(summary: dict[str, Any], experiment: TaggerExperiment, manifest: dict[str, Any]) -> str:
    """A README for the run folder, with measured numbers only."""
    rows = []
    for split in ("valid", "test"):
        if (figure := summary[split]) is not None:
            low, high = figure["interval"]
            rows.append(
                f"| {split} | {figure['tokens']:,} | {percent(figure['accuracy'])} | {percent(low)} to {percent(high)} "
                f"| {percent(figure['seen']['accuracy'])} | {percent(figure['unseen']['accuracy'])} "
                f"| {percent(figure['sentences']['accuracy'])} |"
            )
    model, data, run = experiment.model, manifest["data"], summary["run"]
    shape = "-".join(str(size) for size in (model.embedding_size, *model.hidden_sizes))
    cell = model.cell.kind
    left_out = sum(summary["skipped"].values())
    lines = [
        f"# {summary['recipe']} on {summary['corpus']}",
        "",
        f"A tagger of {summary['tags']} tags: {cell} {shape} both ways, {summary['parameters']:,} parameters,",
        f"vocabulary {data['vocabulary']:,}. Trained for {summary['epochs']} epoch(s) in "
        f"{duration(summary['train_seconds'])}; the figures",
        f"are those of the best on validation, epoch {summary['best_epoch']}.",
        *([f"Methods besides the settings: {', '.join(summary['methods'])}."] if "methods" in summary else []),
        *([f"{left_out} bad sentence(s) of the corpus were left out."] if left_out else []),
        "",
        "| split | words | accuracy | interval of 95 % | words that training had | other words | whole sentences |",
        "|---|---|---|---|---|---|---|",
        *rows,
        "",
        f"Measured with refrain {manifest['refrain']}, torch {manifest['torch']}, Python {manifest['python']} on "
        f"{manifest['machine']},",
        f"{manifest['threads']} thread(s), seed {manifest['seed']}. `config.json` holds every setting, `manifest.json`",
        "the sha256 of the text.",
        "",
        "```sh",
        f"refrain evaluate {run}",
        f"echo 'A sentence of mine .' | refrain tag {run} --tokenised",
        "```",
        "",
        "`best/` holds settings, weights and vocabulary; copy it anywhere and give it to the same commands.",
    ]
    return "\n".join(lines) + "\n"
