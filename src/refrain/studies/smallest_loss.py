"""The way of compression that costs the least loss for a size in bytes, of several that are tried."""

import bisect
import math
from collections.abc import Callable, Iterator, Sequence

from refrain.assembly.widths import resized
from refrain.errors import UserError
from refrain.evaluation import evaluate
from refrain.models import LanguageModel
from refrain.sparsity import model_size

from .low_rank import Ranks, check_reducible, is_tied, widths_of
from .removal_cost import Request
from .sized_bands import Spectrum, spectra
from .smaller import units_to_remove
from .smaller_model import (
    Smaller,
    Start,
    Target,
    bytes_beside,
    make_smaller,
    may_have_zeros,
    shaped,
    size_of,
)

HEAD_SHARES = (1.0, 0.7, 0.6, 0.5, 0.42, 0.35, 0.3, 0.25, 0.2, 0.15, 0.1, 0.05)
"""The ranks of the head that are tried for a size, as fractions of its width."""


ZERO_SHARES = ((1.0, 1.0), (0.5, 1.0), (0.5, 0.7), (0.5, 0.5))
"""The ranks of embedding and head, as fractions of their widths, with which zeros are tried for a size."""
BAND_SHARES = (0.5, 0.35, 0.25, 0.18, 0.12, 0.08)
"""The sizes of a head in bands of words that are tried, as fractions of the present number of its entries."""
ZERO_BANDS = ((0.5, 0.7), (0.35, 0.5), (0.25, 0.35), (0.15, 0.25))
"""The sizes of embedding and head in bands of words with which zeros are tried, as fractions of their entries."""
BAND_STEPS = 64
"""The number of sizes of an embedding in bands of words from which the largest one that fits is taken."""
LEAST_ZEROS, MOST_ZEROS = 0.3, 0.9
"""The shares of zeros between which they are tried; fewer take as much space as a dense matrix."""


def smallest_loss(start: Start, request: Request, target: Target, log: Callable[[str], None]) -> Smaller:
    """Make a model of a size in several ways, and return the one with the smallest perplexity.

    Tried are: removing units; for each rank of the head, the largest rank of the embedding with which no unit has to be
    removed; bands of words with ranks of their own, for several sizes of the head likewise; and zeros of the smallest
    entries, with and without lower ranks. A size that rounding alone reaches is reached by rounding.

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
    # sizes are counted without the units that go in any case
    dead = units_to_remove(start.model, threshold=request.threshold, needed=False)
    kept = {width: (~which).nonzero().flatten() for width, which in dead.items()}
    counted = start._replace(experiment=resized(start.experiment, start.model, kept))
    if not _fits(counted, target, Ranks()):
        ways += [(target, ranks, None) for ranks in _ranks_for(counted, target)]
        can_both = _is_reducible(start.model, embedding=True, head=True)
        parts = spectra(start.model, start.counts, start.text.windows) if can_both else None
        ways += [(target, ranks, None) for ranks in _bands_for(counted, target, parts)]
        ways += [(None, ranks, zeros) for ranks, zeros in _zeros_for(counted, target, parts)]
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
    return min(found, key=lambda pair: pair[0] if math.isfinite(pair[0]) else math.inf)[1]


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


def _bands_for(start: Start, target: Target, parts: tuple[Spectrum, Spectrum] | None) -> Iterator[Ranks]:
    """For each size of a head in bands of words, the largest embedding in bands with which a model reaches a target."""
    if parts is None:
        return
    steps = [(step + 1) / BAND_STEPS for step in range(BAND_STEPS)]
    if is_tied(start.model):
        yield from _largest(start, target, [_bands_of(start, parts, step, step) for step in steps])
        return
    for share in BAND_SHARES:
        yield from _largest(start, target, [_bands_of(start, parts, step, share) for step in steps])


def _bands_of(start: Start, parts: tuple[Spectrum, Spectrum], embedding: float, head: float) -> Ranks:
    """Bands of embedding and head whose numbers of entries are fractions of the present ones."""
    widths, words = widths_of(start.model), len(start.counts)
    sizes = [share * words * width for share, width in zip((embedding, head), widths, strict=True)]
    return Ranks(*(part.bands(size) for part, size in zip(parts, sizes, strict=True)))


def _zeros_for(start: Start, target: Target, parts: tuple[Spectrum, Spectrum] | None) -> Iterator[tuple[Ranks, float]]:
    """Ranks, and the share of zeros with which a model of these ranks reaches a target when zeros are not stored."""
    # one matrix that is shared has the same bands in both places
    shares = [(narrow, narrow if is_tied(start.model) else head) for narrow, head in ZERO_BANDS]
    ways = [*_ranks_with_zeros(start), *([_bands_of(start, parts, *each) for each in shares] if parts else [])]
    for ranks in ways:
        model = shaped(start, ranks)
        matrices = [parameter.numel() for parameter in may_have_zeros(model)]
        size = 1 if start.weights == "int8" else 4
        rest = model_size(target.measure, model.axes(), model.widths()) - size * sum(matrices)
        # of each matrix, a bitmap and a count that are rounded up
        beside = bytes_beside(model, target.measure, without_zeros=True)
        left = target.size - beside - rest - sum(matrices) / 8 - (1 + size) * len(matrices)
        zeros = max(LEAST_ZEROS, 1 - left / (size * sum(matrices)))
        if zeros <= MOST_ZEROS:
            yield ranks, zeros


def _ranks_with_zeros(start: Start) -> Iterator[Ranks]:
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
        yield ranks


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
    model = shaped(start, ranks)
    return size_of(model, target.measure) <= target.size
