"""A smaller model: with factors of a lower rank in place of its matrices over words, and without some of its units."""

import copy
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from refrain.assembly.model import build_model
from refrain.assembly.widths import resized
from refrain.config import Experiment
from refrain.models import LanguageModel
from refrain.nn import BlockLowRankEmbedding, BlockLowRankHead, LowRankHead
from refrain.nn.kernels.packed_linear import WeightType, round_weights
from refrain.progress import Reporter
from refrain.sparsity import clear_units, model_size, select_units, unit_axes
from refrain.storage.weight_schemes import header_size

from .low_rank import Ranks, reduced, with_ranks
from .reconstruction import reconstructed
from .removal_cost import Request, Validation
from .smaller import units_to_remove


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
        size: the largest size allowed; in bytes, of the file.
    """

    measure: str
    size: int


def bytes_beside(model: LanguageModel, measure: str, *, without_zeros: bool = False) -> int:
    """How many bytes of a file with the weights of a model are its header; 0 for a measure that is not in bytes."""
    if not measure.endswith("bytes"):
        return 0
    shapes = {name: tuple(parameter.shape) for name, parameter in model.named_parameters()}
    return header_size(shapes, rounded=measure == "int8_bytes", without_zeros=without_zeros)


def size_of(model: LanguageModel, measure: str) -> int:
    """The size of a model by a measure of `model_size`; in bytes, that of the file with its weights."""
    return model_size(measure, model.axes(), model.widths()) + bytes_beside(model, measure)


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
        beside=0 if target is None else bytes_beside(model, target.measure),
        text=windows,
        needed=not ranks and target is None and zeros is None and start.weights == start.given,
        is_int8=start.given == "int8",
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


def shaped(start: Start, ranks: Ranks) -> LanguageModel:
    """A model with some ranks, without values."""
    with torch.device("meta"):
        return build_model(with_ranks(start.experiment, ranks).model, len(start.counts))


def with_zeros(model: LanguageModel, share: float) -> LanguageModel:
    """A copy of a model in which a share of the entries of each matrix, those smallest in absolute value, are zero.

    Projections of a head of low rank, and of bands of words, are left as they are: they are small, and the size of the
    entries of a head's says little, because they also divide by the spread of what they read.
    """
    found = copy.deepcopy(model)
    with torch.no_grad():
        for parameter in may_have_zeros(found):
            count = math.ceil(share * parameter.numel())
            parameter.view(-1)[parameter.abs().flatten().argsort()[:count]] = 0
    return found


def may_have_zeros(model: LanguageModel) -> list[Tensor]:
    """The matrices that `with_zeros` changes."""
    kept = [model.head.projection] if isinstance(model.head, LowRankHead) else []
    for part in (model.embedding, model.head):
        kept += part.projections.values() if isinstance(part, BlockLowRankEmbedding | BlockLowRankHead) else []
    return [each for each in model.parameters() if each.ndim >= 2 and not any(each is one for one in kept)]


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
