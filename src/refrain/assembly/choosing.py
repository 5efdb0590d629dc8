"""The backends and the precision that a run begins with: measured where its settings leave them open."""

from collections.abc import Callable
from typing import Any, NamedTuple

from torch import nn

from refrain.config import Model, TaggerTraining, Training
from refrain.nn.kernels.backend import has_fast_bf16
from refrain.parallel import Ranks

from .backend import choose_backends, native_by_rule, native_in, rounds_in
from .measured_backend import measure_backends
from .precision import bf16_speedup, uses_bf16
from .window_times import Shape, Times

MANY = 10**9


class Choice(NamedTuple):
    """What the parts of a model train with, and why."""

    backends: dict[str, str]
    """The name of each part -> its backend and precision in words."""
    times: dict[str, Times]
    """The name of each measured part -> its times."""
    bf16_speedup: float | None = None
    """How many times as fast as in float32 a matmul is in bf16, where the precision was chosen by it."""

    def record(self) -> dict[str, Any]:
        """What the manifest of a run has about the measurements; nothing where nothing was measured."""
        times = {name: each._asdict() for name, each in self.times.items()}
        speedup = None if self.bf16_speedup is None else round(self.bf16_speedup, 3)
        return {name: value for name, value in (("backend_seconds", times), ("bf16_speedup", speedup)) if value}


def choose_measured(
    asked: Training | TaggerTraining,
    model: nn.Module,
    shape: Shape | None,
    ranks: Ranks | None = None,
    log: Callable[[str], None] | None = None,
) -> Choice:
    """Choose the backend and the precision of each part of a model, in place, as a new run does.

    Args:
        asked: the settings of the training.
        model: the model on its device.
        shape: the windows of the run; None for a model whose backends are not measured.
        ranks: the ranks, which all use what rank 0 has measured; None for a process alone.
        log: called with a line of text before kernels are compiled, and about a precision that is slow.

    Raises:
        UserError: when the device does not support a requested backend or precision.
    """
    ranks = ranks or Ranks()
    device = next(model.parameters()).device.type
    measures = device == "cpu" and not asked.deterministic
    if asked.precision == "auto":
        able = every_rank_has_bf16(ranks, device)
        bf16 = bool(ranks.from_first((able and uses_bf16(asked, device)) if ranks.first else None))
        speedup = bf16_speedup() if able and measures and ranks.first else None
        if log is not None and ranks.first:
            log(f"precision {_reason(bf16=bf16, able=able, speedup=speedup)}")
    else:
        bf16, speedup = uses_bf16(asked, device), None
    training = with_precision(asked, bf16=bf16)
    own: dict[str, Times] | None = None
    if ranks.first:
        own = {}
        if measures and training.backend == "auto" and shape is not None and isinstance(training, Training):
            own = measure_backends(model, training, shape, log)
    times = {name: Times(*each) for name, each in ranks.from_first(own).items()}
    rule = native_by_rule(training, model)
    native = {name: each.prefers_native(rule[name]) for name, each in times.items()}
    chosen = choose_backends(training, model, log, native)
    if log is not None and ranks.first and measures and asked.precision == "bf16" and rounds_in(chosen):
        _warn_of_slow_bf16(log)
    return Choice(chosen, times, speedup)


def choose_again(
    asked: Training | TaggerTraining,
    model: nn.Module,
    words: dict[str, str],
    ranks: Ranks,
    log: Callable[[str], None] | None = None,
) -> Choice:
    """Choose what the parts of a resumed model have trained with, in place, as far as this machine can.

    Args:
        asked: the settings of the training.
        model: the model on its device.
        words: the name of each part -> its backend and precision in words, as they were recorded.
        ranks: the ranks, which all use the same precision.
        log: called with a line of text before kernels are compiled.

    Raises:
        UserError: when the device does not support a requested backend or precision.
    """
    able = asked.precision == "auto" and every_rank_has_bf16(ranks, next(model.parameters()).device.type)
    training = with_precision(asked, bf16=able and rounds_in(words))
    return Choice(choose_backends(training, model, log, native_in(words)), {})


def every_rank_has_bf16(ranks: Ranks, device: str) -> bool:
    """Whether the devices of all ranks have instructions for bfloat16 matrices.

    Args:
        ranks: the ranks.
        device: the type of the device.
    """
    return all(ranks.gathered(has_fast_bf16(device)))


def window_shape(training: Training, model: Model, vocabulary: int, windows: int = MANY, ranks: int = 1) -> Shape:
    """The windows of the run of a language model, as each process computes them.

    Args:
        training: the settings of the training.
        model: those of the model.
        vocabulary: the number of words.
        windows: the number of windows in the whole run, by default that of a long one.
        ranks: the number of processes.
    """
    return Shape(
        steps=training.window_steps,
        batch=-(-training.batch_size // ranks),
        windows=windows,
        hidden=model.hidden_sizes[-1],
        vocabulary=vocabulary,
        minutes=training.max_minutes,
    )


def with_precision(training: Training | TaggerTraining, *, bf16: bool) -> Training | TaggerTraining:
    """Training settings in which the precision `auto` is replaced by the one that was chosen.

    Args:
        training: the settings.
        bf16: whether matmul inputs are rounded to bfloat16.
    """
    if training.precision != "auto":
        return training
    return training.model_copy(update={"precision": "bf16" if bf16 else "float32"})


def _reason(*, bf16: bool, able: bool, speedup: float | None) -> str:
    """The precision that `auto` has chosen, and why."""
    if speedup is not None:
        return f"{'bf16' if bf16 else 'float32'}: matmuls in bf16 are {speedup:.2f} times as fast as in float32"
    return "bf16: there are instructions for it" if able else "float32: there are no instructions for bf16"


def _warn_of_slow_bf16(log: Callable[[str], None]) -> None:
    if (speedup := bf16_speedup()) < 1:
        log(
            f"training.precision=bf16: this processor multiplies matrices in bf16 {speedup:.2f} times as fast as in "
            "float32; training.precision=float32 is faster, and auto would choose it"
        )
