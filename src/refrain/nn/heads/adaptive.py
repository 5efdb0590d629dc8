"""Adaptive softmax (Grave et al., 2017, Efficient softmax approximation for GPUs): rare words cost less.

The distribution is exact and normalised; the two-level factorisation is torch's. Word ids must be ordered by
descending frequency, for the first ones form the short list.

N tokens (any leading shape), D input width, V words.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from refrain.axes import Axis, AxisTable
from refrain.nn.ids import check_ids
from refrain.nn.kernels.backend import TORCH
from refrain.nn.precision import widened
from refrain.nn.step_graph.builder import GraphBuilder, Value

from .linear_cross_entropy import (
    NATIVE_FROM,
    largest_parameter,
    linear_cross_entropy,
    no_autocast,
    token_nats,
    token_rows,
)


class AdaptiveHead(nn.Module):
    """A softmax over a short list of frequent words and clusters of rarer ones.

    Args:
        input_size: D.
        vocabulary_size: V.
        cutoffs: ids at which the clusters begin, ascending, each in (0, V).
        division: the vectors of cluster i have width D / division ** (i + 1).

    Attributes:
        backend: what the head trains with.

    Raises:
        ValueError: when a size or the division is not positive, the cutoffs are not ascending ids of the vocabulary,
            or the last cluster has no width left.
    """

    kernels = "softmax"
    backends = ("torch", "native")
    native_from = NATIVE_FROM
    tied = False
    tied_width: str | None = None

    def __init__(self, input_size: int, vocabulary_size: int, *, cutoffs: Sequence[int], division: float = 4.0) -> None:
        super().__init__()
        self.backend = TORCH
        if min(input_size, vocabulary_size) < 1 or not division > 0:
            raise ValueError(
                f"AdaptiveHead sizes and division must be positive, got {input_size=}, {vocabulary_size=}, {division=}"
            )
        if not cutoffs or list(cutoffs) != sorted(set(cutoffs)) or cutoffs[0] < 1 or cutoffs[-1] >= vocabulary_size:
            raise ValueError(f"cutoffs must ascend within 1 and {vocabulary_size - 1} (got {list(cutoffs)})")
        if input_size < division ** len(cutoffs):
            raise ValueError(
                f"cutoffs of {len(cutoffs)} clusters, each {division:g} times narrower, need an input of width "
                f"{division ** len(cutoffs):g} (got {input_size})"
            )
        self.softmax = nn.AdaptiveLogSoftmaxWithLoss(
            input_size, vocabulary_size, list(cutoffs), div_value=division, head_bias=True
        )

    @property
    def native_size(self) -> int:
        """The size of the largest weight, to which `native_from` refers."""
        return largest_parameter(self)

    def forward(self, hidden: Tensor, targets: Tensor) -> Tensor:
        """hidden (..., D), targets (...) -> the sum of the targets' nats, a scalar with a gradient."""
        backend = self.backend if self.training else TORCH
        rows, words = token_rows(hidden.to(self.softmax.head.weight.dtype), targets)
        check_ids("targets", words, self.softmax.n_classes)
        softmax: Any = self.softmax
        nats = rows.new_zeros(())
        first, clusters = self._divided(words)
        for members, own, inner, outer in clusters:
            nats = nats + linear_cross_entropy(inner(rows[members]), outer.weight, None, own, backend=backend)
        return nats + linear_cross_entropy(rows, softmax.head.weight, softmax.head.bias, first, backend=backend)

    def token_nats(self, hidden: Tensor, targets: Tensor) -> Tensor:
        """hidden (..., D), targets (...) -> the nats of each target, in the shape of targets, without a gradient."""
        softmax: Any = self.softmax
        rows, words = token_rows(hidden.to(softmax.head.weight.dtype), targets)
        check_ids("targets", words, softmax.n_classes)
        with torch.no_grad(), no_autocast(rows):
            first, clusters = self._divided(words)
            inside = []
            for members, own, inner, outer in clusters:
                no_bias = outer.weight.new_zeros(len(outer.weight))
                inside.append((members, token_nats(inner(rows[members]), outer.weight, no_bias, own)))
            nats: Tensor = token_nats(rows, softmax.head.weight, softmax.head.bias, first)
            for members, own in inside:
                nats[members] += own
        return nats.reshape(targets.shape)

    def _divided(self, words: Tensor) -> tuple[Tensor, list[tuple[Tensor, Tensor, Any, Any]]]:
        """The words (N,) of the first softmax, in which each cluster is one more word after the short list.

        Also, for each cluster, the places of its words, their ids in it, and its two linear layers.
        """
        softmax: Any = self.softmax
        edges = softmax.cutoffs  # the ends of the short list and of each cluster
        first, clusters = words.clone(), []
        for index, (low, high) in enumerate(pairwise(edges)):
            (members,) = ((words >= low) & (words < high)).nonzero(as_tuple=True)
            first[members] = edges[0] + index
            clusters.append((members, words[members] - low, *softmax.tail[index]))
        return first, clusters

    def log_probabilities(self, hidden: Tensor) -> Tensor:
        """hidden (..., D) -> natural log-probabilities (..., V)."""
        softmax: Any = self.softmax
        rows = hidden.to(softmax.head.weight.dtype)
        first = widened(softmax.head(rows)).log_softmax(dim=-1)
        shortlist, *clusters = first.split([softmax.shortlist_size, *[1] * softmax.n_clusters], dim=-1)
        parts = [shortlist]
        for cluster, words in zip(clusters, softmax.tail, strict=True):
            parts.append(widened(words(rows)).log_softmax(dim=-1) + cluster)
        return torch.cat(parts, dim=-1)

    def describe(self, build: GraphBuilder, hidden: Value) -> Value:
        """The log-probabilities as operations; see `Describable`."""
        softmax: Any = self.softmax
        first = build.weight("softmax.head.weight", softmax.head.weight)
        found = (hidden @ first.T + build.weight("softmax.head.bias", softmax.head.bias)).log_softmax()
        shortlist, *clusters = found.split([softmax.shortlist_size, *[1] * softmax.n_clusters])
        parts = [shortlist]
        for index, (cluster, (inner, outer)) in enumerate(zip(clusters, softmax.tail, strict=True)):
            narrow = hidden @ build.weight(f"softmax.tail.{index}.0.weight", inner.weight).T
            words = narrow @ build.weight(f"softmax.tail.{index}.1.weight", outer.weight).T
            parts.append(words.log_softmax() + cluster)
        return build.concat(parts)

    @property
    def inner_widths(self) -> tuple[str, ...]:
        """The first softmax, and vectors and words of each cluster."""
        clusters = range(self.softmax.n_clusters)
        parts = [(f"cluster{index}.inner", f"cluster{index}.vocabulary") for index in clusters]
        return ("shortlist_and_clusters", *(name for part in parts for name in part))

    def axes(self, input_width: str, vocabulary_width: str, **inner: str) -> AxisTable:
        """The axes of each parameter, none of which allows a unit to be removed.

        Args:
            input_width: name of the width below; the clusters are narrower by a fixed division of it.
            vocabulary_width: name of nothing here, as the words are divided into short list and clusters.
            **inner: a name for each of `inner_widths`. The first softmax has the words of the short list and a logit
                for each cluster side by side.
        """
        names = {name: inner.get(name, name) for name in self.inner_widths}
        below = Axis(input_width, role="reads", removable=False)
        first = Axis(names["shortlist_and_clusters"], removable=False)
        table: AxisTable = {
            "softmax.head.weight": (first, below),
            "softmax.head.bias": (first._replace(role="shifts"),),
        }
        for index in range(self.softmax.n_clusters):
            vectors = Axis(names[f"cluster{index}.inner"], removable=False)
            words = Axis(names[f"cluster{index}.vocabulary"], removable=False)
            table[f"softmax.tail.{index}.0.weight"] = (vectors, below)
            table[f"softmax.tail.{index}.1.weight"] = (words, vectors._replace(role="reads"))
        return table

    def extra_repr(self) -> str:
        """The sizes, for print."""
        return f"{self.softmax.in_features}, {self.softmax.n_classes}, cutoffs={list(self.softmax.cutoffs[:-1])}"
