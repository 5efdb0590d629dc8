"""Dynamic evaluation (Krause et al., 2018, Dynamic Evaluation of Neural Sequence Models, section 4): the weights are
trained on the text while it is scored, and decay towards the trained weights.

Each window is scored before the weights are updated with it. Updates are scaled by the root mean square of the gradient
of each weight on the training text, as in the authors' corrected code: squares are averaged over the windows, and the
decay is normalised by the mean over all tensors. Figures are not comparable with those of static evaluation. The
weights are restored afterwards.

T steps in a window, B streams of text that are scored in parallel, H width of the last layer.
"""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from refrain.data import Vocabulary, Windows
from refrain.models import Network, modes
from refrain.models.protocol import check_has, offers, part_of
from refrain.nn.precision import widened
from refrain.nn.recurrent.protocol import detached
from refrain.progress import Track, untracked

from .methods import Cache, Dynamics
from .neural_cache import cached_nats
from .perplexity import WHAT, Figure, Tally


@dataclass(frozen=True)
class GradientStatistics:
    """The root mean square of the gradient, a tensor for each parameter, and the number of windows behind it."""

    root_mean_squares: list[Tensor]
    windows: int


@torch.enable_grad()
def gather_statistics(model: Network, windows: Windows, *, track: Track = untracked) -> GradientStatistics:
    """The root mean square of the gradients of the mean loss of each window of the training text, with fixed weights.

    Args:
        model: the model, which is in training mode without dropout while it is used.
        windows: windows of the training text; the authors use batch size 100 and 5 steps.
        track: reports the loop over the windows.

    Raises:
        UserError: when the model is no network.
    """
    parameters = trained_parameters(model)
    squares = [torch.zeros_like(widened(parameter)) for parameter in parameters]
    state = model.initial_state(windows.batch_size)
    count = len(windows)
    device = parameters[0].device
    with differentiable(model):
        for index in track(range(count), "gathering gradient statistics, in windows", count):
            inputs, targets = (part.to(device) for part in windows[index])
            nats, _, state = model(inputs, targets, state)
            gradients = torch.autograd.grad(nats / targets.numel(), parameters, materialize_grads=True)
            wide = [widened(gradient) for gradient in gradients]
            torch._foreach_addcmul_(squares, wide, wide)
            state = detached(state)
    pairs = zip(squares, parameters, strict=True)
    return GradientStatistics([(square / count).sqrt().to(parameter.dtype) for square, parameter in pairs], count)


def evaluate_dynamically(
    model: Network,
    windows: Windows,
    statistics: GradientStatistics,
    dynamics: Dynamics,
    *,
    cache: Cache | None = None,
    vocabulary: Vocabulary | None = None,
    track: Track = untracked,
) -> Figure:
    """The nats and the number of tokens of a text under a model that is trained on it while it is scored.

    Args:
        model: see `dynamic_nats`.
        windows: see `dynamic_nats`.
        statistics: see `dynamic_nats`.
        dynamics: see `dynamic_nats`.
        cache: see `dynamic_nats`.
        vocabulary: see `evaluate`.
        track: reports the loop over the windows.

    Raises:
        ValueError: see `dynamic_nats`.
        UserError: see `dynamic_nats`.
    """
    tally = Tally(vocabulary)
    for targets, nats in dynamic_nats(model, windows, statistics, dynamics, cache=cache, track=track):
        tally.add(targets, nats)
    return tally.figure()


@torch.enable_grad()
def dynamic_nats(
    model: Network,
    windows: Windows,
    statistics: GradientStatistics,
    dynamics: Dynamics,
    *,
    cache: Cache | None = None,
    track: Track = untracked,
) -> Iterator[tuple[Tensor, Tensor]]:
    """Score windows one after another, and train the model on each after it was scored.

    Args:
        model: the trained model, whose weights are restored at the end.
        windows: short windows. Several streams share the weights, but each has its own state. The authors use one
            stream and 5 steps.
        statistics: the result of `gather_statistics` for the same weights.
        dynamics: the settings of dynamic evaluation.
        cache: a cache to mix in, which needs a single stream.
        track: reports the loop over the windows.

    Yields:
        The targets of a window and their nats, each (T, B).

    Raises:
        ValueError: when the statistics belong to other weights, or a cache is used with several streams.
        UserError: when a network of one's own has no `hidden` or no `head`, which the cache needs.
    """
    parameters = trained_parameters(model)
    if [s.shape for s in statistics.root_mean_squares] != [p.shape for p in parameters]:
        raise ValueError("the gradient statistics are of other weights; gather them for this model")
    if cache is not None and windows.batch_size != 1:
        raise ValueError(f"the cache reads one stream (got {windows.batch_size} columns)")
    if cache is not None:
        for part in ("hidden", "head"):
            part_of(model, part, "the neural cache")
    with restored(model), differentiable(model):
        update = Update(parameters, statistics, dynamics)
        for targets, hidden, costs in _scored(model, windows, update, track):
            yield targets, _with_cache(hidden, targets, costs, cache, update)


