"""Lists the runs below a folder: their states, settings, figures, sizes and times, from what a run folder holds.

Nothing is changed, no tensor is read, and torch is not imported.
"""

import contextlib
import math
import os
import socket
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, NamedTuple

from refrain.errors import CheckpointError
from refrain.storage.checkpoint_manifest import check_sizes
from refrain.storage.locks import is_locked, owner_of
from refrain.storage.plain_json import loads
from refrain.storage.regular_files import is_link, read_regular
from refrain.storage.run_folder import TEXT_LIMIT
from refrain.storage.run_layout import best_of, steps_in

from .figure_names import comparable

State = Literal["running", "stopped", "finished", "damaged"]

DEPTH = 4
"""The number of levels below a folder at which runs are looked for."""
RECENT_SECONDS = 600.0
"""A run on another machine, whose lock cannot be seen, counts as running if it has written in so many seconds."""
METRICS_LIMIT = 2**28
# what is read of lines of metrics for the best validation
_FIGURES = ("perplexity", "nats_per_token", "bits_per_byte", "accuracy", "span_f1")


class RunEntry(NamedTuple):
    """A run in a list.

    Attributes:
        path: the run folder.
        state: `running`: a process holds its lock; of a run on another machine, it has written lately, and `note` has
            these words. `finished`: it has its final figures. `damaged`: a file is missing, cannot be read, or has
            another size than its manifest has. Otherwise `stopped`.
        note: what is damaged, or who trains the run.
        settings: the content of `experiment` in its `config.json`; empty where it cannot be read.
        parameters: the number of parameters; None where it is not known.
        epochs: the number of epochs that have begun.
        valid: the figures of the best validation, as `comparable` returns them; empty without one.
        test: the figures of the test text; empty before the run is finished.
        bytes: the size of its files.
        seconds: the time of training.
        changed: the time of the last change, in seconds since 1970.
        task: `language-model` or `tagger`; empty where it cannot be read.
        compressed: of a compressed run the path of the run that it was made of, as `compressed_from`, and the dtype of
            its `weights`; empty for others.
        ended_by: `max_minutes`, `finish` or `rule`, by which it has ended before its last epoch; empty for others.
    """

    path: Path
    state: State
    note: str
    settings: dict[str, Any]
    parameters: int | None
    epochs: int
    valid: dict[str, Any]
    test: dict[str, Any]
    bytes: int
    seconds: float | None
    changed: float
    task: str = ""
    compressed: Mapping[str, str] = MappingProxyType({})
    ended_by: str = ""

    @property
    def unit(self) -> Any:
        """The setting `data.unit`; None for a tagger, and where it is not known."""
        data = self.settings.get("data")
        return data.get("unit") if isinstance(data, dict) else None


def find_runs(folder: Path, depth: int = DEPTH) -> Iterator[Path]:
    """The run folders at a path or below it, sorted by name. Links to folders are not followed.

    Args:
        folder: the folder, which may be a run itself.
        depth: the number of levels below the folder.
    """
    if is_run(folder):
        yield folder
    elif depth:
        with contextlib.suppress(OSError), os.scandir(folder) as entries:
            inside = sorted(entry.name for entry in entries if entry.is_dir(follow_symlinks=False))
            for name in inside:
                if not name.startswith("."):
                    yield from find_runs(folder / name, depth - 1)


def is_run(folder: Path) -> bool:
    """Whether a folder is that of a run, whatever has become of it."""
    return (folder / "checkpoints").is_dir() and any(
        os.path.lexists(folder / name) for name in ("config.json", "manifest.json", ".lock", "best")
    )


def entry_of(run: Path) -> RunEntry:
    """Describe a run from the files in its folder.

    Args:
        run: the run folder.
    """
    problems: list[str] = []
    config = _read(run / "config.json", problems)
    summary = _read(run / "summary.json", problems) if os.path.lexists(run / "summary.json") else {}
    settings = config.get("experiment", {}) if config else {}
    metrics = _metrics(run, problems)
    problems += _damage(run)
    changed = _changed(run)
    state, note = _state(run, summary, problems, changed, started=bool(config) or bool(steps_in(run / "checkpoints")))
    settings = settings if isinstance(settings, dict) else {}
    training = settings.get("training")
    best_by = training.get("best_by") if isinstance(training, dict) else None
    last = metrics[-1] if metrics else {}
    after = summary.get("after")
    parameters = summary.get("parameters") or (after.get("parameters") if isinstance(after, dict) else None)
    return RunEntry(
        path=run,
        state=state,
        note=note,
        settings=settings,
        parameters=parameters if isinstance(parameters, int) else None,
        epochs=finite_number(summary.get("epochs") or last.get("epoch")) or 0,
        valid=_figures(summary.get("valid"), best_by) or _figures(_best(metrics), best_by),
        test=_figures(summary.get("test") or _of_compressed(summary, settings), best_by),
        bytes=_size(run),
        seconds=finite_number(summary.get("train_seconds", last.get("wall_seconds"))),
        changed=changed,
        task=str(config.get("task", "")) if config else "",
        compressed=_compressed(summary),
        ended_by="rule" if summary.get("stopped") is True else _ended_by(summary.get("plans")),
    )


