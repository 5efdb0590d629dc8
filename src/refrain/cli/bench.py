"""`refrain bench`."""

import sys
from typing import Annotated

from cyclopts import Parameter

BENCHES = ("train",)


def bench(
    name: str,
    /,
    *settings: str,
    recipe: str = "zaremba-small",
    windows: int = 20,
    repeats: int = 7,
    json: Annotated[bool, Parameter(negative=())] = False,
) -> None:
    """Paired measurements of speed on this machine.

    train: tokens per second of training, against the same model in a plain PyTorch loop and against the rate that the
    machine reaches on matrix products alone. The ratio is the median of the ratios pair by pair.

    Parameters
    ----------
    name
        Which measurement: train.
    settings
        Settings that change the recipe, such as model.hidden_sizes=[650,650].
    recipe
        Whose model and training settings are measured.
    windows
        Windows in a timed call.
    repeats
        Timed calls of each candidate; they take turns.
    json
        Print one JSON object.
    """
    from refrain.errors import UserError
    from refrain.recipes import recipe as build_recipe

    from .output import print_json, table

    if name not in BENCHES:
        raise UserError(f"unknown bench {name!r}; known: {', '.join(BENCHES)}")
    if windows < 1 or repeats < 1:
        raise UserError(f"--windows and --repeats must be at least 1 (got {windows} and {repeats})")
    experiment = build_recipe(recipe, *settings)

    import torch

    from refrain.bench import bench_train

    print(
        f"{recipe}: {repeats} repeats of {windows} windows, float32, {torch.get_num_threads()} threads",
        file=sys.stderr,
    )
    rows = bench_train(experiment, windows=windows, repeats=repeats)
    if json:
        print_json({"bench": name, "recipe": recipe, "threads": torch.get_num_threads(), "rows": rows})
        return
    lines = [["", "median", "low", "high", "", "ratio", "of the limit"]]
    for row in rows:
        figures = [f"{row[key]:,.0f}" for key in ("median", "low", "high")]
        ratio = "" if row["ratio"] is None else f"{row['ratio']:.2f}"
        lines.append([row["name"], *figures, row["unit"], ratio, f"{row['of_limit']:.0%}"])
    print(table(lines))
