"""Trains an experiment in a new run folder."""

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any, Literal

import torch

from refrain.arguments import check_choice, path_of
from refrain.assembly.sparsity import with_target_number
from refrain.config import AnyExperiment
from refrain.parallel import Ranks, joined
from refrain.parallel.environment import is_restarted
from refrain.storage.locks import InUseError
from refrain.storage.output_checks import check_folder, run_parts
from refrain.storage.run_folder import RunFolder
from refrain.training import Position, Task
from refrain.training.own_methods import methods_by_name
from refrain.training.progress import Progress
from refrain.training.resume import capture

from .continuing import run_state
from .kinds import kind_of
from .manifest import manifest
from .named import named_run
from .outline import start_text
from .own_network import OwnNetwork
from .preparing import build, read_corpus
from .resuming import resume_unfinished
from .space import check_space
from .starting import check_freezing, load_start
from .targets import target_asked
from .threads import threads_for
from .to_the_end import train_to_the_end
from .together import check_columns, check_gpus, check_same, check_shared, first_then_others, report_of, share_network
from .torch_modes import usual_modes


def train(
    experiment: AnyExperiment,
    out: str | Path,
    *,
    model: OwnNetwork | None = None,
    methods: Sequence[object] | Mapping[str, object] = (),
    start_from: str | Path | None = None,
    force: bool = False,
    resume: Literal["never", "auto"] = "never",
    recipe_text: str = "",
    command: str = "",
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Train a language model or a tagger in a new run folder.

    In processes that were started by torchrun, all of them call this and train one model; rank 0 writes the run.

    Args:
        experiment: the settings of the run, for example from a recipe.
        out: the run folder, which must be empty or missing.
        model: a network of your own that implements the protocol `refrain.models.Network`, or a function that maps the
            vocabulary to it, called after the seed is set. It is trained instead of a model built from the settings,
            whose `model` is then ignored. Afterwards it has the weights of the best checkpoint.
        methods: your own training methods, as objects with an attribute `name` or as a mapping from names to objects;
            each implements parts of `refrain.training.Method`.
        start_from: a run whose best weights are the initial weights, as for finetuning. Its shapes must be the same.
            Its vocabulary may be another one: rows of known words are kept, and those of new words are made, see
            `refrain.runs.starting.load_start`. Optimiser states and averages do not travel.
        force: whether an existing run is replaced; with `resume="auto"`, only one that has no checkpoint yet.
        resume: `auto` continues the run in `out` if there is one, as the function `resume` does with these settings; if
            it is finished, nothing is trained. Otherwise it starts one.
        recipe_text: the requested recipe as TOML, stored as `recipe.toml`.
        command: the command line, stored in the manifest.
        progress: the progress report; None prints lines of text on standard error.

    Returns:
        The summary, as in `summary.json`.

    Raises:
        DataError: when the corpus is missing, damaged or too small.
        CheckpointError: when the folder is not empty or cannot be written, or the disk has too little space.
        UserError: when the loss is not finite, `sparsity.freeze` finds no zeros, a method fails, a network of your own
            does not implement the protocol, something is read from the run that would be replaced, ranks differ, or
            `resume` is another word.
        LostRankError: when another process that trains the same model is lost.
        Interrupted: when a signal has stopped the run; a checkpoint has been saved.
    """
    check_choice("resume", resume, ("never", "auto"))
    out = path_of(out, "out", "the path of a run folder")
    own = methods_by_name(methods)
    with joined() as ranks:
        out, found = Path(ranks.from_first(str(out))), ranks.from_first(run_state(out))
        again = (resume == "auto" or is_restarted()) and found != "absent"
        if again and found == "run":
            changes: Any = {"model": model, "methods": methods, "experiment": experiment}
            return resume_unfinished(out, **changes, progress=progress)
        with report_of(ranks, progress) as report:
            if again:
                report.log(f"{out}: a run was started here and has no checkpoint yet; it is started again")
            # what is no experiment is refused before its settings are read
            kind_of(experiment, model)
            given: Any = {"own_network": model, "methods": own, "start_from": start_from, "force": force or again}
            given["unfinished"] = again or resume == "auto"
            with usual_modes(), threads_for(experiment, report.log, ranks=ranks.size) as threads:
                return _started(experiment, RunFolder(out), ranks, report, recipe_text, command, threads, **given)


def _started(
    experiment: AnyExperiment,
    run: RunFolder,
    ranks: Ranks,
    report: Progress,
    recipe_text: str,
    command: str,
    threads: dict[str, Any],
    *,
    own_network: OwnNetwork | None,
    methods: Mapping[str, object],
    start_from: str | Path | None,
    force: bool,
    unfinished: bool,
) -> dict[str, Any]:
    """Start a run in every rank, and train it to its end; if `unfinished`, replace none that has a checkpoint."""
    kind = kind_of(experiment, own_network)
    check_columns(ranks, experiment)
    check_gpus(ranks, experiment)
    replaced = ranks.first and run.check_available(force=force)
    if force and ranks.first:
        check_folder("--out", run.path, run_parts(run.path), [start_from, experiment.data.corpus])
    corpus = first_then_others(ranks, lambda: read_corpus(kind, experiment, report))
    check_same(ranks, experiment, corpus)
    torch.manual_seed(experiment.training.seed)
    network, choice = build(kind, experiment, corpus, report, ranks)
    start: dict[str, Any] = {}
    if start_from is not None:
        start = {"start": load_start(named_run(start_from), network, corpus)}
        report.log(f"start  {start_text(start['start'])}")
    share_network(ranks, network)
    asked = experiment
    experiment = with_target_number(asked, network)
    task = kind.task(experiment, corpus, network, methods)
    task.ranks = ranks
    check_freezing(experiment, task)
    # raises for a state that cannot be stored, before anything is written
    capture(task, Position(), None)
    if ranks.first:
        _create(run, task, replaced=replaced, force=force, unfinished=unfinished)
    with run.locked() if ranks.first else nullcontext():
        if ranks.first:
            run.write_json("config.json", kind.document(experiment, network))
            run.write_text("recipe.toml", recipe_text)
            document = manifest(experiment, corpus, network, command, choice.backends, ranks.size)
            run.write_json("manifest.json", document | threads | choice.record() | target_asked(asked) | start)
        check_shared(ranks, run)
        return train_to_the_end(experiment, kind, corpus, task, run, Position(), None, report, choice.backends)


def _create(run: RunFolder, task: Task, *, replaced: bool, force: bool, unfinished: bool) -> None:
    """Create the folder of a run, where there is space and no other process has trained the run in the meantime."""
    check_space(task, run.path, replaced=replaced)

    def check() -> None:
        # the state of the folder was found before the corpus was read
        if unfinished and run_state(run.path) == "run":
            raise InUseError(
                f"{run.path}: another process has trained this run in the meantime; continue it with --resume=auto"
            )

    run.create(force=force, check=check)
