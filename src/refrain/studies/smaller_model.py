"""A smaller model: with factors of a lower rank in place of its matrices over words, and without some of its units."""

import bisect
import copy
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from refrain.assembly.model import build_model
from refrain.assembly.widths import resized
from refrain.config import Experiment
from refrain.errors import UserError
from refrain.evaluation import evaluate
from refrain.models import LanguageModel
from refrain.nn.kernels.packed_linear import WeightType, round_weights
from refrain.progress import Reporter
from refrain.sparsity import clear_units, model_size, select_units, unit_axes

from .low_rank import Ranks, check_reducible, is_tied, reduced, widths_of, with_ranks
from .reconstruction import reconstructed
from .removal_cost import Request, Validation
from .smaller import units_to_remove

HEAD_SHARES = (1.0, 0.7, 0.6, 0.5, 0.42, 0.35, 0.3, 0.25, 0.2, 0.15, 0.1, 0.05)
"""The ranks of the head that are tried for a size, as fractions of its width."""


class Smaller(NamedTuple):
    """A smaller model.

    Attributes:
        experiment: its settings.
        model: the model; its weights are rounded if they are int8.
        masked: the model with the same units, set to zero in place of being removed, before any rounding.
        small: the model before any rounding.
        removed: the number of removed units by width.
        units: the number of units from which these were chosen.
        ranks: the ranks of the embedding and the head, where they were reduced.
        weights: dtype of the weights.
    """

    experiment: Experiment
    model: LanguageModel
    masked: LanguageModel
    small: LanguageModel
    removed: dict[str, int]
    units: int
    ranks: Ranks
    weights: WeightType

    def __str__(self) -> str:
        parts = [f"without {sum(self.removed.values()):,} of its {self.units:,} units"] if self.removed else []
        parts += [f"with {self.ranks}"] if self.ranks else []
        parts += ["in int8"] if self.weights == "int8" else []
        return ", ".join(parts)

    def document(self) -> dict[str, Any]:
        """What was done, as plain data."""
        return {"removed": self.removed, "ranks": self.ranks._asdict(), "weights": self.weights}


class Target(NamedTuple):
    """A size to reach.

    Attributes:
        measure: of `model_size`.
        size: the largest size allowed.
    """

    measure: str
    size: int


class Start(NamedTuple):
    """What smaller models are made of.

    Attributes:
        model: the model, with plain weights.
        experiment: its settings.
        counts: how often each word occurs (V,).
        text: the validation text, or None for a change without loss.
        given: dtype of the weights of the model.
        weights: dtype of the weights of the smaller model.
        reports: reports what takes time.
    """

    model: LanguageModel
    experiment: Experiment
    counts: Sequence[float]
    text: Validation | None
    given: WeightType
    weights: WeightType
    reports: Reporter


def make_smaller(start: Start, request: Request, target: Target | None, ranks: Ranks) -> Smaller:
    """Make a smaller model.

    Args:
        start: what it is made of.
        request: the options.
        target: the size to reach by removing units, after the ranks are reduced.
        ranks: the ranks to reduce to.

    Raises:
        UserError: when nothing would change, or the target cannot be reached.
    """
    model, experiment, text = start.model, start.experiment, start.text
    if ranks:
        assert text is not None
        model, experiment = reduced(model, experiment, ranks, start.counts, text.windows)
    windows = None if text is None else text.windows
    dead = units_to_remove(
        model,
        threshold=request.threshold,
        to=target,
        text=windows,
        needed=not ranks and target is None and start.weights == start.given,
        track=start.reports.track,
    )
    whole = model
    if target is not None and windows is not None:
        whole = reconstructed(model, windows, dead, start.reports.track)
    kept = {width: (~which).nonzero().flatten() for width, which in dead.items()}
    settings = resized(experiment, model, kept)
    masked, small = _masked_and_small(whole, dead, kept, settings, len(start.counts))
    final = small
    if start.weights == "int8":
        final = copy.deepcopy(small)
        round_weights(final)
    removed = {width: int(which.sum()) for width, which in dead.items() if which.any()}
    return Smaller(settings, final, masked, small, removed, sum(map(len, dead.values())), ranks, start.weights)


