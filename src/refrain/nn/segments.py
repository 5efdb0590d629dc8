"""Predefined sparseness: which part of its input each small LSTM of a sparse layer sees, and which units it owns.

Demeester et al. (2018), Predefined Sparseness in Recurrent Sequence Models, arXiv 1808.08720, section 2.1. A layer of
k blocks with input density d: each block sees about d * I consecutive inputs, which overlap evenly with those of its
neighbours, and owns about H / k units. Blocks are not connected with each other.

I input width, H hidden width, k blocks.
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple


class Block(NamedTuple):
    """One small LSTM: it sees the inputs `begin` up to `end` and has `units` of the layer's units."""

    begin: int
    end: int
    units: int


class SparsePlan(NamedTuple):
    """The layout of a sparse layer.

    Attributes:
        input_size: I.
        hidden_size: H.
        density: fraction of the inputs that each block sees.
        blocks: in the order of their units.
        requested: (inputs, units) of the dense layer whose size was requested; None if none was.
    """

    input_size: int
    hidden_size: int
    density: float
    blocks: tuple[Block, ...]
    requested: tuple[float, float] | None = None

    @property
    def parameters(self) -> int:
        """The number of parameters, with one bias per gate."""
        return sum(int(_lstm_parameters(block.end - block.begin, block.units)) for block in self.blocks)

    @property
    def dense_parameters(self) -> int:
        """The number of parameters of a dense LSTM of these widths."""
        return int(_lstm_parameters(self.input_size, self.hidden_size))

    @property
    def requested_parameters(self) -> int | None:
        """The requested number of parameters; None if the plan was not made by `plan_reduction`."""
        return None if self.requested is None else round(_lstm_parameters(*self.requested))

    @property
    def capped(self) -> bool:
        """Whether the requested size is not reached although every block sees all inputs."""
        return self.requested is not None and self.density == 1 and len(self.blocks) > 1

    def __str__(self) -> str:
        lines = [
            f"{self.input_size} -> {self.hidden_size} in {len(self.blocks)} blocks, density {self.density:.4g}: "
            f"{self.parameters:,} parameters, {self.parameters / self.dense_parameters:.1%} of the dense layer's "
            f"{self.dense_parameters:,}"
        ]
        if self.requested is not None:
            inputs, units = self.requested
            lines.append(
                f"requested: {self.requested_parameters:,} parameters, those of a dense layer {inputs:g} -> {units:g}"
            )
        if self.capped:
            lines.append("not reached, although every block reads all inputs")
        first = 0
        for begin, end, units in self.blocks:
            lines.append(f"  inputs {begin}-{end - 1} ({end - begin}) -> units {first}-{first + units - 1} ({units})")
            first += units
        return "\n".join(lines)


def plan_blocks(input_size: int, hidden_size: int, *, blocks: int, density: float) -> SparsePlan:
    """Plan a layer with a given number of blocks.

    Args:
        input_size: I.
        hidden_size: H.
        blocks: k.
        density: fraction of the inputs that each block sees, from 1 / k (no overlap) to 1 (all inputs).

    Raises:
        ValueError: when a number is out of range.
    """
    most = min(input_size, hidden_size)
    if most < 1:
        raise ValueError(f"widths must be positive, got {input_size=}, {hidden_size=}")
    if not 1 <= blocks <= most:
        raise ValueError(f"blocks: must be 1 to {most} for widths {input_size} and {hidden_size} (got {blocks})")
    if blocks == 1 and density != 1:
        raise ValueError(f"density: a single block sees all inputs; must be 1 (got {density:g})")
    if not 1 / blocks - 1e-9 <= density <= 1:
        raise ValueError(f"density: must be 1 / blocks = {1 / blocks:.4g} to 1 (got {density:g})")
    inputs = segments(input_size, blocks, density)
    units = segments(hidden_size, blocks, 1 / blocks)
    pairs = zip(inputs, units, strict=True)
    return SparsePlan(
        input_size,
        hidden_size,
        density,
        tuple(Block(begin, end, last - first) for (begin, end), (first, last) in pairs),
    )


def plan_reduction(input_size: int, hidden_size: int, *, reduce_in: float, reduce_out: float) -> SparsePlan:
    """Plan a layer with as many parameters as a smaller dense layer, in as few blocks as possible.

    Args:
        input_size: I.
        hidden_size: H.
        reduce_in: number of inputs of the dense layer, as a fraction of I.
        reduce_out: number of units of the dense layer, as a fraction of H.

    Returns:
        A plan; its `capped` is true if the size is not reached even at density 1.

    Raises:
        ValueError: when a fraction is out of range, or too small for any number of blocks; the smallest size is named.
    """
    for name, share in (("reduce_in", reduce_in), ("reduce_out", reduce_out)):
        if not 0 < share <= 1:
            raise ValueError(f"{name}: must be greater than 0 and at most 1 (got {share:g})")
    requested = (reduce_in * input_size, reduce_out * hidden_size)
    if reduce_in == reduce_out == 1:
        return plan_blocks(input_size, hidden_size, blocks=1, density=1.0)._replace(requested=requested)
    # a dense layer has 4 (inputs * units + units^2 + 2 units) parameters with two biases, as in the paper's code
    rest = reduce_in * reduce_out * input_size + reduce_out**2 * hidden_size + 2 * reduce_out - 2
    most = max(1, min(input_size - 1, hidden_size))
    if rest <= 0 or (blocks := math.ceil((input_size + hidden_size) / rest)) > most:
        smallest = plan_blocks(input_size, hidden_size, blocks=most, density=1 / most)
        raise ValueError(
            f"reduce_in, reduce_out: {reduce_in:g} and {reduce_out:g} ask for {_lstm_parameters(*requested):,.0f} "
            f"parameters; {input_size} -> {hidden_size} in at most {most} blocks has {smallest.parameters:,} or more"
        )
    density = min(1.0, (rest - hidden_size / blocks) / input_size)
    return plan_blocks(input_size, hidden_size, blocks=blocks, density=density)._replace(requested=requested)


