"""Chooses the ranks of word bands for a given size: the next rank goes where it saves the most error for each entry.

The error of a band that its rank leaves out is the sum of the smallest eigenvalues of the matrix of low_rank.py, with
the words weighted by their frequency. One more rank of a band of n words costs n entries and a row of the projection,
and ranks are given out in the order of the error that they save for each entry.

V words in the vocabulary, D width of the rows, R rank.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor

from refrain.data import Windows
from refrain.models import LanguageModel

from .low_rank import is_tied, moments_of, readers_of, root_of
from .rank_bands import Bands

STARTS = (0.0, 0.02, 0.1, 0.4)
"""The first words of the bands as fractions of the vocabulary, from the most frequent word on."""


class Spectrum(NamedTuple):
    """What each rank of each band saves.

    Attributes:
        starts: the first word of each band.
        words: the number of its words.
        saved: for each band the error that each rank saves, the first one most.
        projected: how many entries a projection has for each rank.
        has_full: whether rows of the full width need no projection.
        is_nested: whether the width of the rows becomes the largest rank.
    """

    starts: tuple[int, ...]
    words: tuple[int, ...]
    saved: tuple[Tensor, ...]
    projected: int
    has_full: bool
    is_nested: bool

    def bands(self, entries: float) -> Bands:
        """The bands with at most about this number of entries, and at least rank 1 each.

        Args:
            entries: the number of entries of rows and projections.
        """
        costs = [words + self.projected for words in self.words]
        worth = torch.cat([saved / cost for saved, cost in zip(self.saved, costs, strict=True)])
        order = worth.argsort(descending=True, stable=True)
        spent = torch.cat([torch.full_like(saved, cost) for saved, cost in zip(self.saved, costs, strict=True)])[
            order
        ].cumsum(0)
        chosen = torch.zeros_like(worth, dtype=torch.bool)
        chosen[order[spent <= entries]] = True
        ranks = [max(1, int(part.sum())) for part in chosen.split([len(saved) for saved in self.saved])]
        width = max(ranks) if self.is_nested else len(self.saved[0])
        if self.has_full:
            # in a band of few words, rows of the full width take less than shorter ones with a projection
            ranks = [
                width if rank * cost >= words * width else rank
                for rank, words, cost in zip(ranks, self.words, costs, strict=True)
            ]
        return tuple(zip(self.starts, ranks, strict=True))


@torch.no_grad()
def spectra(model: LanguageModel, counts: Sequence[float], text: Windows) -> tuple[Spectrum, Spectrum]:
    """What the ranks of the embedding and those of the head save; of a matrix that they share, the same for both.

    Args:
        model: the model, both parts of which `check_reducible` accepts.
        counts: how often each word occurs (V,).
        text: windows of a text, on which the outputs of the last layer are observed.
    """
    shares = torch.tensor(counts, dtype=torch.float64).clamp_min(0.5)
    shares /= shares.sum()
    weights = {name: parameter.detach().double() for name, parameter in model.named_parameters()}
    words = weights["embedding.weight"]
    reading = torch.cat([weights[name] for name in readers_of(model)])
    _, covariance = moments_of(model, text)
    if is_tied(model):
        scatter = (words.T * shares) @ words
        metrics = [reading.T @ reading, covariance]
        root, _ = root_of(torch.stack([metric / (scatter * metric).sum() for metric in metrics]).sum(0))
        width = words.shape[1]
        both = _spectrum(words @ root, shares, 2 * width, has_full=False, is_nested=True)
        return both, both
    read = words @ torch.linalg.qr(reading).R.T
    root, _ = root_of(covariance)
    rows = weights["head.weight"] @ root
    has_full = "head.projection" not in weights
    return (
        _spectrum(read, shares, read.shape[1], has_full=True, is_nested=True),
        _spectrum(rows, shares, rows.shape[1], has_full=has_full, is_nested=False),
    )


def _spectrum(rows: Tensor, shares: Tensor, projected: int, *, has_full: bool, is_nested: bool) -> Spectrum:
    count = len(rows)
    fractions: tuple[float, ...] = STARTS
    if shares[: count // 2].sum() < shares[count // 2 :].sum():
        # rare words come first
        fractions = (0.0, *(1 - start for start in STARTS[:0:-1]))
    starts = sorted({min(count - 1, round(fraction * count)) for fraction in fractions})
    spans = list(pairwise([*starts, count]))
    saved = []
    for start, end in spans:
        own = rows[start:end]
        values = torch.linalg.eigvalsh((own.T * shares[start:end]) @ own).flip(0).clamp_min(0)
        saved.append(values)
    words = tuple(end - start for start, end in spans)
    return Spectrum(tuple(starts), words, tuple(saved), projected, has_full, is_nested)
