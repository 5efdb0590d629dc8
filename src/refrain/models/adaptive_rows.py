"""The rows of an adaptive softmax for another vocabulary, in which words move between the short list and the clusters.

A word of the short list has the logit v.h + b. A word w of cluster c costs -log p(c) - log p(w | c), with the logit
w_c.h + b_c of the cluster and r_w.P_c.h of the word, P_c the narrow projection. Where h is small, log p(w | c) is
(r_w - m).P_c.h - log n to first order, m the mean of the n rows of the cluster. So the word counts in the first softmax
as the vector w_c + (r_w - m).P_c with the bias b_c - log n, and that is how it moves. On its way into a cluster, where
words have no bias, r_w - m is the least-squares solution for its vector.

D input width, C clusters.
"""

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise

import torch
from torch import Tensor

FIRST = "head.softmax.head"


def adaptive_rows(
    weights: Mapping[str, Tensor], cutoffs: Sequence[int], edges: Sequence[int], source: Tensor, initial: Tensor
) -> dict[str, Tensor]:
    """The first softmax and the rows of each cluster. Words that stay in their part keep their rows bit for bit.

    Args:
        weights: the weights of the trained model, by name.
        cutoffs: the ids at which its clusters begin.
        edges: the ids at which the clusters of the new head begin, and the size of its vocabulary.
        source: for each new word, its id in the trained model, or -1.
        initial: the ids of trained words whose mean each new word starts from.
    """
    trained = _Trained(weights, cutoffs)
    vector, bias = (part.mean(dim=0) for part in trained.in_first_softmax(initial))
    short = source[: edges[0]]
    rows, biases = trained.in_first_softmax(short.clamp_min(0))
    rows[short < 0], biases[short < 0] = vector, bias
    first = weights[f"{FIRST}.weight"]
    found = {
        f"{FIRST}.weight": torch.cat([rows, first[trained.short :]]),
        f"{FIRST}.bias": torch.cat([biases, weights[f"{FIRST}.bias"][trained.short :]]),
    }
    for cluster, (low, high) in enumerate(pairwise(edges)):
        own = source[low:high]
        vectors, _ = trained.in_first_softmax(own.clamp_min(0))
        vectors[own < 0] = vector
        rows = trained.in_cluster(cluster, vectors)
        stays = trained.part_of(own) == cluster
        rows[stays] = trained.rows[cluster][own[stays] - trained.edges[cluster]]
        found[f"head.softmax.tail.{cluster}.1.weight"] = rows
    return found


class _Trained:
    """The rows of a trained adaptive softmax.

    Args:
        weights: the weights of the model, by name.
        cutoffs: the ids at which the clusters begin.
    """

    def __init__(self, weights: Mapping[str, Tensor], cutoffs: Sequence[int]) -> None:
        self.short = cutoffs[0]
        self.weight, self.bias = weights[f"{FIRST}.weight"], weights[f"{FIRST}.bias"]
        tails = [f"head.softmax.tail.{index}" for index in range(len(cutoffs))]
        self.projections = [weights[f"{tail}.0.weight"] for tail in tails]
        self.rows = [weights[f"{tail}.1.weight"] for tail in tails]
        self.edges = torch.tensor([*cutoffs, cutoffs[-1] + len(self.rows[-1])])

    def part_of(self, ids: Tensor) -> Tensor:
        """The cluster of each id; -1 for the short list, and for the id -1."""
        return torch.bucketize(ids, self.edges[:-1], right=True) - 1

    def in_first_softmax(self, ids: Tensor) -> tuple[Tensor, Tensor]:
        """Vectors (N, D) and biases (N,) with which words count in the first softmax."""
        parts = self.part_of(ids)
        vectors, biases = self.weight[ids.clamp_max(self.short - 1)], self.bias[ids.clamp_max(self.short - 1)]
        for cluster, rows in enumerate(self.rows):
            members = parts == cluster
            own = rows[ids[members] - self.edges[cluster]] - rows.mean(dim=0)
            vectors[members] = self.weight[self.short + cluster] + own @ self.projections[cluster]
            biases[members] = self.bias[self.short + cluster] - math.log(len(rows))
        return vectors, biases

    def in_cluster(self, cluster: int, vectors: Tensor) -> Tensor:
        """The rows (N, D / division ** (cluster + 1)) of words in a cluster, from their vectors."""
        inverse = torch.linalg.pinv(self.projections[cluster].double()).to(vectors.dtype)
        own = vectors - self.weight[self.short + cluster]
        return self.rows[cluster].mean(dim=0) + torch.mm(own, inverse)
