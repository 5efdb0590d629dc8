"""Brings an interrupted run to an early end, in which its learning rate falls to zero."""

from pathlib import Path

from refrain.config import AnyExperiment, Experiment
from refrain.errors import UserError
from refrain.training import Position, Task
from refrain.training.ending import plan_to_finish
from refrain.training.planned_end import described


def begin_to_finish(task: Task, position: Position, experiment: AnyExperiment, path: Path) -> list[str]:
    """Plan to finish a run, unless it is being finished already.

    Args:
        task: the task, with the state at the position.
        position: the position from which the run continues; the plan is added to it.
        experiment: the settings of the run.
        path: the run folder, for messages.

    Returns:
        Lines of text about the plan.

    Raises:
        UserError: when the run has not begun, or is at its end.
    """
    if position.stopped or position.epoch >= task.epochs:
        raise UserError(
            f"--finish: {path} is at its end already; leave out --finish, or lengthen the run with training.epochs=N"
        )
    if not position.step:
        raise UserError(f"--finish: {path} has no training step to finish; leave out --finish")
    if position.plan is not None and position.plan.reason == "finish":
        return []
    plan = plan_to_finish(task, position)
    lines = [f"finishing: the run ends after step {plan.end:,}, {described(plan)}"]
    if isinstance(experiment, Experiment):
        parts = [name for name in ("prune", "target") if getattr(experiment.sparsity, name) is not None]
        lines += [f"sparsity.{name} may not be reached, since its course is counted in epochs" for name in parts]
    return lines