def _masked_and_small(
    whole: LanguageModel,
    dead: dict[str, Tensor],
    kept: dict[str, Tensor],
    experiment: Experiment,
    words: int,
) -> tuple[LanguageModel, LanguageModel]:
    """Return the model with its dead units set to zero, and the model without them."""
    masked = copy.deepcopy(whole)
    table = masked.axes()
    parameters = dict(masked.named_parameters())
    for width, which in dead.items():
        clear_units(parameters, unit_axes(table)[width], which)
    small = build_model(experiment.model, words).eval()
    small.reset_before = masked.reset_before
    selected = select_units(parameters, table, kept)
    with torch.no_grad():
        for name, parameter in small.named_parameters():
            parameter.copy_(selected[name])
    return masked, small


def smallest_loss(start: Start, request: Request, target: Target, log: Callable[[str], None]) -> Smaller:
    """Make a model of a size in several ways, and return the one with the smallest perplexity.

    Tried are: removing units, and for each rank of the head the largest rank of the embedding with which no unit has to
    be removed. A size that rounding alone reaches is reached by rounding.

    Args:
        start: what it is made of.
        request: the options.
        target: the size to reach.
        log: called with a line for each way.

    Raises:
        UserError: when the size cannot be reached.
    """
    assert start.text is not None
    found: list[tuple[float, Smaller]] = []
    problem: UserError | None = None
    candidates = [Ranks(), *(_ranks_for(start, target) if not _fits(start, target, Ranks()) else [])]
    for ranks in candidates:
        try:
            smaller = make_smaller(start, request, target, ranks)
        except UserError as error:
            problem = problem or error
            continue
        if len(candidates) == 1:
            return smaller
        perplexity = evaluate(smaller.model, start.text.beginning, track=start.reports.track).perplexity
        log(f"{smaller}: perplexity {perplexity:,.2f} on the beginning of {start.text.name}")
        found.append((perplexity, smaller))
    if not found:
        assert problem is not None
        raise problem
    return min(found, key=lambda pair: pair[0])[1]


def _ranks_for(start: Start, target: Target) -> list[Ranks]:
    """For each rank of the head, the largest rank of the embedding with which a model reaches a target."""
    embedding, head = widths_of(start.model)
    can_embedding = _is_reducible(start.model, embedding=True, head=False)
    can_head = _is_reducible(start.model, embedding=False, head=True)
    if is_tied(start.model):
        both = [Ranks(rank, rank) for rank in range(1, min(embedding, head))] if can_embedding and can_head else []
        return _largest(start, target, both)
    found: list[Ranks] = []
    for share in HEAD_SHARES if can_head else HEAD_SHARES[:1]:
        alone = Ranks(None, max(1, round(share * head)) if share < 1 else None)
        if alone.head is not None and _fits(start, target, alone):
            return [*found, alone]
        narrow = [alone._replace(embedding=rank) for rank in range(1, embedding)] if can_embedding else []
        found += _largest(start, target, narrow)
    return found


def _is_reducible(model: LanguageModel, *, embedding: bool, head: bool) -> bool:
    try:
        check_reducible(model, embedding=embedding, head=head)
    except UserError:
        return False
    return True


def _largest(start: Start, target: Target, ascending: Sequence[Ranks]) -> list[Ranks]:
    """The last of some ranks with which the model reaches a target, if any does."""
    count = bisect.bisect_left(ascending, True, key=lambda ranks: not _fits(start, target, ranks))
    return list(ascending[count - 1 : count])


def _fits(start: Start, target: Target, ranks: Ranks) -> bool:
    """Whether a model reaches a target with some ranks alone."""
    with torch.device("meta"):
        model = build_model(with_ranks(start.experiment, ranks).model, len(start.counts))
    return model_size(target.measure, model.axes(), model.widths()) <= target.size
