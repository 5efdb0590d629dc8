"""Embeddings and heads of a lower rank, chosen so that what reads them changes least on a text.

A matrix of rows for words is replaced by a product of two with the rank R between them. What is minimised is not the
error of the entries, but that of what the matrix is for, with each word weighted by its frequency p(w), as in Chen et
al. (2018, GroupReduce, NeurIPS, section 3.2):

- embedding e(w), read by the input matrices G of the first layer: sum_w p(w) |G e(w) - G e'(w)|^2;
- head w . h + b, for hidden vectors h with mean m and covariance C: sum_w p(w) E[(w . h - w' . h - their mean)^2],
  the second-order approximation of the growth of the loss, and the mean moves into the bias;
- shared matrix: the sum of both, each divided by its value for the matrix 0.

Each is solved exactly by the eigenvectors of a matrix as wide as the embedding or the last layer. The second factor of
an embedding is multiplied into G, so that the result is an ordinary embedding that is R wide.

With bands of words, each has a rank and a basis of its own (GroupReduce, section 3.1), and the same errors are
minimised band by band. The embedding becomes as wide as the largest rank, and its bands are approximated within that.

V words, D embedding width, H width of the last layer, R rank.
"""

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from refrain.assembly.model import build_model
from refrain.config import BlockLowRank, BlockLowRankEmbedding, Experiment, LowRank
from refrain.data import Windows
from refrain.errors import UserError
from refrain.models import LanguageModel, evaluating
from refrain.nn import Embedding, LowRankHead, SoftmaxHead

from .rank_bands import Bands, named_rank

WINDOWS = 50
"""The number of windows of the text from which the covariance of the last layer is estimated."""
RIDGE = 1e-6
"""What is added to a covariance, relative to its mean variance."""


class Ranks(NamedTuple):
    """The ranks to reduce to; None leaves a part as it is.

    Attributes:
        embedding: that of the embedding, which becomes its width, or those of bands of words.
        head: that of the head, or those of bands of words.
    """

    embedding: int | Bands | None = None
    head: int | Bands | None = None

    def __bool__(self) -> bool:
        return self.embedding is not None or self.head is not None

    def __str__(self) -> str:
        return ", ".join(named_rank(part, rank) for part, rank in self._asdict().items() if rank is not None)


def is_tied(model: LanguageModel) -> bool:
    """Whether the head shares the matrix of the embedding."""
    return getattr(model.head, "tied_width", None) is not None


def check_reducible(model: LanguageModel, *, embedding: bool, head: bool) -> None:
    """Check that the embedding or the head of a model can get a lower rank.

    Raises:
        UserError: when it cannot; the message names the part.
    """
    if head and type(model.head) not in (SoftmaxHead, LowRankHead):
        raise UserError(f"--head: only a softmax can get a lower rank, not {type(model.head).__name__}; leave it out")
    if not embedding:
        return
    if type(model.embedding) is not Embedding:
        raise UserError(
            f"--embedding: only a dense embedding can get a lower rank, not {type(model.embedding).__name__}; "
            "leave it out"
        )
    if "embedding" in getattr(model.head, "inner_widths", ()):
        raise UserError("--embedding: a mixture of softmaxes has vectors as wide as the embedding; leave it out")
    readers_of(model)


def widths_of(model: LanguageModel) -> tuple[int, int]:
    """The widths of a model's embedding and of what its matrix of output words reads, below which ranks must be."""
    if isinstance(model.head, LowRankHead):
        return model.embedding.embedding_size, len(model.head.projection)
    return model.embedding.embedding_size, model.widths()[model.width_names().layers[-1].hidden]


@torch.no_grad()
def reduced(
    model: LanguageModel, experiment: Experiment, ranks: Ranks, counts: Sequence[float], text: Windows
) -> tuple[LanguageModel, Experiment]:
    """Return a model whose embedding, head or both have a lower rank, and its settings.

    Args:
        model: the model, with plain weights; it is not changed.
        experiment: its settings.
        ranks: the ranks; those of a shared matrix are equal.
        counts: how often each word occurs (V,).
        text: windows of a text, on which the outputs of the last layer are observed.

    Raises:
        UserError: when the model has a part for which this is not possible.
    """
    check_reducible(model, embedding=ranks.embedding is not None, head=ranks.head is not None)
    shares = torch.tensor(counts, dtype=torch.float64).clamp_min(0.5)
    shares /= shares.sum()
    weights = {name: parameter.detach().double() for name, parameter in model.named_parameters()}
    moments = moments_of(model, text) if ranks.head is not None else None
    if is_tied(model):
        assert ranks.embedding == ranks.head and ranks.head is not None and moments is not None
        _reduce_shared(model, weights, ranks.head, shares, moments)
    else:
        if ranks.embedding is not None:
            _reduce_embedding(model, weights, ranks.embedding, shares)
        if ranks.head is not None and moments is not None:
            _reduce_head(model, weights, ranks.head, shares, moments)
    smaller = with_ranks(experiment, ranks)
    small = build_model(smaller.model, len(counts)).eval()
    small.reset_before = model.reset_before
    for name, parameter in small.named_parameters():
        parameter.copy_(weights[name])
    return small, smaller


