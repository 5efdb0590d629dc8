"""The backends and the precision that a run begins with: measured where its settings leave them open."""

from collections.abc import Callable

from torch import nn

from refrain.config import Model, TaggerTraining, Training
from refrain.parallel import Ranks

from .backend import choose_backends, native_by_rule
from .measured_backend import measure_backends
from .precision import bf16_speedup, uses_bf16
from .window_times import Shape, Times

MANY = 10**9


def choose_measured(
    asked: Training | TaggerTraining,
    model: nn.Module,
    shape: Shape | None,
    ranks: Ranks | None = None,
    log: Callable[[str], None] | None = None,
) -> tuple[dict[str, str], dict[str, Times]]:
    """Choose the backend and the precision of each part of a model, in place, as a new run does.

    Args:
        asked: the settings of the training.
        model: the model on its device.
        shape: the windows of the run; None for a model whose backends are not measured.
        ranks: the ranks, which all use what rank 0 has measured; None for a process alone.
        log: called with a line of text before kernels are compiled, and about a precision that is slow.

    Returns:
        The backend of each part in words, and the times by which they were chosen, where they were.

    Raises:
        UserError: when the device does not support a requested backend or precision.
    """
    ranks = ranks or Ranks()
    device = next(model.parameters()).device.type
    measures = device == "cpu" and not asked.deterministic
    own = None
    if ranks.first:
        bf16 = uses_bf16(asked, device)
        if measures and asked.precision == "bf16" and log is not None:
            _warn_of_slow_bf16(log)
        training = with_precision(asked, bf16=bf16)
        found: dict[str, Times] = {}
        if measures and training.backend == "auto" and shape is not None and isinstance(training, Training):
            found = measure_backends(model, training, shape, log)
        own = [bf16, found]
    elif asked.precision != "auto":
        # every rank refuses what its own device cannot do
        uses_bf16(asked, device)
    bf16, found = ranks.from_first(own)
    training = with_precision(asked, bf16=bf16)
    times = {name: Times(*each) for name, each in found.items()}
    rule = native_by_rule(training, model)
    native = {name: each.prefers_native(rule[name]) for name, each in times.items()}
    return choose_backends(training, model, log, native), times


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


def _warn_of_slow_bf16(log: Callable[[str], None]) -> None:
    if (speedup := bf16_speedup()) < 1:
        log(
            f"training.precision=bf16: this processor multiplies matrices in bf16 {speedup:.2f} times as fast as in "
            "float32; training.precision=float32 is faster, and auto chooses the faster of the two"
        )
