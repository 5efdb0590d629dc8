"""What the summaries and the cards of all runs have in common."""

import math
import time
from collections.abc import Sequence
from typing import Any

from torch import nn

from refrain.storage.run_folder import RunFolder
from refrain.training import Position, load_weights
from refrain.training.progress import duration

from .manifest import peak_memory_bytes


def load_best(model: nn.Module, run: RunFolder, position: Position) -> None:
    """Give a model the weights of a run's best checkpoint, in place.

    Args:
        model: that was trained.
        run: its folder.
        position: the end of the run.
    """
    best = position.best
    assert best is not None and math.isfinite(best.nats_per_token)
    load_weights(model, run.checkpoint(best.step).tensors("model"))


def summary_of(about: dict[str, Any], figures: dict[str, Any], model: nn.Module, position: Position) -> dict[str, Any]:
    """The content of `summary.json`.

    Args:
        about: what was trained, on what and where.
        figures: by split.
        model: that was trained.
        position: the end of the run.
    """
    best = position.best
    assert best is not None
    return {
        **about,
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "epochs": position.epoch,
        "best_epoch": best.epoch + 1,
        **figures,
        "train_seconds": round(position.seconds, 1),
        "peak_memory_bytes": peak_memory_bytes(),
        "finished": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }


def card_of(
    what: str,
    notes: Sequence[str],
    table: Sequence[str],
    usage: Sequence[str],
    summary: dict[str, Any],
    manifest: dict[str, Any],
) -> str:
    """The README of a run folder.

    Args:
        what: the model, up to its number of parameters.
        notes: lines below the sentences on training.
        table: the figures, a line a row.
        usage: lines that say how the model is used.
        summary: as from `summary_of`.
        manifest: of the run.
    """
    lines = [
        f"# {summary['recipe']} on {summary['corpus']}",
        "",
        f"{what}, {summary['parameters']:,} parameters,",
        f"vocabulary {manifest['data']['vocabulary']:,}. Trained for {summary['epochs']} epoch(s) in "
        f"{duration(summary['train_seconds'])}; the figures",
        f"are those of the best on validation, epoch {summary['best_epoch']}.",
        *([f"Methods besides the settings: {', '.join(summary['methods'])}."] if "methods" in summary else []),
        *notes,
        "",
        *table,
        "",
        f"Measured with refrain {manifest['refrain']}, torch {manifest['torch']}, Python {manifest['python']} on "
        f"{manifest['machine']},",
        f"{manifest['threads']} thread(s), seed {manifest['seed']}. `config.json` holds every setting, `manifest.json`",
        "the sha256 of the text.",
        "",
        *usage,
    ]
    return "\n".join(lines) + "\n"


def commands(*lines: str) -> list[str]:
    """The usage of a run that the commands of refrain understand."""
    note = "`best/` holds settings, weights and vocabulary; copy it anywhere and give it to the same commands."
    return ["```sh", *lines, "```", "", note]