def with_ranks(experiment: Experiment, ranks: Ranks) -> Experiment:
    """The settings of a model with lower ranks, without weight norm and sparsity settings."""
    settings = experiment.model.model_dump() | {"weight_norm": False}
    before = experiment.model
    if ranks.embedding is not None:
        settings["embedding_size"] = width = _largest(ranks.embedding)
        if isinstance(ranks.embedding, tuple):
            # rows that are shared are also projected in the head, where they are narrower than the last layer
            bands = ranks.embedding if before.tied else _full(ranks.embedding, width)
            settings["embedding"] = BlockLowRankEmbedding(bands=bands).model_dump()
    if isinstance(ranks.head, tuple):
        is_whole = before.head.kind == "softmax" and not before.tied
        bands = _full(ranks.head, before.hidden_sizes[-1]) if is_whole else ranks.head
        settings["head"] = BlockLowRank(bands=bands).model_dump()
    elif ranks.head is not None:
        settings["head"] = LowRank(rank=ranks.head).model_dump()
    return Experiment.model_validate(experiment.model_dump() | {"model": settings, "sparsity": {}})


def _largest(rank: int | Bands) -> int:
    return rank if isinstance(rank, int) else max(each for _, each in rank)


def _full(bands: Bands, width: int) -> Any:
    """Bands without a projection of those whose rank is the width."""
    return tuple((start, "full" if rank == width else rank) for start, rank in bands)


def readers_of(model: LanguageModel) -> list[str]:
    """The names of the matrices of the first layer that read the whole embedding.

    Raises:
        UserError: when a matrix reads a part of it.
    """
    # a name of its own: in a tied model of one layer, the embedding and the layer have the same width
    width = "the embedding"
    found = []
    for name, axes in model.stack.axes(width, model.width_names().layers).items():
        if not name.startswith("layers.0.") or len(axes) != 2 or axes[1].width != width or not axes[1].reads:
            continue
        if axes[1].segment is not None:
            raise UserError(
                "--embedding: the blocks of the sparse first layer read parts of the embedding, which a lower rank "
                "does not keep apart; leave it out"
            )
        found.append(f"stack.{name}")
    return found


def moments_of(model: LanguageModel, text: Windows) -> tuple[Tensor, Tensor]:
    """The mean (D,) and the covariance (D, D) of what the head's first matrix over words reads."""
    head = model.head
    total, products, count = torch.zeros(()), torch.zeros(()), 0
    state = model.initial_state(text.batch_size)
    device = next(model.parameters()).device
    with evaluating(model):
        for index in range(min(WINDOWS, len(text))):
            outputs, state = model.hidden(text[index][0].to(device), state)
            hidden = outputs.dropped.flatten(0, -2)
            rows = hidden @ head.projection.T if isinstance(head, LowRankHead) else hidden
            rows = rows.double().cpu()
            total, products, count = total + rows.sum(0), products + rows.T @ rows, count + len(rows)
    mean = total / count
    return mean, products / count - torch.outer(mean, mean)


def root_of(covariance: Tensor) -> tuple[Tensor, Tensor]:
    """A symmetric root of a covariance with a ridge, and its inverse."""
    values, vectors = torch.linalg.eigh(covariance)
    values = values.clamp_min(0) + RIDGE * values.clamp_min(0).mean().clamp_min(torch.finfo(values.dtype).tiny)
    return vectors * values.sqrt() @ vectors.T, vectors / values.sqrt() @ vectors.T


def _leading(matrix: Tensor, rank: int) -> Tensor:
    """The eigenvectors (D, R) of the largest eigenvalues of a symmetric matrix, the largest first."""
    vectors: Tensor = torch.linalg.eigh(matrix).eigenvectors
    return vectors.flip(-1)[:, :rank]


