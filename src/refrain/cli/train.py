"""The command `refrain train`."""

import shlex
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from .options import NAMED, DataOption, Flag, ForceOption, JsonOption, OptionalErrorsOption, SkipBadOption
from .train_report import report_training
from .train_settings import recipe_and_settings, with_folds, with_options

if TYPE_CHECKING:
    from refrain.config import AnyExperiment
    from refrain.training.progress import Progress


def train(
    recipe: str | None = None,
    /,
    *settings: str,
    data: DataOption = None,
    tokens: Path | None = None,
    out: Path | None = None,
    start_from: Annotated[Path | None, NAMED, Parameter(name="--from")] = None,
    iss_json: Path | None = None,
    resume: Flag = False,
    finish: Flag = False,
    resume_auto: Annotated[Flag, Parameter(name=("--resume=auto", "--resume-auto"))] = False,
    force: ForceOption = False,
    errors: OptionalErrorsOption = None,
    skip_bad: SkipBadOption = False,
    seeds: int | None = None,
    folds: int | None = None,
    processes: int | None = None,
    deterministic: Flag = False,
    quiet: Flag = False,
    json: JsonOption = False,
) -> None:
    """Train a language model or a tagger, or continue a run.

    Parameters
    ----------
    recipe
        The name of a recipe (see refrain recipes) or a TOML file. Not needed with --resume or --from.
    settings
        Settings such as training.epochs=3 or model.hidden_sizes=[200,200].
    tokens
        The file of a tokenizer, whose pieces are the tokens: a SentencePiece model, a bpe.model of icefall with its
        tokens.txt, or a tokenizer.json. The same as data.unit=subword data.tokens=FILE.
    out
        The run folder. The default is a new folder under runs/.
    start_from
        Start from the best weights of another run, for example to finetune it or to go on with another text. The shape
        of its model is used; without a recipe, all of its settings. The rows of words that it knows are kept.
    iss_json
        A JSON file of iss-rnns, whose settings are used: learning rate, dropout, penalties and the output folder.
    resume
        Continue the run in --out from its newest checkpoint. Settings such as training.epochs=16 lengthen it.
    finish
        With --resume: end an interrupted run soon, in a fifth of the steps so far but no more than an epoch, while the
        learning rate falls to zero; then measure it.
    resume_auto
        Continue the run in --out if there is one, otherwise start it.
    seeds
        The number of runs to train, with the seed of the recipe and the seeds after it; reports mean and standard
        deviation. With --resume=auto it can grow, and several processes share the runs.
    folds
        The number of parts of a cross-validation of a tagger, each of which is the test text of one run; reports mean,
        standard deviation and the accuracy on all parts together. For treebanks that are small.
    processes
        Train one model with this number of processes on this machine, each of which computes a part of every batch. The
        result is that of one process. The same as torchrun --nproc-per-node=N -m refrain train.
    deterministic
        Choose the backends of layers and head by their sizes, and the precision of training.precision=auto by the
        instructions of the processor, and not by what is measured at the start of the run. The same as
        training.deterministic=true.
    quiet
        Print nothing while training.
    """
    from refrain.errors import UserError

    from .corpus import resolved_corpus
    from .processes import as_ranks, start_ranks
    from .recipe_text import log_missing_start, recipe_text, resolved

    resume_auto |= as_ranks(processes, out, seeds if folds is None else folds) and not resume
    recipe, settings = recipe_and_settings("train", recipe, settings, data=data, resume=resume)
    mode: Literal["auto", "newest"] | None = "auto" if resume_auto else "newest" if resume else None
    new = mode is None or (mode == "auto" and not _is_there(out))
    if recipe is None and start_from is None and new:
        raise UserError("which recipe? try: refrain train quickstart, or see: refrain recipes")
    _check_resume(recipe, out, start_from, mode, force=force, seeds=seeds, folds=folds, finish=finish)
    words = with_options(settings, errors, tokens, skip_bad, deterministic)
    _check_known_settings(recipe, data or iss_json, new=new)
    corpus, given = resolved_corpus(data), str(iss_json) if iss_json else None
    experiment = resolved(recipe, words, corpus, given, start_from, quiet=quiet) if recipe or new else None
    words, experiment = with_folds(words, experiment, folds, seeds)
    _check_paths(mode, experiment, out, start_from, force=force, seeds=seeds if folds is None else folds)
    start_ranks(processes, experiment)

    from refrain import runs
    from refrain.training import progress

    report = partial(progress, quiet=quiet)
    series = mode is not None and out is not None and runs.has_seeds(out)
    if series or mode == "newest" or experiment is None:
        changes, count = () if recipe else words, seeds or folds
        summary = _continued(out, experiment, changes, count, report, resume_auto, finish, series)
    else:
        log_missing_start(None if start_from else recipe, "it now starts from random weights")
        folder = _folder_for(experiment, out, recipe, given, force=force)
        text = recipe_text(recipe, words, corpus, experiment, as_typed=not (iss_json or start_from))
        command = shlex.join(["refrain", *sys.argv[1:]])
        more: Any = {"start_from": start_from, "force": force, "recipe_text": text, "command": command}
        summary = _started(experiment, folder, seeds, folds, report, resume_auto, more)
    _report(summary, json, quiet)


