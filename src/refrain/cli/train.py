"""The command `refrain train`."""

import shlex
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from .options import DataOption, Errors, Flag, ForceOption, JsonOption, OptionalErrorsOption, SkipBadOption

if TYPE_CHECKING:
    from refrain.config import AnyExperiment
    from refrain.training.progress import Progress


def train(
    recipe: str | None = None,
    /,
    *settings: str,
    data: DataOption = None,
    out: Path | None = None,
    start_from: Annotated[Path | None, Parameter(name="--from")] = None,
    iss_json: Path | None = None,
    resume: Flag = False,
    resume_auto: Annotated[bool, Parameter(name=("--resume=auto", "--resume-auto"), negative=())] = False,
    force: ForceOption = False,
    errors: OptionalErrorsOption = None,
    skip_bad: SkipBadOption = False,
    seeds: int | None = None,
    quiet: Flag = False,
    json: JsonOption = False,
) -> None:
    """Train a language model or a tagger, or continue a run.

    Parameters
    ----------
    recipe
        The name of a recipe (see refrain recipes) or a TOML file. Not needed with --resume.
    settings
        Settings such as training.epochs=3 or model.hidden_sizes=[200,200].
    out
        The run folder. The default is a new folder under runs/.
    start_from
        Start from the best weights of another run, for example to finetune it.
    iss_json
        A JSON file of iss-rnns, whose settings are used: learning rate, dropout, penalties and the output folder.
    resume
        Continue the run in --out from its newest checkpoint. Settings such as training.epochs=16 lengthen it.
    resume_auto
        Continue the run in --out if there is one, otherwise start it.
    seeds
        The number of runs to train, with the seed of the recipe and the seeds after it; reports mean and standard
        deviation.
    quiet
        Print nothing while training.
    """
    from refrain.config import resolve
    from refrain.errors import UserError
    from refrain.recipes import RECIPES

    from .corpus import resolved_corpus

    if recipe is not None and "=" in recipe:
        settings, recipe = (recipe, *settings), None
    mode: Literal["auto", "newest"] | None = "auto" if resume_auto else "newest" if resume else None
    if recipe is None and (mode is None or (mode == "auto" and not _is_there(out))):
        raise UserError("which recipe? try: refrain train quickstart, or see: refrain recipes")
    if mode:
        _check_resume(out, start_from, mode, force=force, seeds=seeds)
    words = _with_options(settings, errors, skip_bad=skip_bad)
    if recipe is None and (data or iss_json):
        raise UserError(
            "--resume takes the settings from the run, and the corpus; leave out all but those that change, such as "
            "training.epochs=16, or start a new run from its weights: refrain train RECIPE --from RUN"
        )
    corpus = resolved_corpus(data)
    given = str(iss_json) if iss_json else None
    experiment = resolve(recipe, words, RECIPES, corpus=corpus, iss_json=given) if recipe else None
    if mode != "auto" or not _is_there(out):
        resumed = out if mode == "newest" else None
        _check_paths(resumed, experiment, out, start_from, force=force or seeds is not None)

    from refrain import runs
    from refrain.training import progress

    make_progress = partial(progress, quiet=quiet)
    series = mode is not None and out is not None and runs.has_seeds(out)
    if series or mode == "newest" or experiment is None:
        summary = _continued(out, experiment, () if recipe else words, seeds, make_progress, resume_auto, series)
    else:
        assert recipe is not None
        _log_missing_start(recipe, start_from)
        folder = _folder_for(experiment, out, recipe, given, force=force)
        text = _recipe_text(recipe, words, corpus, experiment, whole=iss_json is not None)
        command = shlex.join(["refrain", *sys.argv[1:]])
        more: Any = {"start_from": start_from, "force": force, "recipe_text": text, "command": command}
        if seeds is None:
            more["resume"] = "auto" if resume_auto else "never"
            summary = runs.train(experiment, folder, progress=make_progress(), **more)
        else:
            summary = runs.train_seeds(experiment, folder, seeds, progress=make_progress, **more)
    _report(summary, json, quiet)


def _continued(
    out: Path | None,
    experiment: "AnyExperiment | None",
    settings: Sequence[str],
    seeds: int | None,
    make_progress: "Callable[[], Progress]",
    auto: bool,
    series: bool,
) -> dict[str, Any]:
    """Continue a run, or the runs of several seeds; a finished one has nothing to do with --resume=auto."""
    from refrain import runs

    assert out is not None
    changes: Any = {"experiment": experiment, "settings": settings}
    if series:
        return runs.resume_seeds(out, **changes, count=seeds, progress=make_progress)
    return (runs.go_on if auto else runs.resume)(out, **changes, progress=make_progress())


def _is_there(out: Path | None) -> bool:
    """Whether a folder has something to continue."""
    return out is not None and out.is_dir() and any(out.iterdir())


