"""The parts that the summaries and the cards of all kinds of models share."""

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from shlex import quote
from typing import Any

from torch import nn

from refrain.config.following import value_text
from refrain.progress import duration
from refrain.storage.machine import peak_memory_bytes
from refrain.storage.run_folder import RunFolder
from refrain.training import Position, load_weights


def load_best(model: nn.Module, run: RunFolder, position: Position) -> None:
    """Copy the weights of the best checkpoint of a run into a model, in place.

    Args:
        model: the trained model.
        run: the run folder.
        position: the position at the end of the run.
    """
    best = position.best
    assert best is not None and math.isfinite(best.nats_per_token)
    load_weights(model, run.checkpoint(best.step).tensors("model"))


def summary_of(
    about: dict[str, Any], figures: dict[str, Any], model: nn.Module, position: Position, epochs: int
) -> dict[str, Any]:
    """The content of `summary.json`.

    Args:
        about: the run folder, the recipe, the corpus and other facts about the run.
        figures: the figures of each split.
        model: the trained model.
        position: the position at the end of the run.
        epochs: the number of epochs of the settings.
    """
    best = position.best
    assert best is not None
    as_planned = position.plan is not None and position.step >= position.plan.end
    by_rule = position.stopped and not as_planned and position.epoch < epochs
    return {
        **about,
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "epochs": position.epochs_begun,
        "best_epoch": best.epoch + 1,
        **({"plans": [asdict(plan) for plan in position.plans]} if position.plans else {}),
        **({"stopped": True} if by_rule else {}),
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
        what: a description of the model, which the number of parameters follows.
        notes: lines of text after the description of the training.
        table: the lines of the table of figures.
        usage: lines of text about the usage of the model.
        summary: the result of `summary_of`.
        manifest: the manifest of the run.
    """
    methods = [f"Methods besides the settings: {', '.join(summary['methods'])}."] if "methods" in summary else []
    epochs = summary["epochs"]
    threads = f"{manifest['threads']} thread{'s' * (manifest['threads'] > 1)}"
    lines = [
        f"# {summary['recipe']} on {summary['corpus']}",
        "",
        f"{what}, {summary['parameters']:,} parameters,",
        f"vocabulary {manifest['data']['vocabulary']:,}. Trained for {epochs} epoch{'s' * (epochs != 1)} in "
        f"{duration(summary['train_seconds'])}; the figures",
        f"are those of the best epoch on validation, {summary['best_epoch']}.",
        *methods,
        *started_from(manifest),
        *(
            ["A rule stopped the run before its last epoch."]
            if summary.get("stopped")
            else planned_end(summary.get("plans", []))
        ),
        *notes,
        *changed_lines(manifest),
        "",
        *table,
        "",
        f"Measured with refrain {manifest['refrain']}, torch {manifest['torch']}, Python {manifest['python']} on "
        f"{manifest['machine']},",
        f"{threads}, seed {manifest['seed']}. `config.json` has every setting, `manifest.json`",
        "the sha256 of the text.",
        "",
        *usage,
    ]
    return "\n".join(lines) + "\n"


def started_from(manifest: dict[str, Any]) -> list[str]:
    """The line about the run from whose weights a run started."""
    if not manifest.get("start"):
        return []
    return [f"Started from the weights of {start_text(manifest['start'])}."]


def start_text(record: dict[str, Any]) -> str:
    """The run from which another one starts, and what becomes of its vocabulary.

    Args:
        record: the entry `start` of the manifest, see `load_start`.
    """
    parts = []
    for unit, found in record["units"].items():
        known, new, left_out = found["known"], found["new"], found["left_out"]
        if not new and not left_out:
            parts.append(f"all {known:,} {unit} known")
            continue
        part = f"{known:,} of {known + new:,} {unit} known, {new:,} new, {left_out:,} of the run's {unit} left out"
        if new and found.get("mean_of"):
            which = "rarest" if found["mean_of"] < known + left_out else unit
            part += f", new ones start at the mean of the run's {found['mean_of']:,} {which}"
        parts.append(part)
    if record.get("shorter_vectors"):
        parts.append(f"{record['shorter_vectors']:,} known words have shorter vectors than in the run")
    return f"{record['run']}{', compressed' * (record.get('compressed') is True)}: {'; '.join(parts)}"


def planned_end(plans: Sequence[dict[str, Any]]) -> list[str]:
    """The lines about a run that ended before its last epoch."""
    if not plans:
        return []
    last = plans[-1]
    reason = "the limit training.max_minutes" if last["reason"] == "max_minutes" else "--finish"
    return [f"The run ended after step {last['end']:,} by {reason}, decided at step {last['step']:,}."]


def changed_lines(manifest: dict[str, Any]) -> list[str]:
    """A line for each change of settings with which the run was resumed."""
    lines = []
    for entry in manifest.get("resumed", []):
        settings = ", ".join(
            f"{name}={value_text(each['after'])} (was {value_text(each['before'])})"
            for name, each in entry["settings"].items()
        )
        window = f" and window {entry['window']} of the next" if entry["window"] else ""
        given = f" with {settings}" if settings else ""
        lines += ["", f"Resumed after epoch {entry['epoch']}{window}{given}.", *entry.get("notes", [])]
    return lines


def evaluate_command(summary: Mapping[str, Any]) -> str:
    """The command that measures a run on its test text, or on its validation text where it has no other.

    Args:
        summary: the summary, with `run`, and the figures of `valid` and `test`.
    """
    return f"refrain evaluate {quote(str(summary['run']))}" + " --split valid" * bool(
        not summary["test"] and summary["valid"]
    )


def commands(run: str, *lines: str) -> list[str]:
    """The usage of a run by commands of refrain.

    Args:
        run: the run folder.
        lines: the commands.
    """
    return ["```sh", *lines, "```", "", *about_best(run, "given to the same commands")]


def about_best(run: str, use: str) -> list[str]:
    """The lines about the best checkpoint of a run.

    Args:
        run: the run folder.
        use: what can be done with it.
    """
    return [
        f"`best/` contains settings, weights and vocabulary, and can be {use}. It is a link: copy",
        f"what it leads to, with `cp -rL {quote(f'{run}/best')} PATH/TO/COPY`.",
    ]