def segments(total: int, count: int, density: float) -> list[tuple[int, int]]:
    """Intervals of equal length that are spread evenly over `total` positions; the last ends with the last position.

    Args:
        total: number of positions.
        count: number of intervals.
        density: length of each interval, as a fraction of the positions.
    """
    if count == 1:
        return [(0, total)]
    length = total * density
    stride = (total - length) / (count - 1)
    # a value below a whole number by a rounding error alone counts as that number
    ends = [math.floor(index * stride + length + 1e-7) for index in range(count - 1)]
    return [(math.floor(i * stride + 1e-7), end) for i, end in enumerate([*ends, total])]


def plan_from(input_size: int, blocks: Any) -> SparsePlan:
    """Plan a layer with given blocks, as a compacted layer has them.

    Args:
        input_size: I.
        blocks: (begin, end, units) of each block, in the order of the units.

    Raises:
        ValueError: when there is no block, or one is empty or reaches beyond the inputs.
    """
    made = tuple(Block(*block) for block in blocks)
    if not made:
        raise ValueError("blocks: at least one is needed")
    for block in made:
        if not 0 <= block.begin < block.end <= input_size or block.units < 1:
            raise ValueError(f"blocks: {list(block)} does not fit {input_size} inputs")
    density = sum(block.end - block.begin for block in made) / (len(made) * input_size)
    return SparsePlan(input_size, sum(block.units for block in made), density, made)


def _lstm_parameters(inputs: float, units: float) -> float:
    return 4 * units * (inputs + units + 1)


class Band(NamedTuple):
    """A block of a sparse embedding: `width` entries of the vectors of all words from id `start` on."""

    start: int
    width: int


def plan_bands(vocabulary_size: int, embedding_size: int, *, blocks: int, density: float) -> tuple[Band, ...]:
    """Plan an embedding in which later words, which are more frequent, have longer vectors (section 2.2).

    The first block covers all words, and each further block a constant fraction of the words of the one before;
    every block covers at least one word.

    Args:
        vocabulary_size: V.
        embedding_size: D.
        blocks: number of blocks, all of the same width but the last, which takes the rest.
        density: fraction of the V * D entries that are stored.

    Raises:
        ValueError: when there is no word, there are more blocks than entries in a vector, or the first block exceeds
            the density.
    """
    if vocabulary_size < 1:
        raise ValueError(f"vocabulary_size: must be at least 1 (got {vocabulary_size})")
    if not 1 <= blocks <= embedding_size:
        raise ValueError(f"blocks: must be 1 to {embedding_size}, the embedding's width (got {blocks})")
    if blocks == 1 and density != 1:
        raise ValueError(f"density: a single block has vectors for all words; must be 1 (got {density:g})")
    if not 1 / blocks - 1e-9 <= density <= 1:
        raise ValueError(f"density: must be 1 / blocks = {1 / blocks:.4g} to 1 (got {density:g})")
    width = embedding_size // blocks
    widths = [width] * (blocks - 1) + [embedding_size - width * (blocks - 1)]
    # as in the paper's code, the ratio is that of blocks of equal width
    bands, used_up = _bands(vocabulary_size, widths, density, [1] * blocks)
    if not used_up:
        bands, _ = _bands(vocabulary_size, widths, density, widths)
    return bands


def _bands(
    vocabulary_size: int, widths: Sequence[int], density: float, weights: Sequence[int]
) -> tuple[tuple[Band, ...], bool]:
    """Bands whose numbers of words shrink by the ratio of `_band_shrinkage`, and whether they store what is asked for.

    They do not where the last band would need more words for that than the one before it.
    """
    blocks = len(widths)
    budget = vocabulary_size * sum(widths) * density
    covered = vocabulary_size
    left = sum(widths)
    bands: list[Band] = []
    used_up = True
    for index, width in enumerate(widths):
        bands.append(Band(vocabulary_size - covered, width))
        # recomputed from the rest of the budget, so that rounding errors do not add up
        shrinkage = _band_shrinkage(weights[index:], min(1.0, budget / (covered * left)))
        before = covered
        budget -= covered * width
        left -= width
        # a value above a whole number by a rounding error alone counts as that number
        covered -= math.ceil(covered * (1 - shrinkage) - 1e-7)
        if index == blocks - 2:
            needed = round(budget / widths[-1])
            covered, used_up = min(before, needed), needed <= before
        covered = max(covered, 1)
    return tuple(bands), used_up


def _band_shrinkage(weights: Sequence[int], density: float) -> float:
    """The ratio a for which the weighted mean of 1, a, a^2, ... over the blocks equals the density."""
    low, high = 0.0, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        if sum(weight * middle**power for power, weight in enumerate(weights)) < density * sum(weights):
            low = middle
        else:
            high = middle
    return high
