"""The continuous neural cache (Grave, Joulin & Usunier, 2017, Improving Neural Language Models with a Continuous Cache,
equations 1 to 4): recent words become likelier where the state is like the one they followed.

The model stays as it is; the cache sees the text that is scored, so its figures stand apart from static ones. It is
used from the second prediction on, however few pairs it holds.

T steps in a chunk, W window of the cache, H width of the last layer.
"""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from refrain.data import Windows
from refrain.models import Network, evaluating
from refrain.models.protocol import part_of

from .perplexity import Figure


@dataclass(frozen=True)
class Cache:
    """The settings of a cache.

    Attributes:
        window: W, how many of the last (state, next word) pairs are looked at.
        flatness: theta, how sharply the cache prefers like states; 0 weighs all pairs alike.
        share: lambda, the weight of the cache in the mixture; 0 leaves the model as it is.

    Raises:
        ValueError: when a value is out of range.
    """

    window: int = 2000
    flatness: float = 1.0
    share: float = 0.1

    def __post_init__(self) -> None:
        if self.window < 1:
            raise ValueError(f"the cache's window must be at least 1 (got {self.window})")
        if not 0 <= self.flatness < math.inf:
            raise ValueError(f"the cache's flatness must be at least 0 and finite (got {self.flatness})")
        if not 0 <= self.share < 1:
            raise ValueError(f"the cache's share must be at least 0 and less than 1 (got {self.share})")


def cached_nats(hidden: Tensor, targets: Tensor, nats: Tensor, keys: Tensor, words: Tensor, cache: Cache) -> Tensor:
    """The nats of a chunk under the mixture of model and cache; one product, no loop over tokens.

    Args:
        hidden: the last layer's outputs h_t (T, H).
        targets: the words that followed them (T,).
        nats: their nats under the model (T,).
        keys: the states before the chunk (P, H), the oldest first; at most W of them matter.
        words: the words that followed those (P,).
        cache: the settings.

    Returns:
        Nats (T,).
    """
    steps, past = len(hidden), len(keys)
    scores = cache.flatness * hidden @ torch.cat([keys, hidden]).T  # (T, P + T)
    age = torch.arange(steps, device=hidden.device)[:, None] + past - torch.arange(past + steps, device=hidden.device)
    # a pair is known once its word was read, one step after its state
    known = (age >= 1) & (age <= cache.window)
    hit = targets[:, None] == torch.cat([words, targets])
    everything = torch.logsumexp(scores.masked_fill(~known, -math.inf), dim=-1)
    right = torch.logsumexp(scores.masked_fill(~(known & hit), -math.inf), dim=-1)
    share = math.log(cache.share) if cache.share else -math.inf
    mixed = torch.logaddexp(right - everything + share, -nats + math.log1p(-cache.share))
    return torch.where(known.any(dim=-1), -mixed, nats)


def stream_cached_nats(chunks: Iterable[tuple[Tensor, Tensor, Tensor]], cache: Cache) -> Iterator[Tensor]:
    """The nats of one stream, chunk by chunk, the cache carried along.

    Args:
        chunks: hidden (T, H), targets (T,) and nats (T,) of each chunk, in order.
        cache: the settings.
    """
    keys: Tensor | None = None
    words: Tensor | None = None
    for hidden, targets, nats in chunks:
        if keys is None or words is None:
            keys, words = hidden[:0], targets[:0]
        yield cached_nats(hidden, targets, nats, keys, words, cache)
        keys = torch.cat([keys, hidden])[-cache.window :]
        words = torch.cat([words, targets])[-cache.window :]


def evaluate_with_cache(model: Network, windows: Windows, cache: Cache) -> Figure:
    """The figure of a model with a cache on one stream.

    Args:
        model: is put in evaluation mode while it works.
        windows: of a single column.
        cache: the settings.

    Raises:
        ValueError: when there is more than one column.
    """
    if windows.batch_size != 1:
        raise ValueError(f"the cache reads one stream (got {windows.batch_size} columns)")
    nats = sum(float(part.double().sum()) for part in stream_cached_nats(model_chunks(model, windows), cache))
    return Figure(nats, windows.predicted)


def model_chunks(model: Network, windows: Windows) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Hidden (T, H), targets (T,) and nats (T,) of each window of a single column, the state carried along.

    Args:
        model: is put in evaluation mode while it works.
        windows: of a single column.

    Raises:
        UserError: when a network of one's own has no `hidden` or no `head`.
    """
    hidden, head = (part_of(model, part, "the neural cache") for part in ("hidden", "head"))
    device = next(model.parameters()).device
    state = model.initial_state(1)
    for index in range(len(windows)):
        inputs, targets = (part.to(device) for part in windows[index])
        with torch.no_grad(), evaluating(model):
            outputs, state = hidden(inputs, state)
            nats = head.token_nats(outputs.dropped, targets)
        yield outputs.raw[:, 0], targets[:, 0], nats[:, 0]
