"""The command `refrain bench score`."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .options import Device

LINES = 1000


def bench_score(
    recipe: str,
    settings: tuple[str, ...],
    lines: int | None,
    repeats: int,
    device: Device,
    models: Sequence[Path],
    ngram: Path | None,
    *,
    json: bool,
) -> None:
    """Measure the scoring of lines and n-best lists, and print a row for each way.

    Args:
        recipe: the recipe whose model is measured.
        settings: settings that change the recipe.
        lines: the number of lines of a timed call; None is 1000.
        repeats: the number of timed calls of each.
        device: must be `cpu` or `auto`.
        models: at most one run, which is measured on its test text as well.
        ngram: an n-gram model that is measured beside the run.
        json: whether one JSON object is printed.

    Raises:
        UserError: when an argument is wrong or cannot take effect.
    """
    from refrain.config import TaggerExperiment, resolve
    from refrain.errors import UserError
    from refrain.recipes import RECIPES

    from .output import log, print_json

    if device == "cuda":
        raise UserError("bench score measures one thread of the CPU; use --device cpu")
    amount = LINES if lines is None else lines
    if min(amount, repeats) < 1:
        raise UserError(f"--windows and --repeats must be at least 1 (got {amount} and {repeats})")
    experiment = resolve(recipe, settings, RECIPES)
    if isinstance(experiment, TaggerExperiment):
        raise UserError(f"{recipe} is a tagger; choose the recipe of a language model, such as zaremba-small")

    from refrain.bench import bench_score as measure
    from refrain.nn.kernels.compile import processor_name
    from refrain.progress import reporter, timing_reports

    machine = f"{processor_name()}, 1 thread"
    log(f"{recipe}: {repeats} repeat{'s' * (repeats > 1)} of {amount} lines on {machine}")
    with timing_reports(reporter()).step("measuring score, in turns"):
        rows = measure(experiment, lines=amount, repeats=repeats)
    if json:
        print_json({"bench": "score", "recipe": recipe, "device": machine, "threads": 1, "rows": rows})
        return
    _print(rows)


def _print(rows: list[dict[str, Any]]) -> None:
    from .output import table

    lines = [["", "median", "low", "high", "", "ratio"]]
    for row in rows:
        figures = [f"{row[key]:,.0f}" for key in ("median", "low", "high")]
        lines.append([row["name"], *figures, row["unit"], f"{row['ratio']:.2f}"])
    print(table(lines))
