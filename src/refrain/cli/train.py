"""`refrain train`."""

import shlex
import sys
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

if TYPE_CHECKING:
    from refrain.config import AnyExperiment


def train(
    recipe: str | None = None,
    /,
    *settings: str,
    data: str | None = None,
    out: Path | None = None,
    start_from: Annotated[Path | None, Parameter(name="--from")] = None,
    iss_json: Path | None = None,
    resume: Annotated[bool, Parameter(negative=())] = False,
    force: Annotated[bool, Parameter(negative=())] = False,
    errors: Literal["strict", "replace"] | None = None,
    skip_bad: Annotated[bool, Parameter(negative=())] = False,
    seeds: int | None = None,
    quiet: Annotated[bool, Parameter(negative=())] = False,
    json: Annotated[bool, Parameter(negative=())] = False,
) -> None:
    """Train a language model or a tagger, or continue a run.

    Parameters
    ----------
    recipe
        A recipe's name (see refrain recipes) or a TOML file. Not needed with --resume.
    settings
        Settings such as training.epochs=3 or model.hidden_sizes=[200,200].
    data
        The corpus: a folder of splits, a file, or a name (see refrain data); for bytes any folder or a pattern.
    out
        The run folder. By default a new one under runs/.
    start_from
        Start with the best weights of another run, as for finetuning.
    iss_json
        A JSON file of iss-rnns, for the settings that it has: learning rate, dropout, penalties, where to save.
    resume
        Continue the run in --out where its newest checkpoint stands.
    force
        Replace a run that stands in --out.
    errors
        What invalid UTF-8 in the corpus does: stop (strict) or become U+FFFD (replace).
    skip_bad
        Leave out tagged sentences with mistakes and list them, instead of stopping.
    seeds
        Train so many runs, with the recipe's seed and those after it, and report mean and standard deviation.
    quiet
        Say nothing while training.
    json
        Print the summary as one JSON object.
    """
    from refrain.errors import UserError
    from refrain.recipes import recipe as build_recipe

    from .corpus import as_kept

    if recipe is not None and "=" in recipe:
        settings, recipe = (recipe, *settings), None
    if recipe is None and not resume:
        raise UserError("which recipe? try: refrain train quickstart, or see: refrain recipes")
    if resume:
        _check_resume(out, start_from, force=force, seeds=seeds)
    words = [*settings, *([f'data.errors="{errors}"'] if errors else []), *(["data.skip_bad=true"] if skip_bad else [])]
    if recipe is None and (words or data or iss_json):
        raise UserError(
            "--resume takes its settings from the run; leave the others out, or start a new run with other settings "
            "from its weights: refrain train RECIPE --from RUN"
        )
    corpus = as_kept(data)
    given = str(iss_json) if iss_json else None
    experiment = build_recipe(recipe, *words, data=corpus, iss_json=given) if recipe else None

    from refrain import runs
    from refrain.training import progress

    shown = partial(progress, quiet=quiet)
    if resume:
        assert out is not None
        if runs.has_seeds(out):
            summary = runs.resume_seeds(out, experiment=experiment, progress=shown)
        else:
            summary = runs.resume(out, experiment=experiment, progress=shown())
    else:
        assert recipe is not None and experiment is not None
        _tell_stage(recipe, start_from)
        place = out or _place(given) / f"{experiment.name}-{time.strftime('%Y%m%d-%H%M%S')}"
        text = _as_given(recipe, words, corpus, experiment, whole=iss_json is not None)
        command = shlex.join(["refrain", *sys.argv[1:]])
        more: Any = {"start_from": start_from, "force": force, "recipe_text": text, "command": command}
        if seeds is None:
            summary = runs.train(experiment, place, progress=shown(), **more)
        else:
            summary = runs.train_seeds(experiment, place, seeds, progress=shown, **more)
    _report(summary, json)


def _tell_stage(recipe: str, start_from: Path | None) -> None:
    """Say what a recipe is for that goes on from a trained run, where none is given."""
    from refrain.recipes import SECOND_STAGES

    from .output import say

    if recipe in SECOND_STAGES and start_from is None:
        say(f"{recipe} is made to go on from a trained run, with --from RUN; without, it starts from random weights")


