"""The protocol of a method, of which every part is optional."""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import Any, Protocol

from torch import Tensor, nn

from refrain.optim import Verdict

from .hooks import Window


class Method(Protocol):
    """The parts of a method. Each may be left out, or be None, and nothing has to inherit from this class."""

    def loss_term(self, window: Window) -> Tensor:
        """A scalar with a gradient that is added to the loss, in the loss's own scale."""
        ...

    def before_step(self, window: Window) -> None:
        """Called in each window when its gradients are final and clipped."""
        ...

    def after_step(self, window: Window) -> None:
        """Called in each window when the optimiser has moved the weights; may change them in place."""
        ...

    def validated(self, record: dict[str, Any]) -> Verdict | None:
        """Called after the validation at the end of each epoch, with the evaluation weights in the model.

        Args:
            record: the validation's line of metrics, such as `epoch` (from 1), `nats_per_token`, `perplexity` and for
                a tagger `accuracy`; besides, `judged`, by which validations are compared, less being better, and
                `settled`, whether every method is.

        Returns:
            Whether the run stops here, and a line to report; None is neither.
        """
        ...

    def settled(self) -> bool:
        """Whether the model is what was asked for. Until then no validation counts as a stall.

        The best checkpoint is chosen among the settled ones, if there are any.
        """
        ...

    def evaluation_weights(self, model: nn.Module) -> AbstractContextManager[Any]:
        """Inside, the model holds the weights to evaluate and to save for use; outside, those that are trained.

        A checkpoint keeps both, so that the state of the method need not hold the trained ones.
        """
        ...

    def metrics(self) -> Mapping[str, Any]:
        """What is added to each line of metrics, by name: numbers, text, lists and dicts."""
        ...

    def state_dict(self) -> Any:
        """What a restart needs: tensors, numbers and text, in nested dicts and lists."""
        ...

    def load_state_dict(self, state: Any) -> None:
        """Take back what `state_dict` gave; its tensors are on the CPU, and its tuples are lists."""
        ...


PARTS = tuple(name for name in vars(Method) if not name.startswith("_"))


class LossTerm:
    """A method that is a term of the loss and nothing else.

    Args:
        function: (window) -> a scalar with a gradient, in the loss's own scale.
    """

    def __init__(self, function: Callable[[Window], Tensor]) -> None:
        self.loss_term = function
