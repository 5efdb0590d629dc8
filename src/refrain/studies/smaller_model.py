"""A smaller model: with factors of a lower rank in place of its matrices over words, and without some of its units."""

import bisect
import copy
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from refrain.assembly.model import build_model
from refrain.assembly.widths import resized
from refrain.config import Experiment
from refrain.errors import UserError
from refrain.evaluation import evaluate
from refrain.models import LanguageModel
from refrain.nn import LowRankHead
from refrain.nn.kernels.packed_linear import WeightType, round_weights
from refrain.progress import Reporter
from refrain.sparsity import clear_units, model_size, select_units, unit_axes

from .low_rank import Ranks, check_reducible, is_tied, reduced, widths_of, with_ranks
from .reconstruction import reconstructed
from .removal_cost import Request, Validation
from .smaller import units_to_remove

HEAD_SHARES = (1.0, 0.7, 0.6, 0.5, 0.42, 0.35, 0.3, 0.25, 0.2, 0.15, 0.1, 0.05)
"""The ranks of the head that are tried for a size, as fractions of its width."""


ZERO_SHARES = ((1.0, 1.0), (0.5, 1.0), (0.5, 0.7), (0.5, 0.5))
"""The ranks of embedding and head, as fractions of their widths, with which zeros are tried for a size."""
LEAST_ZEROS, MOST_ZEROS = 0.3, 0.9
"""The shares of zeros between which they are tried; fewer take as much space as a dense matrix."""


class Smaller(NamedTuple):
    """A smaller model.

    Attributes:
        experiment: its settings.
        model: the model, with zeros and rounded weights if these are asked for.
        masked: the model with the same units set to zero in place of being removed, before zeros and rounding.
        small: the model before zeros and rounding.
        removed: the number of removed units by width.
        units: the number of units from which these were chosen.
        ranks: the ranks of the embedding and the head, where they were reduced.
        weights: dtype of the weights.
        zeros: the fraction of the entries of each matrix that became zero, or None.
    """

    experiment: Experiment
    model: LanguageModel
    masked: LanguageModel
    small: LanguageModel
    removed: dict[str, int]
    units: int
    ranks: Ranks
    weights: WeightType
    zeros: float | None = None

    def __str__(self) -> str:
        parts = [f"without {sum(self.removed.values()):,} of its {self.units:,} units"] if self.removed else []
        parts += [f"with {self.ranks}"] if self.ranks else []
        parts += [f"with {self.zeros:.0%} zeros"] if self.zeros is not None else []
        parts += ["in int8"] if self.weights == "int8" else []
        return ", ".join(parts)

    def document(self) -> dict[str, Any]:
        """What was done, as plain data."""
        return {"removed": self.removed, "ranks": self.ranks._asdict(), "zeros": self.zeros, "weights": self.weights}


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


def make_smaller(
    start: Start, request: Request, target: Target | None, ranks: Ranks, zeros: float | None = None
) -> Smaller:
    """Make a smaller model.

    Args:
        start: what it is made of.
        request: the options.
        target: the size to reach by removing units, after the ranks are reduced.
        ranks: the ranks to reduce to.
        zeros: the fraction of the entries of each matrix that become zero, of what is left; None for none.

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
        needed=not ranks and target is None and zeros is None and start.weights == start.given,
        track=start.reports.track,
    )
    whole = model
    if target is not None and windows is not None:
        whole = reconstructed(model, windows, dead, start.reports.track)
    kept = {width: (~which).nonzero().flatten() for width, which in dead.items()}
    settings = resized(experiment, model, kept)
    masked, small = _masked_and_small(whole, dead, kept, settings, len(start.counts))
    final = small if zeros is None else with_zeros(small, zeros)
    if start.weights == "int8":
        final = copy.deepcopy(final)
        round_weights(final)
    removed = {width: int(which.sum()) for width, which in dead.items() if which.any()}
    return Smaller(settings, final, masked, small, removed, sum(map(len, dead.values())), ranks, start.weights, zeros)


def with_zeros(model: LanguageModel, share: float) -> LanguageModel:
    """A copy of a model in which a share of the entries of each matrix, those smallest in absolute value, are zero.

    The projection of a head of low rank is left as it is: it is small, and the size of its entries says little, because
    it also divides by the spread of what it reads.
    """
    found = copy.deepcopy(model)
    with torch.no_grad():
        for parameter in _may_have_zeros(found):
            count = math.ceil(share * parameter.numel())
            parameter.view(-1)[parameter.abs().flatten().argsort()[:count]] = 0
    return found


def _may_have_zeros(model: LanguageModel) -> list[Tensor]:
    projection = model.head.projection if isinstance(model.head, LowRankHead) else None
    return [parameter for parameter in model.parameters() if parameter.ndim >= 2 and parameter is not projection]


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

    Tried are: removing units; for each rank of the head, the largest rank of the embedding with which no unit has to be
    removed; and zeros of the smallest entries, with and without lower ranks. A size that rounding alone reaches is
    reached by rounding.

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
    ways: list[tuple[Target | None, Ranks, float | None]] = [(target, Ranks(), None)]
    if not _fits(start, target, Ranks()):
        ways += [(target, ranks, None) for ranks in _ranks_for(start, target)]
        ways += [(None, ranks, zeros) for ranks, zeros in _zeros_for(start, target)]
    for size, ranks, zeros in ways:
        try:
            smaller = make_smaller(start, request, size, ranks, zeros)
        except UserError as error:
            problem = problem or error
            continue
        if len(ways) == 1:
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


def _zeros_for(start: Start, target: Target) -> Iterator[tuple[Ranks, float]]:
    """Ranks, and the share of zeros with which a model of these ranks reaches a target when zeros are not stored."""
    embedding, head = widths_of(start.model)
    shared = is_tied(start.model)
    for narrow, low in ZERO_SHARES:
        ranks = Ranks(
            max(1, round(narrow * min(embedding, head) if shared else narrow * embedding)) if narrow < 1 else None,
            max(1, round(low * head)) if low < 1 else None,
        )
        if shared:
            ranks = Ranks(ranks.embedding, ranks.embedding)
        parts = ranks.embedding is not None, ranks.head is not None
        if any(parts) and not _is_reducible(start.model, embedding=parts[0], head=parts[1]):
            continue
        model = _shaped(start, ranks)
        matrices = [parameter.numel() for parameter in _may_have_zeros(model)]
        size = 1 if start.weights == "int8" else 4
        rest = model_size(target.measure, model.axes(), model.widths()) - size * sum(matrices)
        # of each matrix, a bitmap and a count that are rounded up
        left = target.size - rest - sum(matrices) / 8 - (1 + size) * len(matrices)
        zeros = max(LEAST_ZEROS, 1 - left / (size * sum(matrices)))
        if zeros <= MOST_ZEROS:
            yield ranks, zeros


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
    model = _shaped(start, ranks)
    return model_size(target.measure, model.axes(), model.widths()) <= target.size


def _shaped(start: Start, ranks: Ranks) -> LanguageModel:
    """A model with some ranks, without values."""
    with torch.device("meta"):
        return build_model(with_ranks(start.experiment, ranks).model, len(start.counts))