def _check_resume(out: Path | None, start_from: Path | None, *, force: bool, seeds: int | None) -> None:
    from refrain.errors import UserError

    if out is None:
        raise UserError("--resume needs the run folder: --out RUN")
    if start_from is not None:
        raise UserError("--resume and --from exclude each other: a run that is continued has started already")
    if force or seeds is not None:
        raise UserError(f"--resume and {'--force' if force else '--seeds'} exclude each other")


def _place(iss_json: str | None) -> Path:
    """Where a run folder is made that was not named."""
    from refrain.config.iss_json import read_iss_json

    return Path(str(read_iss_json(iss_json).get("save_path", "runs")) if iss_json else "runs")


def _as_given(recipe: str, words: list[str], corpus: str | None, experiment: "AnyExperiment", *, whole: bool) -> str:
    """What was asked for, as a TOML file that asks for the same again; of a file, every setting it came to."""
    from json import dumps

    from refrain.config.loader import value_of
    from refrain.config.schema import as_set, as_toml, flatten

    def quoted(value: object) -> str:
        # TOML has no surrogate escapes, takes no raw DEL, and has no word for nothing
        return '"none"' if value is None else dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")

    root = type(experiment)
    if whole or recipe.endswith(".toml"):
        settings, first = dict(flatten(experiment.model_dump(mode="json"), root=root)), []
    else:
        given = ((name.strip(), value_of(text.strip())) for name, _, text in (word.partition("=") for word in words))
        settings = {as_toml(as_set(name, root), root): value for name, value in flatten(dict(given), root=root)}
        settings |= {"data.corpus": corpus} if corpus else {}
        first = [f"extends = {quoted(recipe)}"]
    return "\n".join([*first, *(f"{name} = {quoted(value)}" for name, value in settings.items())]) + "\n"


def _report(summary: dict[str, object], json: bool) -> None:
    from .output import print_json

    if json:
        print_json(summary)
        return
    run = shlex.quote(str(summary["run"]))
    if "seeds" in summary:
        _report_seeds(summary)
        return
    tagger = summary.get("task") == "tagger"
    for split in ("valid", "test"):
        figure = summary[split]
        if isinstance(figure, dict) and tagger:
            low, high = figure["interval"]
            print(f"{split:5}  accuracy {100 * figure['accuracy']:.2f} %  ({100 * low:.2f} to {100 * high:.2f})")
        elif isinstance(figure, dict):
            bits = f", {figure['bits_per_byte']:.4f} bits per byte" if "bits_per_byte" in figure else ""
            print(f"{split:5}  perplexity {figure['perplexity']:,.2f}{bits}  (protocol {figure['protocol']})")
    then = f"refrain tag {run} FILE" if tagger else f"refrain generate {run} --tokens 50"
    print(f"\nnext:  refrain evaluate {run}\n       {then}\n       cat {run}/README.md")


def _report_seeds(summary: dict[str, Any]) -> None:
    """A line a seed, then mean and standard deviation."""
    name = "accuracy" if summary.get("task") == "tagger" else "perplexity"
    if "bits_per_byte" in summary["test"]:
        name = "bits_per_byte"
    print(f"{'seed':>9}  {'valid ' + name:>20}  {'test ' + name:>20}")
    for run in summary["runs"]:
        figures = [run[split].get(name) for split in ("valid", "test")]
        print(f"{run['seed']:>9}  " + "  ".join(f"{_figure(name, figure):>20}" for figure in figures))
    for kind in ("mean", "std"):
        figures = [summary[split].get(name, {}).get(kind) for split in ("valid", "test")]
        print(f"{kind:>9}  " + "  ".join(f"{_figure(name, figure):>20}" for figure in figures))
    print(f"\nnext:  refrain evaluate {shlex.quote(summary['runs'][0]['run'])}")


def _figure(name: str, value: float | None) -> str:
    if value is None:
        return "-"
    return (
        f"{100 * value:.2f} %"
        if name == "accuracy"
        else f"{value:,.4f}"
        if name == "bits_per_byte"
        else f"{value:,.2f}"
    )
