"""The command `refrain bench tag`."""

from typing import Any

from .options import Device


def bench_tag(
    recipe: str,
    settings: tuple[str, ...],
    data: str | None,
    repeats: int,
    device: Device,
    *,
    json: bool,
) -> None:
    """Measure a tagger and a conditional random field on one corpus, and print a row for each.

    Args:
        recipe: the recipe of the tagger.
        settings: settings that change the recipe.
        data: the corpus; None for that of the recipe.
        repeats: the number of seeds.
        device: must be `cpu` or `auto`.
        json: whether one JSON object is printed.

    Raises:
        UserError: when the device is not the CPU, `repeats` is not positive, or the recipe is not a tagger.
    """
    from refrain.config import TaggerExperiment, resolve
    from refrain.errors import UserError
    from refrain.recipes import RECIPES

    from .output import log, print_json

    if device == "cuda":
        raise UserError("bench tag measures one thread of the CPU; use --device cpu")
    if repeats < 1:
        raise UserError(f"--repeats must be at least 1 (got {repeats})")
    for word in settings:
        if word in RECIPES:
            raise UserError(f"give the recipe as an option: --recipe {word}")
    experiment = resolve(recipe, settings, RECIPES, corpus=data)
    if not isinstance(experiment, TaggerExperiment):
        raise UserError(f"{recipe} is a language model; choose the recipe of a tagger, such as pos-default")

    from refrain.bench import bench_tag as measure
    from refrain.bench.tag import has_crf
    from refrain.training import progress

    if not has_crf():
        log("sklearn-crfsuite is not installed, so nothing is compared; pip install sklearn-crfsuite")
    rows = measure(experiment, repeats=repeats, progress=progress, log=log)
    if json:
        print_json({"bench": "tag", "recipe": recipe, "corpus": experiment.data.corpus, "threads": 1, "rows": rows})
        return
    _print(rows)


def _print(rows: list[dict[str, Any]]) -> None:
    from .output import table

    heading = ["", "seeds", "accuracy", "95 % interval", "unseen words", "95 % interval", "CPU s"]
    lines = [[*heading, "against the CRF", "on unseen words"]]
    for row in rows:
        figures = [
            text for key in ("accuracy", "unseen") for text in (_percent(row[key]), _span(row[f"{key}_interval"]))
        ]
        against = [_against(row[key], row[f"{key}_interval"]) for key in ("difference", "unseen_difference")]
        lines.append([row["name"], str(row["runs"]), *figures, f"{row['cpu_seconds']:.1f}", *against])
    print(table(lines))


def _percent(share: float | None) -> str:
    return "" if share is None else f"{100 * share:.2f} %"


def _against(difference: float | None, interval: tuple[float, float] | None) -> str:
    if difference is None or interval is None:
        return ""
    return f"{100 * difference:+.2f} ({100 * interval[0]:+.2f} to {100 * interval[1]:+.2f})"


def _span(interval: tuple[float, float] | None) -> str:
    return "" if interval is None else f"{100 * interval[0]:.2f} to {100 * interval[1]:.2f}"
