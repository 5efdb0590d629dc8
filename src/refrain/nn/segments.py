"""Predefined sparseness: which part of its input each small LSTM of a sparse layer sees, and which units it owns.

Demeester et al. (2018), Predefined Sparseness in Recurrent Sequence Models, arXiv 1808.08720, section 2.1. A layer of
k blocks with input density d: block c sees a stretch of about d * I inputs, neighbours overlapping evenly, and owns
about H / k units; nothing else connects blocks.

I input width, H hidden width, k blocks.
"""

import math
from typing import Any, NamedTuple


class Block(NamedTuple):
    """One small LSTM: it sees the inputs `begin` up to `end` and has `units` of the layer's units."""

    begin: int
    end: int
    units: int


class SparsePlan(NamedTuple):
    """How a sparse layer is laid out.

    Attributes:
        input_size: I.
        hidden_size: H.
        density: share of the inputs that each block sees.
        blocks: from the first unit to the last.
        wanted: (inputs, units) of the dense layer whose size was asked for, where one was.
    """

    input_size: int
    hidden_size: int
    density: float
    blocks: tuple[Block, ...]
    wanted: tuple[float, float] | None = None

    @property
    def parameters(self) -> int:
        """Of the layer, with one bias a gate."""
        return sum(int(_lstm_parameters(block.end - block.begin, block.units)) for block in self.blocks)

    @property
    def dense_parameters(self) -> int:
        """Of an LSTM of these widths."""
        return int(_lstm_parameters(self.input_size, self.hidden_size))

    @property
    def wanted_parameters(self) -> int | None:
        """What was asked for, where a reduction was."""
        return None if self.wanted is None else round(_lstm_parameters(*self.wanted))

    @property
    def capped(self) -> bool:
        """Whether every block sees all inputs already, and the size that was asked for is still not reached."""
        return self.wanted is not None and self.density == 1 and len(self.blocks) > 1

    def __str__(self) -> str:
        lines = [
            f"{self.input_size} -> {self.hidden_size} in {len(self.blocks)} blocks, density {self.density:.4g}: "
            f"{self.parameters:,} parameters, {self.parameters / self.dense_parameters:.1%} of the dense layer's "
            f"{self.dense_parameters:,}"
        ]
        if self.wanted is not None:
            inputs, units = self.wanted
            lines.append(
                f"asked for: the size of a dense {inputs:g} -> {units:g}, {self.wanted_parameters:,} parameters"
            )
        if self.capped:
            lines.append("every block sees all inputs, so that size is not reached")
        first = 0
        for begin, end, units in self.blocks:
            lines.append(f"  inputs {begin}-{end - 1} ({end - begin}) -> units {first}-{first + units - 1} ({units})")
            first += units
        return "\n".join(lines)


