"""Optuna's samplers and pruners for a sweep, with a journal in its folder that all workers share.

Akiba et al. (2019), Optuna: A Next-generation Hyperparameter Optimization Framework.
"""

import contextlib
import warnings
from collections.abc import Iterator
from importlib.util import find_spec
from json import dumps
from typing import Any

from refrain.errors import MachineError
from refrain.storage.plain_json import loads
from refrain.storage.run_layout import steps_in

from ..figure_names import comparable, rank
from .folder import Chosen, Ended, SweepFolder
from .space import Range, Values

INSTALL = "pip install 'refrain-lm[sweep]'"
_SAMPLERS = {
    "tpe": "TPESampler", "random": "RandomSampler", "qmc": "QMCSampler", "cmaes": "CmaEsSampler", "gp": "GPSampler",
}  # fmt: skip
_NEEDED = {"qmc": "scipy", "cmaes": "cmaes", "gp": "scipy"}
_PRUNERS = {
    "none": "NopPruner", "median": "MedianPruner", "halving": "SuccessiveHalvingPruner", "hyperband": "HyperbandPruner",
}  # fmt: skip


def check_optuna(sampler: str) -> None:
    """Check that optuna is installed, and the package that one of its samplers imports when it is first asked.

    Args:
        sampler: the setting `sweep.sampler`.

    Raises:
        MachineError: when one of them is not.
    """
    try:
        import optuna  # noqa: F401
    except ImportError:
        raise MachineError(f'sweep.method = "optuna" needs optuna: {INSTALL}, or use grid or random') from None
    needed = _NEEDED.get(sampler)
    if needed is not None and find_spec(needed) is None:
        raise MachineError(
            f'sweep.sampler = "{sampler}" needs another package: pip install {needed}, or use sampler = "tpe"'
        )


class OptunaSearch:
    """Chooses the settings of cells, and prunes runs whose validations are worse than those of others.

    Args:
        folder: the folder of the sweep.

    Raises:
        MachineError: when optuna, or what its sampler needs, is not installed.
    """

    def __init__(self, folder: SweepFolder) -> None:
        self._folder, self._space = folder, folder.sweep.space
        check_optuna(self._space.sampler)
        with _quiet():
            import optuna
            from optuna.storages import JournalStorage
            from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock

            optuna.logging.set_verbosity(optuna.logging.WARNING)
            journal = str(folder.path / "optuna.log")
            storage = JournalStorage(JournalFileBackend(journal, lock_obj=JournalFileOpenLock(journal)))
            pruner = getattr(optuna.pruners, _PRUNERS[self._space.pruner])()
            self._optuna: Any = optuna
            self._study = optuna.create_study(
                study_name="sweep", storage=storage, direction="minimize", pruner=pruner, load_if_exists=True
            )

    def choose(self, number: int) -> None:
        """Ask for the settings of a cell, and store them; those that were stored before are kept.

        A cell that is trained again, because its result and its run were removed, has another trial for the same
        settings, since a trial that has ended takes no further figures.

        Args:
            number: the number of the cell, which has no result.
        """
        chosen = self._folder.chosen(number)
        with _quiet():
            if chosen is not None:
                self._try_again(number, chosen)
                return
            # workers that draw alike would try the same settings
            self._study.sampler = self._sampler(self._space.seed + number)
            trial = self._study.ask()
            settings = {name: _suggested(trial, name, values) for name, values in self._space.values.items()}
        self._folder.write_chosen(number, Chosen(trial._trial_id, settings))

    def _try_again(self, number: int, chosen: Chosen) -> None:
        states = self._optuna.trial.TrialState
        before = self._study._storage.get_trial(chosen.trial)
        begun = bool(steps_in(self._folder.run(number) / "checkpoints"))
        # a worker that was stopped when it had told this, and had not written it down, has left a checkpoint
        if not before.state.is_finished() or (begun and before.state != states.FAIL):
            return
        trial = self._optuna.trial.create_trial(
            state=states.RUNNING, params=before.params, distributions=before.distributions
        )
        # unlike a trial that is enqueued, no other worker can be given this one
        identity = self._study._storage.create_new_trial(self._study._study_id, template_trial=trial)
        self._folder.replace_chosen(number, chosen._replace(trial=identity))

    def _sampler(self, seed: int) -> Any:
        name = _SAMPLERS[self._space.sampler]
        # what other workers train counts as tried, and as no good
        more = {"constant_liar": True} if name == "TPESampler" else {}
        return getattr(self._optuna.samplers, name)(seed=seed, **more)

    def prunes(self, number: int, record: dict[str, Any]) -> bool:
        """Report the validation at the end of an epoch, and ask whether the run is pruned.

        Args:
            number: the number of the cell.
            record: the line of metrics.
        """
        trial = self._trial(number)
        with _quiet():
            known = self._study._storage.get_trial(trial._trial_id)
            if known.state.is_finished():
                # the worker before was stopped when it had told this, and had not written it down
                return bool(known.state == self._optuna.trial.TrialState.PRUNED)
            # the epochs before a stop are known
            if record["epoch"] not in known.intermediate_values:
                trial.report(rank(self._comparable(number, record)), record["epoch"])
            return bool(trial.should_prune())

    def _comparable(self, number: int, record: dict[str, Any]) -> dict[str, Any]:
        cell = self._folder.cell(number)
        assert cell is not None
        return comparable(record, getattr(cell.experiment.training, "best_by", None))

    def tell(self, number: int, state: Ended, valid: dict[str, Any]) -> None:
        """Tell how a cell has ended; a second time changes nothing.

        Args:
            number: the number of the cell.
            state: how it has ended.
            valid: the figures of its best validation.
        """
        states = self._optuna.trial.TrialState
        if self._folder.chosen(number) is None:
            return
        with _quiet():
            trial = self._trial(number)
            if state == "done":
                self._study.tell(trial.number, rank(valid), skip_if_finished=True)
            else:
                ended = states.PRUNED if state == "pruned" else states.FAIL
                self._study.tell(trial.number, state=ended, skip_if_finished=True)

    def _trial(self, number: int) -> Any:
        chosen = self._folder.chosen(number)
        assert chosen is not None
        return self._optuna.trial.Trial(self._study, chosen.trial)


def _suggested(trial: Any, name: str, values: Values) -> Any:
    """A value of a setting; values of lists are JSON texts for optuna, which knows no lists."""
    if not isinstance(values, Range):
        return loads(trial.suggest_categorical(name, [dumps(value) for value in values]))
    if values.whole:
        return trial.suggest_int(name, int(values.low), int(values.high), log=values.log)
    return trial.suggest_float(name, float(values.low), float(values.high), log=values.log)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without the warnings of optuna about what may change in it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