def _check_known_settings(recipe: str | None, given: object, *, new: bool) -> None:
    """Refuse a corpus and other settings where those of the run are used."""
    from refrain.errors import UserError

    if recipe is None and not new and given:
        raise UserError(
            "--resume takes the settings from the run, and the corpus; leave out all but those that change, such as "
            "training.epochs=16, or start a new run from its weights: refrain train RECIPE --from RUN"
        )


def _report(summary: dict[str, Any], json: bool, quiet: bool) -> None:
    """Report the summary, unless another rank does so, and then the runs of a series that have failed."""
    from refrain.errors import DivergedError
    from refrain.parallel.environment import is_first

    if is_first():
        report_training(summary, json, quiet)
        if failed := summary.get("failed"):
            what = "fold" if "folds" in summary else "seed"
            raise DivergedError(*(f"{what} {number} has failed: {error}" for number, error in failed.items()))


def _started(
    experiment: "AnyExperiment",
    folder: Path,
    seeds: int | None,
    folds: int | None,
    report: "Callable[[], Progress]",
    auto: bool,
    more: Any,
) -> dict[str, Any]:
    """Start a run, or the runs of several seeds or folds."""
    from refrain import runs
    from refrain.storage.locks import InUseError

    try:
        if folds is not None:
            return runs.train_folds(experiment, folder, progress=report, **more)
        if seeds is not None:
            return runs.train_seeds(experiment, folder, seeds, progress=report, **more)
    except InUseError:
        # another process has started the runs at the same moment
        if not auto:
            raise
        return runs.resume_seeds(folder, experiment=experiment, count=seeds or folds, progress=report)
    return runs.train(experiment, folder, progress=report(), resume="auto" if auto else "never", **more)


def _continued(
    out: Path | None,
    experiment: "AnyExperiment | None",
    settings: Sequence[str],
    seeds: int | None,
    make_progress: "Callable[[], Progress]",
    auto: bool,
    finish: bool,
    series: bool,
) -> dict[str, Any]:
    """Continue a run, or the runs of several seeds; a finished one has nothing to do with --resume=auto."""
    from refrain import runs
    from refrain.errors import UserError

    assert out is not None
    changes: Any = {"experiment": experiment, "settings": settings}
    if series and finish:
        raise UserError(f"--finish: {out} holds the runs of several seeds; finish one of them, such as {out}/seed-1")
    if series:
        return runs.resume_seeds(out, **changes, count=seeds, progress=make_progress)
    if auto:
        return runs.resume_unfinished(out, **changes, progress=make_progress())
    return runs.resume(out, **changes, finish=finish, progress=make_progress())


def _is_there(out: Path | None) -> bool:
    """Whether a folder has something to continue."""
    return out is not None and out.is_dir() and any(out.iterdir())


def _check_paths(
    mode: str | None,
    experiment: "AnyExperiment | None",
    out: Path | None,
    start_from: Path | None,
    *,
    force: bool,
    seeds: int | None,
) -> None:
    """Check the paths before torch is imported, which takes seconds."""
    from refrain.runs.checks import check_resumable, check_training

    if mode == "newest" and out is not None:
        check_resumable(out)
    elif experiment is not None and not (mode == "auto" and _is_there(out)):
        # the folder of several seeds is checked by itself
        check_training(experiment, out if seeds is None else None, start_from, force=force)


def _check_resume(
    recipe: str | None,
    out: Path | None,
    start_from: Path | None,
    mode: str | None,
    *,
    force: bool,
    seeds: int | None,
    folds: int | None,
    finish: bool,
) -> None:
    from refrain.errors import UserError

    if seeds is not None:
        from refrain.runs.checks import check_seed_count

        check_seed_count(seeds, 0)
    if finish and mode != "newest":
        raise UserError("--finish needs the run that it finishes: refrain train --resume --out RUN --finish")
    if mode is None:
        return
    option = "--resume=auto" if mode == "auto" else "--resume"
    if out is None:
        run = quote(recipe) if recipe is not None and Path(recipe).is_dir() else "RUN"
        raise UserError(f"{option} needs the run folder: refrain train {option} --out {run}")
    if force:
        raise UserError(f"{option} and --force exclude each other")
    if mode == "auto":
        return
    if start_from is not None:
        raise UserError("--resume and --from exclude each other: the run has been started already")
    if seeds is not None:
        raise UserError("--resume and --seeds exclude each other; --resume=auto --seeds N continues or adds runs")
    if folds is not None:
        raise UserError(f"--resume and --folds exclude each other; --resume=auto --folds {folds} continues the runs")


def _folder_for(
    experiment: "AnyExperiment", out: Path | None, recipe: str | None, iss_json: str | None, *, force: bool
) -> Path:
    """The run folder: the one that is given, in which no recipe is replaced that is read, or a new one."""
    from refrain.config.iss_json import read_iss_json
    from refrain.storage.output_checks import check_folder, run_parts
    from refrain.storage.run_layout import series_in

    if out is None:
        above = Path(str(read_iss_json(iss_json).get("save_path", "runs")) if iss_json else "runs")
        return above / f"{experiment.name}-{time.strftime('%Y%m%d-%H%M%S')}"
    if force:
        check_folder("--out", out, [*run_parts(out), *series_in(out)], [recipe, iss_json])
    return out
