"""The methods of evaluation and their settings. Imports no torch, so that a command can refuse settings at once."""

import math
from dataclasses import dataclass
from typing import Any, Literal

MethodName = Literal["static", "cache", "match", "dynamic", "dynamic+cache", "dynamic+match"]
MatchFrom = Literal["train", "history"]

# beyond it, the cache takes the most similar state alone
MOST_FLATNESS = 1e6


@dataclass(frozen=True)
class Cache:
    """The settings of a cache.

    Attributes:
        window: W, the number of most recent (state, next word) pairs in the cache.
        flatness: theta, how strongly similar states are preferred; 0 weights all pairs equally.
        share: lambda, the weight of the cache in the mixture; 0 is the model alone.

    Raises:
        ValueError: when a value is out of range.
    """

    window: int = 2000
    flatness: float = 1.0
    share: float = 0.1

    def __post_init__(self) -> None:
        if self.window < 1:
            raise ValueError(f"the cache's window must be at least 1 (got {self.window})")
        if not 0 <= self.flatness <= MOST_FLATNESS:
            raise ValueError(f"the cache's flatness must be from 0 to {MOST_FLATNESS:,.0f} (got {self.flatness})")
        if not 0 <= self.share < 1:
            raise ValueError(f"the cache's share must be at least 0 and less than 1 (got {self.share})")


@dataclass(frozen=True)
class Dynamics:
    """The settings of dynamic evaluation.

    Attributes:
        learning_rate: the factor of the gradient, which is divided by its root mean square.
        decay: lambda, the decay towards the trained weights, scaled by the same root mean square and at most 1.
        epsilon: a constant that is added to the root mean square.

    Raises:
        ValueError: when a value is out of range.
    """

    learning_rate: float = 5e-5
    decay: float = 2e-3
    epsilon: float = 2e-5

    def __post_init__(self) -> None:
        for name, value in (("learning_rate", self.learning_rate), ("decay", self.decay)):
            if not 0 <= value < math.inf:
                raise ValueError(f"{name} must be at least 0 and finite (got {value})")
        if not 0 < self.epsilon < math.inf:
            raise ValueError(f"epsilon must be greater than 0 and finite (got {self.epsilon})")


LONGEST_MATCH = 512
"""Longer contexts are not compared: their hashes could be equal though they differ."""


@dataclass(frozen=True)
class Match:
    """The settings of a mixture with the longest matches.

    Attributes:
        longest: the length in tokens of the longest context that is compared.
        source: what may be copied: `train` is the training text and the part of the measured text that was read,
            `history` that part alone.

    Raises:
        ValueError: when a value is out of range.
    """

    longest: int = 48
    source: MatchFrom = "train"

    def __post_init__(self) -> None:
        if not 1 <= self.longest <= LONGEST_MATCH:
            raise ValueError(f"the longest match must be from 1 to {LONGEST_MATCH} (got {self.longest})")


@dataclass(frozen=True)
class Method:
    """A method of evaluation with its settings.

    Attributes:
        name: the name of the method.
        cache: the settings of the neural cache, for `cache` and `dynamic+cache`.
        dynamics: the settings of dynamic evaluation, for `dynamic` and `dynamic+cache`.
        steps: the steps of a window of dynamic evaluation.
        streams: the number of streams of dynamic evaluation.
        match: the settings of the longest matches, for `match` and `dynamic+match`.
    """

    name: MethodName = "static"
    cache: Cache | None = None
    dynamics: Dynamics | None = None
    steps: int = 5
    streams: int = 1
    match: Match | None = None

    def document(self) -> dict[str, Any]:
        """The settings that this method uses, as plain data."""
        settings: dict[str, Any] = {}
        if self.cache is not None:
            settings |= {f"cache_{name}": value for name, value in vars(self.cache).items()}
        if self.dynamics is not None:
            settings |= {f"dynamic_{name}": value for name, value in vars(self.dynamics).items()}
            settings |= {"dynamic_steps": self.steps, "streams": self.streams}
        if self.match is not None:
            settings |= {"match_longest": self.match.longest, "match_from": self.match.source}
        return settings
