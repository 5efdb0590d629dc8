"""The options of `refrain bench`: which bench has which, and their defaults."""

import re
from pathlib import Path

# bench -> the default recipe, whose model and settings are measured
BENCHES = {
    "train": "zaremba-small",
    "weight-drop": "awd-lstm-ptb",
    "cache": "zaremba-small",
    "cells": "mlstm-bytes-reference",
    "sparse": "sparse-awd-ptb",
    "step": "zaremba-large",
    "compress": "zaremba-large",
    "export": "zaremba-medium",
    "group-lasso": "zaremba-medium",
    "compressors": "mlstm-bytes",
    "sizes": "zaremba-small",
    "tag": "pos-default",
    "score": "zaremba-small",
    "parallel": "zaremba-medium",
    "prepare": "zaremba-small",
    "auto": "zaremba-small",
    "load": "zaremba-small",
    "serve": "zaremba-small",
}
# bench -> the default hidden widths; export has no second model by default
WIDTHS = {"cells": "128,512", "compress": "373,315", "export": ""}
NO_RECIPE = ("sparse", "sizes", "auto", "serve")
CPU_ONLY = ("step", "compress", "export", "load")
REPEATS = 7
# these time nothing in turns
NO_REPEATS = ("compressors", "sizes", "serve")
# bench -> the unit of the work in a timed call; cells and sparse have fixed windows
UNITS = {
    "train": "windows",
    "weight-drop": "windows",
    "cache": "windows",
    "step": "tokens",
    "compress": "tokens",
    "export": "tokens",
    "group-lasso": "windows",
    "score": "lines",
    "parallel": "windows",
    "load": "windows",
}


def idle_of(
    name: str,
    *,
    run: list[Path] | None,
    data: str | None,
    plot: Path | None,
    force: bool,
    ngram: Path | None,
    processes: int | None,
    megabytes: int | None,
    clients: int | None,
    seconds: float | None,
) -> dict[str, bool]:
    """Options that only some benches have, and whether they are given to one that has not."""
    no_plot = name in ("compressors", "sizes", "tag", "score", "parallel", "prepare", "auto", "serve")
    return {
        "--run": bool(run) and name not in ("compressors", "sizes", "score", "serve"),
        "--data": data is not None and name not in ("compressors", "sizes", "tag", "prepare"),
        "--plot": plot is not None and no_plot,
        "--force": force and name in ("sizes", "tag", "score", "parallel", "prepare", "auto", "serve"),
        "--processes": processes is not None and name != "parallel",
        "--ngram": ngram is not None and name != "score",
        "--megabytes": megabytes is not None and name != "prepare",
        "--clients": clients is not None and name != "serve",
        "--seconds": seconds is not None and name != "serve",
    }


def amounts_of(windows: int | None, repeats: int, cache_window: int | None) -> tuple[int, int]:
    """The windows of a timed call and of a cache, with their defaults."""
    from refrain.errors import UserError

    found = (20 if windows is None else windows, 2000 if cache_window is None else cache_window)
    if min(*found, repeats) < 1:
        raise UserError(
            f"--windows, --repeats and --cache-window must be at least 1 (got {found[0]}, {repeats} and {found[1]})"
        )
    return found


def check_name(name: str) -> None:
    """Check that there is a bench of a name.

    Raises:
        UserError: when there is none.
    """
    from refrain.errors import UserError, nearest

    if name not in BENCHES:
        raise UserError(f"unknown bench {name!r}{nearest(name, BENCHES)}; known: {', '.join(BENCHES)}")


def refuse_idle(
    name: str,
    settings: tuple[str, ...],
    idle: dict[str, bool],
    *,
    recipe: str | None,
    widths: str | None,
    with_runs: bool,
    **amounts: int | None,
) -> None:
    """Refuse options and settings that cannot take effect in a bench, and those that `idle` names already."""
    from refrain.errors import UserError

    # the corpus is read as by the first run
    by_run = name == "compressors" and with_runs
    idle["--widths"] = widths is not None and name not in WIDTHS
    idle["--windows"] = amounts["windows"] is not None and name not in UNITS
    idle["--cache-window"] = amounts["cache_window"] is not None and name != "cache"
    idle["--repeats"] = amounts["repeats"] is not None and name in NO_REPEATS
    idle["--recipe"] = recipe is not None and (name in NO_RECIPE or by_run)
    for word in settings:
        key = word.partition("=")[0]
        idle[key] = (
            name in NO_RECIPE
            or by_run
            or (name == "cells" and key not in ("model.cell", "training.seed"))
            or (name in ("compressors", "prepare") and not key.startswith("data."))
        )
    if found := [option for option, given in idle.items() if given]:
        where = f"bench {name}{' with --run' if by_run else ''}"
        raise UserError(f"{', '.join(found)} cannot take effect in {where}; see refrain bench --help")


def widths_of(name: str, widths: str | None) -> tuple[int, ...]:
    """The widths that --widths gives, or the default of a bench.

    Raises:
        UserError: when they are no whole numbers.
    """
    from refrain.errors import UserError

    words = widths or WIDTHS.get(name, "1")
    if not words:
        return ()
    if not re.fullmatch(r"[1-9]\d*(,[1-9]\d*)*", words):
        raise UserError(f"--widths must be whole numbers separated by commas, as in 373,315 (got {widths!r})")
    return tuple(int(width) for width in words.split(","))
