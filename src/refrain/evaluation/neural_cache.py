"""The continuous neural cache (Grave, Joulin & Usunier, 2017, Improving Neural Language Models with a Continuous Cache,
equations 1 to 4): a recent word becomes more likely when the state is similar to the state that it followed.

The weights of the model do not change. The cache depends on the text that is scored, so its figures are not comparable
with those of static evaluation. It is used from the second prediction on, even with a single pair.

T steps in a chunk, P pairs before the chunk, W window of the cache, H width of the last layer.
"""

import math
from collections.abc import Iterable, Iterator
from itertools import tee

import torch
from torch import Tensor

from refrain.data import Vocabulary, Windows
from refrain.models import Network, evaluating
from refrain.models.protocol import device_of, part_of
from refrain.nn.heads.linear_cross_entropy import no_autocast
from refrain.nn.precision import widened
from refrain.progress import Track, untracked

from .methods import Cache
from .perplexity import WHAT, Figure, Tally


def cached_nats(hidden: Tensor, targets: Tensor, nats: Tensor, keys: Tensor, words: Tensor, cache: Cache) -> Tensor:
    """The nats of a chunk under the mixture of model and cache, by one matmul instead of a loop over tokens.

    Args:
        hidden: the outputs h_t (T, H) of the last layer.
        targets: the words (T,) that followed them.
        nats: the nats (T,) of these words under the model.
        keys: the states (P, H) before the chunk, oldest first; only the last W are used.
        words: the words (P,) that followed the keys.
        cache: the settings of the cache.

    Returns:
        The nats (T,) under the mixture.
    """
    # in half precision, the logarithms of sums would be off by more than the cache saves
    with no_autocast(hidden):
        return _mixed(widened(hidden), targets, widened(nats), widened(keys), words, cache)


def _mixed(hidden: Tensor, targets: Tensor, nats: Tensor, keys: Tensor, words: Tensor, cache: Cache) -> Tensor:
    """The equations of `cached_nats`, with its arguments in float32 at least."""
    steps, past = len(hidden), len(keys)
    scores = cache.flatness * hidden @ torch.cat([keys, hidden]).T  # (T, P + T)
    age = torch.arange(steps, device=hidden.device)[:, None] + past - torch.arange(past + steps, device=hidden.device)
    # a pair is available once its word was read, one step after its state
    known = (age >= 1) & (age <= cache.window)
    hit = targets[:, None] == torch.cat([words, targets])
    everything = torch.logsumexp(scores.masked_fill(~known, -math.inf), dim=-1)
    right = torch.logsumexp(scores.masked_fill(~(known & hit), -math.inf), dim=-1)
    share = math.log(cache.share) if cache.share else -math.inf
    mixed = torch.logaddexp(right - everything + share, -nats + math.log1p(-cache.share))
    return torch.where(known.any(dim=-1), -mixed, nats)


def stream_cached_nats(chunks: Iterable[tuple[Tensor, Tensor, Tensor]], cache: Cache) -> Iterator[Tensor]:
    """The nats of a text chunk by chunk, with the cache carried from each chunk to the next.

    Args:
        chunks: hidden (T, H), targets (T,) and nats (T,) of each chunk, in order.
        cache: the settings of the cache.

    Yields:
        The nats (T,) of each chunk under the mixture.
    """
    keys: Tensor | None = None
    words: Tensor | None = None
    for hidden, targets, nats in chunks:
        if keys is None or words is None:
            keys = hidden[:0]
            words = targets[:0]
        yield cached_nats(hidden, targets, nats, keys, words, cache)
        keys = torch.cat([keys, hidden])[-cache.window :]
        words = torch.cat([words, targets])[-cache.window :]


def evaluate_with_cache(
    model: Network, windows: Windows, cache: Cache, *, vocabulary: Vocabulary | None = None, track: Track = untracked
) -> Figure:
    """The nats and the number of tokens of a text under a model with a cache.

    Args:
        model: the model, which is in evaluation mode while it is used.
        windows: windows of batch size 1.
        cache: the settings of the cache.
        vocabulary: see `evaluate`.
        track: reports the loop over the windows.

    Raises:
        ValueError: when the batch size is not 1.
    """
    if windows.batch_size != 1:
        raise ValueError(f"the cache reads one stream (got {windows.batch_size} columns)")
    # each chunk is used for its nats and then for its targets, and only one is kept
    chunks, again = tee(model_chunks(model, windows, track=track))
    tally = Tally(vocabulary)
    for nats, (_, targets, _) in zip(stream_cached_nats(chunks, cache), again, strict=True):
        tally.add(targets, nats)
    return tally.figure()


def model_chunks(
    model: Network, windows: Windows, *, track: Track = untracked
) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Run a model over windows, carrying the state from each to the next.

    Args:
        model: the model, which is in evaluation mode while it is used.
        windows: windows of batch size 1.
        track: reports the loop over the windows.

    Yields:
        The hidden states (T, H), targets (T,) and nats (T,) of each window.

    Raises:
        UserError: when a network of one's own has no `hidden` or no `head`.
    """
    device = device_of(model)
    hidden, head = (part_of(model, part, "the neural cache") for part in ("hidden", "head"))
    state = model.initial_state(1)
    for index in track(range(len(windows)), WHAT, len(windows)):
        inputs, targets = (part.to(device) for part in windows[index])
        with torch.no_grad(), evaluating(model):
            outputs, state = hidden(inputs, state)
            nats = head.token_nats(outputs.dropped, targets)
        yield outputs.raw[:, 0], targets[:, 0], nats[:, 0]