def _reduce_embedding(model: LanguageModel, weights: dict[str, Tensor], rank: int | Bands, shares: Tensor) -> None:
    names, width = readers_of(model), _largest(rank)
    words = weights["embedding.weight"]
    orthogonal, factor = torch.linalg.qr(torch.cat([weights[name] for name in names]))  # G = Q F
    leading = _leading(factor @ (words.T * shares) @ words @ factor.T, width)
    # a narrow layer reads fewer directions than the rank; the other entries are zero
    leading = nn.functional.pad(leading, (0, width - leading.shape[1]))
    weights["embedding.weight"] = rows = words @ factor.T @ leading
    sizes = [len(weights[name]) for name in names]
    for name, part in zip(names, (orthogonal @ leading).split(sizes), strict=True):
        weights[name] = part
    if isinstance(rank, tuple):
        for index, own, basis in _bases(rows, rank, shares):
            full = basis.shape[1] == width
            weights[f"embedding.blocks.{index}"] = own if full else own @ basis
            weights[f"embedding.projections.{index}"] = basis


def _reduce_head(
    model: LanguageModel, weights: dict[str, Tensor], rank: int | Bands, shares: Tensor, moments: tuple[Tensor, Tensor]
) -> None:
    words = weights["head.weight"]
    mean, covariance = moments
    root, inverse = root_of(covariance)
    if isinstance(rank, int):
        leading = _leading(root @ (words.T * shares) @ words @ root, rank)
        _set_head(weights, words @ root @ leading, leading.T @ inverse, words, mean)
        return
    projection = weights.get("head.projection")
    lost = []
    for index, own, basis in _bases(words @ root, rank, shares):
        block, inner = own @ basis, basis.T @ inverse
        start = rank[index][0]
        part = words[start : start + len(own)]
        if projection is None and basis.shape[1] == words.shape[1]:
            block, inner = part, torch.eye(words.shape[1], dtype=words.dtype)
        lost.append((part - block @ inner) @ mean)
        weights[f"head.blocks.{index}"] = block
        weights[f"head.projections.{index}"] = inner if projection is None else inner @ projection
    weights["head.bias"] = weights["head.bias"] + torch.cat(lost)


def _reduce_shared(
    model: LanguageModel, weights: dict[str, Tensor], rank: int | Bands, shares: Tensor, moments: tuple[Tensor, Tensor]
) -> None:
    names = readers_of(model)
    words = weights["embedding.weight"]
    mean, covariance = moments
    scatter = (words.T * shares) @ words
    reading = torch.cat([weights[name] for name in names])
    parts = [reading.T @ reading, covariance]
    root, inverse = root_of(torch.stack([part / (scatter * part).sum() for part in parts]).sum(0))
    leading = _leading(root @ scatter @ root, _largest(rank))
    for name in names:
        weights[name] = weights[name] @ inverse @ leading
    rows, projection = words @ root @ leading, leading.T @ inverse
    if isinstance(rank, int):
        weights["embedding.weight"] = rows
        _set_head(weights, rows, projection, words, mean)
        return
    before = weights.get("head.projection")
    approximated = []
    for index, own, basis in _bases(rows, rank, shares):
        weights[f"embedding.blocks.{index}"] = own @ basis
        weights[f"embedding.projections.{index}"] = basis
        inner = basis.T @ projection
        approximated.append(own @ basis @ inner)
        weights[f"head.projections.{index}"] = inner if before is None else inner @ before
    weights["head.bias"] = weights["head.bias"] + (words - torch.cat(approximated)) @ mean


def _bases(rows: Tensor, bands: Bands, shares: Tensor) -> Iterator[tuple[int, Tensor, Tensor]]:
    """The index of each band, its rows (words, D), and the basis (D, R) in which they are approximated best."""
    ends = [*(start for start, _ in bands), len(rows)]
    for index, ((_, rank), (start, end)) in enumerate(zip(bands, pairwise(ends), strict=True)):
        own = rows[start:end]
        yield index, own, _leading((own.T * shares[start:end]) @ own, rank)


def _set_head(weights: dict[str, Tensor], rows: Tensor, projection: Tensor, words: Tensor, mean: Tensor) -> None:
    """Put the two factors of the words' vectors in their place, and what they lose of the mean into the bias."""
    weights["head.bias"] = weights["head.bias"] + (words - rows @ projection) @ mean
    before = weights.get("head.projection")
    weights["head.weight"] = rows
    weights["head.projection"] = projection if before is None else projection @ before
