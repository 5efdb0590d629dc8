"""The command `refrain runs`."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from .options import JsonOption

if TYPE_CHECKING:
    from refrain.runs.listing import RunEntry

Order = Literal["name", "figure", "changed", "time", "size"]


def runs(folder: Path = Path("runs"), /, *, sort: Order = "name", json: JsonOption = False) -> None:
    """List the runs in a folder: what they train, how far they are, and their best figures.

    Runs are looked for four levels deep. A run is running if a process holds its lock; one on another machine, whose
    lock may not be seen, if it has written in the last ten minutes, and the list says so. It is finished if it has its
    final figures, and damaged if a file is missing or has another size than it should have; sha256 are not computed.

    Parameters
    ----------
    folder
        The folder, or a run.
    sort
        name; figure: the best validation first, where perplexities, bits per byte and figures of taggers are apart;
        changed: the latest first; time: the longest first; size: the largest first.
    """
    from refrain.errors import CheckpointError
    from refrain.runs.listing import DEPTH, entry_of, find_runs

    from .output import log, print_json, print_line, table

    if not folder.is_dir():
        raise CheckpointError(f"{folder}: no such folder; give one with runs, such as that of --out")
    entries = _sorted([entry_of(run) for run in find_runs(folder)], sort)
    if json:
        print_json({"folder": str(folder), "runs": [_document(entry) for entry in entries]})
        return
    if not entries:
        print_line(f"{folder}: no runs, looking {DEPTH} levels deep")
        return
    head = ["run", "state", "recipe", "model", "parameters", "epochs", "valid", "test", "size", "time", "changed"]
    print(table([head, *(_row(entry, folder) for entry in entries)]))
    for entry in entries:
        if entry.note:
            log(f"{entry.path}: {entry.note}")


def _sorted(entries: "list[RunEntry]", order: Order) -> "list[RunEntry]":
    from refrain.runs.figure_names import order as order_of

    keys: dict[str, Any] = {
        "name": lambda entry: 0,
        "figure": lambda entry: order_of(entry.valid, entry.unit),
        "changed": lambda entry: -entry.changed,
        "time": lambda entry: -(entry.seconds or 0),
        "size": lambda entry: -entry.bytes,
    }
    return sorted(entries, key=keys[order])


def _row(entry: "RunEntry", folder: Path) -> list[str]:
    from refrain.progress import duration
    from refrain.runs.figure_names import deciding_text

    inside = entry.path != folder
    return [
        str(entry.path.relative_to(folder) if inside else entry.path),
        entry.state,
        str(entry.settings.get("name", "-")),
        _model(entry.settings),
        "-" if entry.parameters is None else f"{entry.parameters:,}",
        _epochs(entry),
        deciding_text(entry.valid, entry.unit),
        deciding_text(entry.test, entry.unit),
        f"{entry.bytes / 1e6:,.1f} MB" if entry.bytes >= 1e6 else f"{entry.bytes / 1e3:,.0f} kB",
        "-" if entry.seconds is None else duration(entry.seconds),
        time.strftime("%Y-%m-%d %H:%M", time.localtime(entry.changed)) if entry.changed else "-",
    ]


def _epochs(entry: "RunEntry") -> str:
    """The epochs that have begun, of how many; - for a run that was not trained, as one that is compressed."""
    if entry.state == "finished" and not entry.epochs:
        return "-"
    training = _part(entry.settings, "training")
    rules = [name for name in ("stop_window", "stop_accuracy") if training.get(name) is not None]
    words = {"finish": "--finish", "rule": " or ".join(rules) or "a rule"}
    early = f" ({words.get(entry.ended_by, entry.ended_by)})" if entry.ended_by else ""
    return f"{entry.epochs}/{training.get('epochs', '?')}{early}"


def _part(settings: dict[str, Any], name: str) -> dict[str, Any]:
    """A group of settings; empty where the settings are damaged."""
    found = settings.get(name)
    return found if isinstance(found, dict) else {}


def _model(settings: dict[str, Any]) -> str:
    """The cells and widths of a model, as the lines before training have them; - where the settings are damaged."""
    try:
        model = settings["model"]
        sizes = "-".join(str(size) for size in (model["embedding_size"], *model["hidden_sizes"]))
        return f"{model['cell']['kind']} {sizes}"
    except (KeyError, TypeError):
        return "-"


def _document(entry: "RunEntry") -> dict[str, Any]:
    settings = entry.settings
    return {
        "run": str(entry.path),
        "state": entry.state,
        "note": entry.note,
        "recipe": settings.get("name"),
        "model": _model(settings),
        "corpus": _part(settings, "data").get("corpus"),
        "parameters": entry.parameters,
        "epochs": entry.epochs,
        "valid": entry.valid,
        "test": entry.test,
        "bytes": entry.bytes,
        "seconds": entry.seconds,
        "changed": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(entry.changed)),
    }