def _check_paths(
    resumed: Path | None,
    experiment: "AnyExperiment | None",
    out: Path | None,
    start_from: Path | None,
    *,
    force: bool,
) -> None:
    """Check the paths before torch is imported, which takes seconds."""
    from refrain.runs.checks import check_resumable, check_training

    if resumed is not None:
        check_resumable(resumed)
    elif experiment is not None:
        check_training(experiment, out, start_from, force=force)


def _with_options(settings: tuple[str, ...], errors: Errors | None, *, skip_bad: bool) -> list[str]:
    """Append the options that are short forms of settings."""
    words = list(settings)
    if errors:
        words.append(f'data.errors="{errors}"')
    if skip_bad:
        words.append("data.skip_bad=true")
    return words


def _log_missing_start(recipe: str, start_from: Path | None) -> None:
    """Print a note if a recipe continues from a trained run and no run is given."""
    from refrain.recipes import SECOND_STAGES

    from .output import log

    if recipe in SECOND_STAGES and start_from is None:
        log(f"{recipe} is meant to continue from a trained run (--from RUN); it now starts from random weights")


def _check_resume(out: Path | None, start_from: Path | None, mode: str, *, force: bool, seeds: int | None) -> None:
    from refrain.errors import UserError

    option = "--resume=auto" if mode == "auto" else "--resume"
    if out is None:
        raise UserError(f"{option} needs the run folder: --out RUN")
    if force:
        raise UserError(f"{option} and --force exclude each other")
    if mode == "auto":
        return
    if start_from is not None:
        raise UserError("--resume and --from exclude each other: the run has been started already")
    if seeds is not None:
        raise UserError("--resume and --seeds exclude each other; --resume=auto --seeds N continues or adds runs")


def _folder_for(
    experiment: "AnyExperiment", out: Path | None, recipe: str, iss_json: str | None, *, force: bool
) -> Path:
    """The run folder: the one that is given, in which no recipe is replaced that is read, or a new one."""
    from refrain.config.iss_json import read_iss_json
    from refrain.storage.output_checks import check_folder, run_parts

    if out is None:
        above = Path(str(read_iss_json(iss_json).get("save_path", "runs")) if iss_json else "runs")
        return above / f"{experiment.name}-{time.strftime('%Y%m%d-%H%M%S')}"
    if force:
        check_folder("--out", out, [*run_parts(out), *out.glob("seed-*")], [recipe, iss_json])
    return out


def _recipe_text(recipe: str, words: list[str], corpus: str | None, experiment: "AnyExperiment", *, whole: bool) -> str:
    """The request as a TOML file that gives the same settings again; all settings if the recipe is a file."""
    from refrain.config.schema import as_set, as_toml, flatten
    from refrain.config.toml_file import value_of
    from refrain.config.toml_text import quoted, toml_lines, toml_of

    if whole or recipe.endswith(".toml"):
        return toml_of(experiment)
    root = type(experiment)
    given = ((name.strip(), value_of(text.strip())) for name, _, text in (word.partition("=") for word in words))
    settings = {as_toml(as_set(name, root), root): value for name, value in flatten(dict(given), root=root)}
    settings |= {"data.corpus": corpus} if corpus else {}
    return toml_lines(settings, [f"extends = {quoted(recipe)}"])


def _report(summary: dict[str, object], json: bool, quiet: bool) -> None:
    from .output import log_written, print_json, print_line

    if not quiet:
        log_written(Path(str(summary["run"])))
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
    following = [
        f"refrain evaluate {run}",
        f"refrain tag {run} FILE" if tagger else f"refrain generate {run} --tokens 50",
    ]
    if isinstance(sparsity := summary.get("sparsity"), dict):
        following.append(f"refrain sparsity {run}")
        if any(sparsity["dead_units"].values()):
            following.append(f"refrain compress {run} --out SMALL")
    print()
    for number, line in enumerate([*following, f"cat {run}/README.md"]):
        print_line(f"{'' if number else 'next:':7}{line}")


def _report_seeds(summary: dict[str, Any]) -> None:
    """Print a line for each seed, then the mean and the standard deviation."""
    from .output import print_line

    name = "accuracy" if summary.get("task") == "tagger" else "perplexity"
    if "bits_per_byte" in summary["test"]:
        name = "bits_per_byte"
    print(f"{'seed':>9}  {'valid ' + name:>20}  {'test ' + name:>20}")
    for run in summary["runs"]:
        figures = [run[split].get(name) for split in ("valid", "test")]
        print(f"{run['seed']:>9}  " + "  ".join(f"{_figure(name, figure):>20}" for figure in figures))
    for statistic in ("mean", "std"):
        figures = [summary[split].get(name, {}).get(statistic) for split in ("valid", "test")]
        print(f"{statistic:>9}  " + "  ".join(f"{_figure(name, figure):>20}" for figure in figures))
    print()
    print_line(f"next:  refrain evaluate {shlex.quote(summary['runs'][0]['run'])}")


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
