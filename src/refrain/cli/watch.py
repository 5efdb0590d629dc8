"""The command `refrain watch`."""

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .options import Flag, JsonOption

if TYPE_CHECKING:
    from collections.abc import Callable

    from refrain.runs.watching import LiveRun

# a day, in seconds
LONGEST_PAUSE = 86_400
HEAD = ("run", "state", "epoch", "train", "best valid", "tokens/s", "epoch left", "run left", "time", "what")


def watch(
    folder: Path = Path("runs"),
    /,
    *,
    all: Flag = False,
    every: float = 2.0,
    port: int | None = None,
    json: JsonOption = False,
) -> None:
    """Show the runs that are training: epoch, figures, speed and the time left, as a table that follows them.

    The runs may train on this machine, or on others that share the folder; only files are read, and nothing is changed.
    On a terminal the table is updated until Ctrl-C; otherwise, and with --json, it is printed once. Runs that ended or
    stopped within the last hour are shown too.

    Parameters
    ----------
    folder
        The folder, or a run. Runs are looked for four levels deep.
    all
        Show all runs, whatever the time of their last change.
    every
        The seconds between updates.
    port
        Show the same as a page in a browser, at this port of this machine only; 0 chooses a free one.
    """
    from refrain.errors import CheckpointError, UserError
    from refrain.runs.watching import live_runs

    from .output import print_json

    if not folder.is_dir():
        raise CheckpointError(f"{folder}: no such folder; give one with runs, such as that of --out")
    if not 0 < every <= LONGEST_PAUSE:
        raise UserError(f"--every must be greater than 0 and at most {LONGEST_PAUSE:,} (got {every:g})")
    if json and port is not None:
        raise UserError("--json and --port exclude each other: the page has the same at /runs.json")

    def now() -> "list[LiveRun]":
        return live_runs(folder, recent_seconds=float("inf") if all else 3600.0)

    if port is not None:
        from refrain.serve.run_page import serve_runs

        serve_runs(folder, lambda: document(now(), folder), port=port, seconds=every)
    elif json:
        print_json(document(now(), folder))
    elif sys.stdout.isatty():
        _follow(folder, now, every, all=all)
    else:
        print(_text(folder, now(), all=all), flush=True)


def _follow(folder: Path, now: "Callable[[], list[LiveRun]]", every: float, *, all: bool) -> None:
    """Show the table on the terminal, and update it until a signal ends the command."""
    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

    # a table that is higher than the terminal is cut
    with Live(console=Console(highlight=False), auto_refresh=False, vertical_overflow="ellipsis") as live:
        while True:
            live.update(Text(_text(folder, now(), all=all), no_wrap=True, overflow="ellipsis"), refresh=True)
            time.sleep(every)


def _text(folder: Path, runs: "list[LiveRun]", *, all: bool) -> str:
    from .output import table

    if not runs and all:
        return f"{folder}: no run; give a folder with runs, such as that of --out"
    if not runs:
        return f"{folder}: no run trains, or has ended within the last hour; --all shows all runs"
    rows = [list(_row(run, folder).values()) for run in runs]
    notes = [f"{_name(run, folder)}: {run.entry.note}" for run in runs if run.entry.state == "damaged"]
    return "\n".join([table([list(HEAD), *rows]), *notes])


def document(runs: "list[LiveRun]", folder: Path) -> dict[str, Any]:
    """The runs as one JSON object: the texts of the table, and the numbers.

    Args:
        runs: the runs.
        folder: the folder that is watched.
    """
    return {
        "folder": str(folder),
        "runs": [
            {
                "run": str(run.entry.path),
                "state": run.entry.state,
                "note": run.entry.note,
                "epoch": run.epoch,
                "epochs": run.epochs,
                "share": run.share,
                "train": {name: run.train[name] for name in _TRAINED if name in run.train},
                "valid": run.entry.valid,
                "tokens_per_second": run.tokens_per_second,
                "epoch_seconds_left": run.epoch_seconds_left,
                "seconds_left": run.seconds_left,
                "seconds": run.entry.seconds,
                "curve": run.curve,
                "texts": _row(run, folder),
            }
            for run in runs
        ],
    }


_TRAINED = ("step", "last_step", "learning_rate", "nats_per_token", "perplexity", "bits_per_byte", "gradient_norm",
            "sparsity", "dead_units", "compact_parameters")  # fmt: skip


def _name(run: "LiveRun", folder: Path) -> str:
    path = run.entry.path
    return str(path.relative_to(folder) if path != folder else path)


def _row(run: "LiveRun", folder: Path) -> dict[str, str]:
    """The cells of a run in the table, by the names of its columns."""
    from refrain.progress import duration
    from refrain.runs.figure_names import deciding_text

    entry = run.entry
    epoch = f"{run.epoch}/{run.epochs or '?'}" + ("" if run.share is None else f" {run.share:4.0%}")
    if entry.state == "finished" and not run.epoch:
        # compressed or imported, and not trained
        epoch = "-"
    seconds = [run.epoch_seconds_left, run.seconds_left, entry.seconds]
    left = ["-" if value is None else duration(value) for value in seconds]
    speed = "-" if run.tokens_per_second is None or entry.state != "running" else f"{run.tokens_per_second:,.0f}"
    valid = deciding_text(entry.valid, entry.unit)
    cells = [_name(run, folder), entry.state, epoch, _loss(run), valid, speed, *left, _what(run)]
    return dict(zip(HEAD, cells, strict=True))


def _loss(run: "LiveRun") -> str:
    """The figure of the last training windows in the unit of the validation."""
    from refrain.runs.figure_names import deciding_text

    if run.entry.task == "tagger" and isinstance(run.train.get("nats_per_token"), float):
        return f"{run.train['nats_per_token']:.4f} nats"
    return deciding_text(run.train, run.entry.unit)


def _what(run: "LiveRun") -> str:
    """The recipe; and of a model that shrinks, its size and how many units are dead."""
    what = str(run.entry.settings.get("name", "-"))
    left, dead = run.train.get("compact_parameters"), run.train.get("dead_units")
    if isinstance(left, int):
        what += f", {left:,} parameters left"
    if isinstance(dead, dict) and all(isinstance(count, int) for count in dead.values()):
        what += f", {sum(dead.values()):,} units dead"
    return what
