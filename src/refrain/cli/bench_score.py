"""The command `refrain bench score`."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .options import Device

if TYPE_CHECKING:
    from refrain.runs import SavedModel

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

    if ngram is not None and not models:
        raise UserError("--ngram is measured beside a network; give the run of one with --run")
    if len(models) > 1:
        raise UserError(f"bench score measures one --run (got {len(models)})")
    saved = _saved(models[0], ngram) if models else None

    from refrain.bench import bench_score as measure
    from refrain.nn.kernels.levels import processor_name
    from refrain.progress import reporter, timing_reports

    machine = f"{processor_name()}, 1 thread"
    log(f"{recipe}: {repeats} repeat{'s' * (repeats > 1)} of {amount} line{'s' * (amount > 1)} on {machine}")
    reports = timing_reports(reporter())
    with reports.step("measuring score, in turns"):
        rows = measure(experiment, lines=amount, repeats=repeats)
    on_text = [] if saved is None else _measure_run(saved, ngram, repeats)
    if json:
        about = {"bench": "score", "recipe": recipe, "device": machine, "threads": 1}
        print_json({**about, "rows": rows, "models": on_text})
        return
    _print(rows)
    if on_text:
        print()
        _print_models(on_text)


def _saved(run: Path, ngram: Path | None) -> "SavedModel":
    """The run of a language model, one of words if an n-gram model is measured beside it."""
    from refrain import runs

    from .mixing import check_words

    saved = runs.find_language_model(run)
    if ngram is not None:
        check_words(saved, "--ngram")
    return saved


def _measure_run(saved: "SavedModel", ngram: Path | None, repeats: int) -> list[dict[str, Any]]:
    """Measure the run on the lines of its test text, with an n-gram model beside it."""
    from refrain import runs
    from refrain.bench.score_models import bench_models
    from refrain.evaluation.interpolation import MixedStepper, fit_weight

    from .mixing import validation_text
    from .texts import split_of

    lm = runs.load_language_model(saved)
    vocabulary: Any = lm.vocabulary
    tokens = split_of(saved, vocabulary, "test")
    texts = vocabulary.decode(tokens.read(0, len(tokens)).tolist()).removesuffix("\n").split("\n")

    def weight(mixture: MixedStepper) -> float:
        return fit_weight(mixture, validation_text(saved, vocabulary)).weight

    return bench_models(lm.model, vocabulary, texts, ngram, weight, repeats=repeats, run=saved.path)


def _print(rows: list[dict[str, Any]]) -> None:
    from .output import table

    lines = [["", "median", "low", "high", "", "ratio"]]
    for row in rows:
        figures = [f"{row[key]:,.0f}" for key in ("median", "low", "high")]
        lines.append([row["name"], *figures, row["unit"], f"{row['ratio']:.2f}"])
    print(table(lines))


def _print_models(rows: list[dict[str, Any]]) -> None:
    from .output import table

    lines = [["", "perplexity", "tokens/CPU s", "ratio", "memory", "size"]]
    for row in rows:
        memory = "" if row["memory"] is None else f"{row['memory'] / 1e6:,.0f} MB"
        figures = [f"{row['perplexity']:.2f}", f"{row['median']:,.0f}", f"{row['ratio']:.2f}"]
        lines.append([row["name"], *figures, memory, f"{row['size'] / 1e6:,.1f} MB"])
    print(table(lines))