def _read(path: Path, problems: list[str]) -> dict[str, Any]:
    """A JSON object; what is wrong with it is added to the problems."""
    try:
        found = loads(read_regular(path, limit=TEXT_LIMIT, follow_links=False))
        if isinstance(found, dict):
            return found
        problems.append(f"{path.name}: is not a JSON object")
    except OSError as error:
        problems.append(f"{path.name}: {error.strerror}")
    except ValueError as error:
        problems.append(f"{path.name}: is not JSON ({error})")
    return {}


def _metrics(run: Path, problems: list[str]) -> list[dict[str, Any]]:
    """The lines of validations, and the last line; one that was cut by a crash is left out, as when resuming."""
    try:
        lines = read_regular(run / "metrics.jsonl", limit=METRICS_LIMIT, follow_links=False).split(b"\n")[:-1]
    except FileNotFoundError:
        return []
    except OSError as error:
        problems.append(f"metrics.jsonl: {error.strerror}")
        return []
    found = []
    for line in [line for line in lines[:-1] if b'"event": "valid"' in line] + lines[-1:]:
        with contextlib.suppress(ValueError):
            record = loads(line)
            found += [record] if isinstance(record, dict) else []
    return found


def _damage(run: Path) -> list[str]:
    """What is wrong with the best and the newest checkpoint, as far as sizes tell."""
    try:
        best = best_of(run)
    except CheckpointError as error:
        return [str(error)]
    found = []
    for folder in {path.resolve(): path for path in [*([best] if best else []), *steps_in(run / "checkpoints")[-1:]]}:
        try:
            check_sizes(folder)
        except CheckpointError as error:
            found.append(str(error))
    return found


def _state(
    run: Path, summary: dict[str, Any], problems: list[str], changed: float, *, started: bool
) -> tuple[State, str]:
    owner, host = owner_of(run)
    away = host not in ("", socket.gethostname())
    try:
        if is_locked(run):
            return "running", owner
    except FileNotFoundError:
        away = False
    except OSError:
        # a file system without locks, where only the files tell
        away = bool(owner)
    ago = time.time() - changed
    if away and not summary and ago < RECENT_SECONDS:
        return "running", f"{owner}, as its files of {max(ago, 0):.0f} s ago suggest"
    if problems and started:
        return "damaged", "; ".join(problems)
    if summary:
        return "finished", ""
    return "stopped", "" if steps_in(run / "checkpoints") else "has no checkpoint yet"


def _best(metrics: list[dict[str, Any]]) -> dict[str, Any]:
    """The line of the best validation so far; empty without one."""
    valid = [line for line in metrics if line.get("event") == "valid"]
    best = [line for line in valid if line.get("best")]
    return best[-1] if best else {}


def _figures(found: Any, best_by: Any) -> dict[str, Any]:
    if not isinstance(found, dict):
        return {}
    figures = comparable(found, best_by)
    values = {name: figures.get(name) for name in _FIGURES}
    return {
        name: value
        for name, value in values.items()
        if finite_number(value) is not None or (name == "perplexity" and value == math.inf)
    }


def _ended_by(plans: Any) -> str:
    """The reason of the last plan of a summary; empty without one."""
    last = plans[-1] if isinstance(plans, list) and plans else None
    reason = last.get("reason") if isinstance(last, dict) else None
    return reason if reason in ("max_minutes", "finish") else ""


def _compressed(summary: dict[str, Any]) -> dict[str, str]:
    """What a compressed run was made of, and the dtype of its weights; nothing for another run."""
    if not isinstance(summary.get("before"), dict) or not isinstance(summary.get("after"), dict):
        return {}
    return {"compressed_from": str(summary.get("run", "")), "weights": str(summary.get("weights", "float32"))}


def _of_compressed(summary: dict[str, Any], settings: dict[str, Any]) -> dict[str, Any]:
    """The figures of a compressed run on its test text; empty for another run, or one measured on another text."""
    if not _compressed(summary) or summary.get("data") is not None:
        return {}
    figures = dict(summary["after"])
    if "perplexity" in figures:
        value = figures["perplexity"] = math.inf if figures["perplexity"] is None else figures["perplexity"]
        nats = math.log(value) if finite_number(value) is not None and value > 0 else None
        data = settings.get("data")
        figures["nats_per_token"] = nats
        if nats is not None and isinstance(data, dict) and data.get("unit") == "byte":
            figures["bits_per_byte"] = nats / math.log(2)
    return figures


def finite_number(value: Any) -> Any:
    """A finite number; None for anything else, which a document that was edited may have.

    Args:
        value: a value of a JSON document.
    """
    known = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    return value if known else None


def _size(folder: Path) -> int:
    """The bytes of the files in a folder; links are not followed."""
    total = 0
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            with contextlib.suppress(OSError):
                if entry.is_dir(follow_symlinks=False):
                    total += _size(Path(entry.path))
                elif not is_link(entry.path):
                    total += entry.stat(follow_symlinks=False).st_size
    return total


def _changed(run: Path) -> float:
    """The time of the last change of the files that a run writes."""
    times = [0.0]
    for name in ("config.json", "metrics.jsonl", "checkpoints", "summary.json"):
        with contextlib.suppress(OSError):
            times.append((run / name).lstat().st_mtime)
    return max(times)