def plan_blocks(input_size: int, hidden_size: int, *, blocks: int, density: float) -> SparsePlan:
    """A layer of so many blocks, each of which sees a share of the inputs.

    Args:
        input_size: I.
        hidden_size: H.
        blocks: k.
        density: between 1 / k, where blocks see inputs of their own, and 1, where each sees all.

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
    inputs, units = segments(input_size, blocks, density), segments(hidden_size, blocks, 1 / blocks)
    pairs = zip(inputs, units, strict=True)
    return SparsePlan(
        input_size,
        hidden_size,
        density,
        tuple(Block(begin, end, last - first) for (begin, end), (first, last) in pairs),
    )


def plan_reduction(input_size: int, hidden_size: int, *, reduce_in: float, reduce_out: float) -> SparsePlan:
    """The fewest blocks that give a layer the size of a dense one with fewer inputs and units.

    Args:
        input_size: I.
        hidden_size: H.
        reduce_in: share of the inputs that the dense layer would have.
        reduce_out: share of the units that it would have.

    Returns:
        A plan whose `capped` says whether the size is out of reach because density ends at 1.

    Raises:
        ValueError: when a share is out of range, or so small that no number of blocks fits, with what is reachable.
    """
    for name, share in (("reduce_in", reduce_in), ("reduce_out", reduce_out)):
        if not 0 < share <= 1:
            raise ValueError(f"{name}: must be greater than 0 and at most 1 (got {share:g})")
    wanted = (reduce_in * input_size, reduce_out * hidden_size)
    if reduce_in == reduce_out == 1:
        return plan_blocks(input_size, hidden_size, blocks=1, density=1.0)._replace(wanted=wanted)
    # a dense layer has (inputs * units + units^2 + 2 units) / 4 parameters with two biases, as in the paper's code
    rest = reduce_in * reduce_out * input_size + reduce_out**2 * hidden_size + 2 * reduce_out - 2
    most = max(1, min(input_size - 1, hidden_size))
    if rest <= 0 or (blocks := math.ceil((input_size + hidden_size) / rest)) > most:
        smallest = plan_blocks(input_size, hidden_size, blocks=most, density=1 / most)
        raise ValueError(
            f"reduce_in, reduce_out: {reduce_in:g} and {reduce_out:g} ask for {_lstm_parameters(*wanted):,.0f} "
            f"parameters; {input_size} -> {hidden_size} in at most {most} blocks has {smallest.parameters:,} or more"
        )
    density = min(1.0, (rest - hidden_size / blocks) / input_size)
    return plan_blocks(input_size, hidden_size, blocks=blocks, density=density)._replace(wanted=wanted)


def segments(total: int, count: int, density: float) -> list[tuple[int, int]]:
    """Evenly spread stretches of `total` places, each `density` of them long; the last ends with the last place.

    Args:
        total: places.
        count: stretches.
        density: share of the places in each.
    """
    if count == 1:
        return [(0, total)]
    length = total * density
    stride = (total - length) / (count - 1)
    # what falls short of a whole number by rounding alone is that number
    ends = [math.floor(index * stride + length + 1e-7) for index in range(count - 1)]
    return [(math.floor(i * stride + 1e-7), end) for i, end in enumerate([*ends, total])]


def plan_from(input_size: int, blocks: Any) -> SparsePlan:
    """A plan of given blocks, as a compacted layer has.

    Args:
        input_size: I.
        blocks: (begin, end, units) each, in the order of the units.

    Raises:
        ValueError: when a block is empty or reaches over the inputs.
    """
    made = tuple(Block(*block) for block in blocks)
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
    """The blocks of an embedding in which late words, the frequent ones, have long vectors (section 2.2).

    The first block covers all words, and each further one a constant share of the words of the one before.

    Args:
        vocabulary_size: V.
        embedding_size: D.
        blocks: how many; as many widths as equal as can be, the last takes the rest.
        density: share of the V * D entries that there are.

    Raises:
        ValueError: when there are more blocks than entries in a vector, or the first block alone is more than that.
    """
    if not 1 <= blocks <= embedding_size:
        raise ValueError(f"blocks: must be 1 to {embedding_size}, the embedding's width (got {blocks})")
    if blocks == 1 and density != 1:
        raise ValueError(f"density: a single block has vectors for all words; must be 1 (got {density:g})")
    if not 1 / blocks - 1e-9 <= density <= 1:
        raise ValueError(f"density: must be 1 / blocks = {1 / blocks:.4g} to 1 (got {density:g})")
    width = embedding_size // blocks
    widths = [width] * (blocks - 1) + [embedding_size - width * (blocks - 1)]
    budget, covered, left = vocabulary_size * embedding_size * density, vocabulary_size, embedding_size
    bands: list[Band] = []
    for index, width in enumerate(widths):
        bands.append(Band(vocabulary_size - covered, width))
        # planned anew with what is left of the budget, so that roundings do not add up
        shrinkage = _band_shrinkage(blocks - index, min(1.0, budget / (covered * left)))
        budget, left, before = budget - covered * width, left - width, covered
        covered -= math.ceil(covered * (1 - shrinkage))
        if index == blocks - 2:
            covered = min(before, round(budget / widths[-1]))
        covered = max(covered, 1)
    return tuple(bands)


def _band_shrinkage(blocks: int, density: float) -> float:
    """The share a for which the mean of 1, a, a^2, ... over so many blocks is the density."""
    low, high = 0.0, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        if sum(middle**power for power in range(blocks)) / blocks < density:
            low = middle
        else:
            high = middle
    return high
