"""The protocol of a method, every part of which is optional."""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import Any, Protocol

from torch import Tensor, nn

from refrain.optim import Verdict

from .hooks import Window


class Method(Protocol):
    """The parts of a method. Each may be missing or None, and a method need not inherit from this class."""

    def loss_term(self, window: Window) -> Tensor:
        """Return a scalar with a gradient that is added to the loss, on the scale of the loss."""
        ...

    def before_step(self, window: Window) -> None:
        """Called before each update, when the gradients are final and clipped. With this part, all are float32.

        With `accumulate_windows` above 1, the window is the last one of the update.
        """
        ...

    def after_step(self, window: Window) -> None:
        """Called after each update of the weights by the optimiser; may change them in place.

        With `accumulate_windows` above 1, the window is the last one of the update. Gradients are not clipped here, and
        that of a head may be bf16.
        """
        ...

    def validated(self, record: dict[str, Any]) -> Verdict | None:
        """Called after the validation at the end of each epoch, with the evaluation weights in the model.

        Args:
            record: the line of metrics of the validation, with `epoch` (from 1), `nats_per_token`, `perplexity`, for a
                tagger `accuracy`, and others; in addition `judged`, by which validations are compared, where less is
                better, and `settled`, whether all methods are settled.

        Returns:
            Whether the run stops, and a line to log; None is neither.
        """
        ...

    def settled(self) -> bool:
        """Return whether the model has reached what was requested, such as a size.

        Until then, no validation counts as a stall. If any checkpoints are settled, the best one is chosen among them.
        """
        ...

    def evaluation_weights(self, model: nn.Module) -> AbstractContextManager[Any]:
        """Return a context in which the model has the weights to evaluate and to save for use, not those being trained.

        A checkpoint contains both, so the state of the method need not include the trained weights.
        """
        ...

    def metrics(self) -> Mapping[str, Any]:
        """Return what is added to each line of metrics, by name: numbers, text, lists and dicts."""
        ...

    def state_dict(self) -> Any:
        """Return the state that a restart needs: tensors, numbers and text, in nested dicts and lists."""
        ...

    def load_state_dict(self, state: Any) -> None:
        """Restore a state from `state_dict`; its tensors are on the CPU, and its tuples have become lists."""
        ...


PARTS = tuple(name for name in vars(Method) if not name.startswith("_"))


class LossTerm:
    """A method with a loss term as its only part.

    Args:
        function: maps a window to a scalar with a gradient, on the scale of the loss.
    """

    def __init__(self, function: Callable[[Window], Tensor]) -> None:
        self.loss_term = function
