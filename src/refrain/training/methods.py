"""The methods of a run, as one ordered collection that acts like a single method."""

import contextlib
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

from torch import nn

from refrain.optim import TriggeredAveraging, Verdict

from .hooks import Hooks
from .own_methods import MethodError, checked

# the names in a line of metrics, or in the record of a validation, that methods cannot use
FIGURES = {
    "event", "epoch", "epoch_ended", "window", "step", "learning_rate", "train_nats_per_token", "train_perplexity",
    "train_bits_per_byte", "nats_per_token", "perplexity", "bits_per_byte", "accuracy", "gradient_norm", "best",
    "tokens_per_second", "wall_seconds", "windows", "last_step", "judged", "settled", "span_f1",
}  # fmt: skip


class Methods(Mapping[str, object]):
    """The methods of a run by name, in the order in which they act, and their combined parts.

    The parts of a user's methods are checked: when one raises or returns a wrong type, a `MethodError` names it.

    Args:
        first: methods of the library.
        own: methods of the user.
        last: methods of the library that act after all others, on the weights that these leave.
    """

    def __init__(
        self,
        first: Mapping[str, object] | None = None,
        own: Mapping[str, object] | None = None,
        last: Mapping[str, object] | None = None,
    ) -> None:
        self._methods = {**(first or {}), **(own or {}), **(last or {})}
        self.own = tuple(own or ())
        """The names of the user's methods."""

    def __getitem__(self, name: str) -> object:
        return self._methods[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._methods)

    def __len__(self) -> int:
        return len(self._methods)

    def hooks(self) -> Hooks:
        """Return the hooks of all methods for the training loop, in the order of the methods."""
        after_step = self._parts("after_step")
        first = next(iter(after_step), "")
        method = self._methods.get(first)
        averaging = method if isinstance(method, TriggeredAveraging) and first not in self.own else None
        if averaging is not None:
            # nothing changes the weights between the update and the averaging, so both can be one pass over memory
            after_step.pop(first)
        return Hooks(
            loss_terms=list(self._parts("loss_term").values()),
            before_step=list(self._parts("before_step").values()),
            after_step=list(after_step.values()),
            after_round=list(self._parts("validated").values()),
            averaging=averaging,
        )

    def verdicts(self, record: Mapping[str, Any]) -> list[Verdict]:
        """Call every method's `validated`, and return the verdicts.

        Args:
            record: the line of metrics of the validation, with `judged` and `settled`.
        """
        found = [validated(dict(record)) for validated in self._parts("validated").values()]
        return [verdict for verdict in found if verdict is not None]

    def settled(self) -> bool:
        """Return whether all methods that have the part `settled` are settled."""
        return all([settled() for settled in self._parts("settled").values()])

    @contextlib.contextmanager
    def evaluation_weights(self, model: nn.Module) -> Iterator[None]:
        """Set the model to the weights to evaluate and to save for use inside the context.

        The contexts are entered from the last method to the first: a user's method finds the library's averages in the
        model.

        Args:
            model: the model that is trained; it is changed in place and restored after the context.
        """
        with contextlib.ExitStack() as stack:
            for weights in reversed(self._parts("evaluation_weights").values()):
                stack.enter_context(weights(model))
            yield

    def own_evaluation_weights(self) -> bool:
        """Return whether a user's method has evaluation weights, so that checkpoints need the trained ones too."""
        return bool({*self.own} & {*self._parts("evaluation_weights")})

    def metrics(self) -> dict[str, Any]:
        """Return what is added to a line of metrics.

        Raises:
            MethodError: when a method uses a name that the line has already.
        """
        found: dict[str, Any] = {}
        for name, metrics in self._parts("metrics").items():
            figures = metrics()
            taken = [figure for figure in figures if figure in FIGURES or figure in found]
            if taken:
                raise MethodError(
                    name, "metrics", f"returns {taken[0]!r}, which a line of metrics has already; rename it"
                )
            found |= figures
        return found

    def state_dict(self) -> dict[str, Any]:
        """Return the states of the methods that have one, by name."""
        return {name: state() for name, state in self._parts("state_dict").items()}

    def load_state_dict(self, states: Mapping[str, Any]) -> None:
        """Restore the state of each method.

        Args:
            states: the states from `state_dict`; states under other names are ignored.

        Raises:
            MethodError: when a state is missing, or a method cannot load its state.
        """
        parts = self._parts("load_state_dict")
        for name in self.own:
            if name in states and name not in parts:
                raise MethodError(name, "load_state_dict", "is missing, but the checkpoint holds a state of it")
        for name, load in parts.items():
            if name not in states:
                raise MethodError(name, "load_state_dict", "cannot be called: the checkpoint holds no state of it")
            try:
                load(states[name])
            except ValueError as error:
                if name in self.own:
                    raise
                raise ValueError(f"stateful.{name}: {error}") from None

    def _parts(self, part: str) -> dict[str, Callable[..., Any]]:
        """Return a part of all methods that have it, in their order; the parts of a user's methods are checked."""
        found = {name: getattr(method, part, None) for name, method in self._methods.items()}
        return {
            name: partial(checked, name, part, call) if name in self.own else call
            for name, call in found.items()
            if call is not None
        }