def _scored(
    model: Network, windows: Windows, update: "Update", track: Track
) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """The targets (T, B), last outputs (T, B, H) and nats (T, B) of each window; each is followed by an update."""
    device = next(model.parameters()).device
    state = model.initial_state(windows.batch_size)
    for index in track(range(len(windows)), WHAT, len(windows)):
        inputs, targets = (part.to(device) for part in windows[index])
        loss, hidden, costs, state = _read(model, inputs, targets, detached(state))
        yield targets, hidden, costs
        # averaged over steps but summed over streams, so that each stream updates the weights as it would alone
        update.step(torch.autograd.grad(loss / len(targets), update.parameters, materialize_grads=True))


def _read(model: Network, inputs: Tensor, targets: Tensor, state: Any) -> tuple[Tensor, Tensor, Tensor, Any]:
    """Loss, last outputs (T, B, H), nats (T, B) and the state after a window.

    Of a network without the parts for it: no outputs, and the sum of the nats.
    """
    if not (offers(model, "hidden") and offers(model, "head")):
        loss, _, state = model(inputs, targets, state)
        return loss, loss.new_zeros(0), loss.detach(), state
    hidden, head = (part_of(model, part, "the neural cache") for part in ("hidden", "head"))
    outputs, state = hidden(inputs, state)
    loss = head(outputs.dropped, targets)
    with torch.no_grad():
        costs = head.token_nats(outputs.dropped, targets)
    return loss, outputs.raw.detach(), costs, state


def _with_cache(hidden: Tensor, targets: Tensor, costs: Tensor, cache: Cache | None, update: "Update") -> Tensor:
    if cache is None:
        return costs
    if update.keys is None or update.words is None:
        update.keys = hidden[:0, 0]
        update.words = targets[:0, 0]
    mixed = cached_nats(hidden[:, 0], targets[:, 0], costs[:, 0], update.keys, update.words, cache)
    update.keys = torch.cat([update.keys, hidden[:, 0]])[-cache.window :]
    update.words = torch.cat([update.words, targets[:, 0]])[-cache.window :]
    return mixed[:, None]


class Update:
    """The update of the weights: a scaled gradient step, and a scaled decay towards the trained weights.

    Args:
        parameters: the weights, which are changed.
        statistics: the root mean squares of their gradients.
        dynamics: the settings.
    """

    def __init__(self, parameters: list[nn.Parameter], statistics: GradientStatistics, dynamics: Dynamics) -> None:
        self.parameters: list[Tensor] = list(parameters)
        self.trained = [parameter.detach().clone() for parameter in parameters]
        squares = statistics.root_mean_squares
        mean = sum(float(square.mean()) for square in squares) / len(squares)
        self.pull = [(dynamics.decay * square / max(mean, 1e-30)).clamp_(max=1.0) for square in squares]
        self.rates = [dynamics.learning_rate / (square + dynamics.epsilon) for square in squares]
        self.keys: Tensor | None = None
        self.words: Tensor | None = None

    @torch.no_grad()
    def step(self, gradients: tuple[Tensor, ...]) -> None:
        """Update the weights with the gradients of a window."""
        torch._foreach_lerp_(self.parameters, self.trained, self.pull)
        torch._foreach_addcmul_(self.parameters, gradients, self.rates, value=-1.0)

    @torch.no_grad()
    def restore(self) -> None:
        """Set the weights to the trained ones."""
        torch._foreach_copy_(self.parameters, self.trained)


def trained_parameters(model: Network) -> list[nn.Parameter]:
    """The parameters that are trained.

    Raises:
        UserError: when the model is no network.
    """
    check_has(model, "parameters")
    return [parameter for parameter in model.parameters() if parameter.requires_grad]


def differentiable(model: Network) -> contextlib.AbstractContextManager[None]:
    """Disable dropout but keep recurrent layers in training mode, which the backward pass of cuDNN requires."""
    return modes(model, _needs_training_mode)


def _needs_training_mode(module: nn.Module) -> bool:
    # torch's own layers call cuDNN too; one with dropout of its own would drop
    is_recurrent = "scan" in getattr(module, "backends", ())
    return is_recurrent or (isinstance(module, nn.RNNBase) and not module.dropout)


@contextlib.contextmanager
def restored(model: Network) -> Iterator[None]:
    """Restore the weights on exit, also after an exception."""
    parameters = list(model.parameters())
    kept = [parameter.detach().clone() for parameter in parameters]
    try:
        yield
    finally:
        with torch.no_grad():
            for parameter, value in zip(parameters, kept, strict=True):
                parameter.copy_(value)
