"""What a tagger knows: words, what words are made of, and tags, each with its id."""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from refrain.errors import DataError

from ..units.word.vocabulary import EOS, UNK, Order, build_vocabulary

RARE = "<rare>"


class FeatureKinds(NamedTuple):
    """Which features of a word there are beside the word itself.

    Attributes:
        lower_case: its lower-cased form.
        prefixes: its beginnings of 1 to so many characters.
        suffixes: its endings of 1 to so many characters.
        shapes: its shape.
    """

    lower_case: bool = False
    prefixes: int = 0
    suffixes: int = 0
    shapes: bool = False

    def of(self, word: str) -> list[str]:
        """The features of a word, in a fixed number and order. One shorter than an affix is that affix itself."""
        found = [f"lower:{word.lower()}"] if self.lower_case else []
        found += [f"prefix{size}:{word[:size]}" for size in range(1, self.prefixes + 1)]
        found += [f"suffix{size}:{word[-size:]}" for size in range(1, self.suffixes + 1)]
        return [*found, f"shape:{shape_of(word)}"] if self.shapes else found


def shape_of(word: str) -> str:
    """Capital letters as X, other letters as x, digits as d, each run once: `Xx` for Word, `d.d` for 3.14.

    Only the first eight signs of the result are kept.
    """
    signs = (
        "X" if sign.isupper() else "x" if sign.isalpha() else "d" if sign.isdigit() else sign for sign in word[:200]
    )
    return re.sub(r"(.)\1+", r"\1", "".join(signs), flags=re.DOTALL)[:8]


class TagVocabulary:
    """Words, features and tags by id.

    Args:
        words: each once, `<unk>` among them.
        tags: each once.
        features: each once, `<rare>` first; empty where words are all there is.
        kinds: which features a word has.
        rare: words that training had and left to `<unk>`.

    Raises:
        ValueError: when something stands twice, or `<unk>` or `<rare>` are not where they should be.
    """

    unit = "tag"
    bytes_per_token = None

    def __init__(
        self,
        words: Sequence[str],
        tags: Sequence[str],
        features: Sequence[str] = (),
        kinds: FeatureKinds | None = None,
        rare: Iterable[str] = (),
    ) -> None:
        self.words, self.tags, self.features = list(words), list(tags), list(features)
        self.kinds, self.rare = kinds or FeatureKinds(), frozenset(rare)
        self.word_index, self.tag_index, self.feature_index = (
            {name: index for index, name in enumerate(names)} for names in (self.words, self.tags, self.features)
        )
        sizes = [len(self.word_index), len(self.tag_index), len(self.feature_index)]
        if sizes != [len(self.words), len(self.tags), len(self.features)] or UNK not in self.word_index or not tags:
            raise ValueError(f"a tagger's vocabulary holds each word, tag and feature once, and {UNK} among the words")
        if bool(self.features) != bool(self.kinds.of("x")) or (self.features and self.features[0] != RARE):
            raise ValueError(f"a tagger's features begin with {RARE}, and are there where words have some")
        # a word is looked up for each of its occurrences
        self._ids = lru_cache(maxsize=1 << 18)(self._ids_of)

    def __len__(self) -> int:
        return len(self.words)

    @property
    def unknown(self) -> int:
        """The id of `<unk>`."""
        return self.word_index[UNK]

    def saw(self, word: str) -> bool:
        """Whether a word stands in the training text."""
        return (word in self.word_index and word != UNK) or word in self.rare

    def encode(self, words: Sequence[str]) -> NDArray[np.int64]:
        """Words -> ids (L, 1 + F): of the word, then of its features."""
        return np.array([self._ids(word) for word in words], np.int64).reshape(len(words), -1)

    def _ids_of(self, word: str) -> tuple[int, ...]:
        rare = 0
        features = (self.feature_index.get(feature, rare) for feature in self.kinds.of(word))
        return (self.word_index.get(word, self.unknown), *features)

    def hidden(self) -> list[tuple[int, int]]:
        """Columns of `encode` that name a whole word, each with the id it has where the word is not known."""
        return [(0, self.unknown), (1, 0)] if self.kinds.lower_case else [(0, self.unknown)]

    def document(self) -> dict[str, Any]:
        """The vocabulary as plain data; `tag_vocabulary_from` reads it."""
        return {
            "unit": self.unit,
            "words": self.words,
            "rare": sorted(self.rare),
            "tags": self.tags,
            "features": self.features,
            "kinds": self.kinds._asdict(),
        }


def build_tag_vocabulary(
    words: Counter[str],
    tags: Iterable[str],
    *,
    order: Order = "descending",
    order_seed: int = 1,
    min_count: int = 1,
    kinds: FeatureKinds | None = None,
    feature_min_count: int = 1,
    unknown_count: int = 0,
) -> TagVocabulary:
    """A vocabulary from the training text.

    Args:
        words: how often each stands there.
        tags: that stand there.
        order: of word ids, as in `build_vocabulary`.
        order_seed: of the random order.
        min_count: rarer words are left to `<unk>`.
        kinds: which features a word has.
        feature_min_count: features of fewer different words share an id.
        unknown_count: how often `<unk>` is drawn in the place of words that are kept, for its place in the order.
    """
    kinds = kinds or FeatureKinds()
    counts = Counter(words)
    counts[UNK] += unknown_count
    kept = build_vocabulary(counts, order=order, order_seed=order_seed, min_count=min_count).words
    features: list[str] = []
    if kinds.of("x"):
        found = Counter(feature for word in words for feature in kinds.of(word))
        features = [RARE, *sorted(feature for feature, count in found.items() if count >= feature_min_count)]
    # a sentence ends where it ends
    chosen = [word for word in kept if word != EOS]
    return TagVocabulary(chosen, sorted(set(tags)), features, kinds, set(words) - set(chosen))


def tag_vocabulary_from(document: Any) -> TagVocabulary:
    """The vocabulary of a document written by `document()`.

    Raises:
        DataError: when it is not one.
    """
    match document:
        case {
            "unit": "tag",
            "words": list(words),
            "rare": list(rare),
            "tags": list(tags),
            "features": list(features),
            "kinds": dict(kinds),
        }:
            if all(isinstance(name, str) for name in (*words, *rare, *tags, *features)):
                try:
                    return TagVocabulary(words, tags, features, FeatureKinds(**kinds), rare)
                except (TypeError, ValueError) as error:
                    raise DataError(f"vocabulary: {error}") from None
    raise DataError("vocabulary: not that of a tagger")
