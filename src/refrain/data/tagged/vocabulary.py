"""The vocabulary of a tagger: ids of words, of features of words, and of tags."""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from typing import Annotated, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from refrain.errors import DataError, UserError, shown
from refrain.storage.documents import Document, state_of

from ..units.word.vocabulary import EOS, UNK, Order, Ties, build_vocabulary

RARE = "<rare>"
# longer affixes than settings allow would make a word of millions of features
_Affix = Annotated[int, Field(ge=0, le=20)]


class FeatureKinds(NamedTuple):
    """The features that are computed from the spelling of a word.

    Attributes:
        lower_case: whether the lower-cased form is a feature.
        prefixes: the length of the longest prefix; prefixes of 1 to this many characters are features.
        suffixes: the length of the longest suffix; suffixes of 1 to this many characters are features.
        shapes: whether the shape is a feature, see `shape_of`.
    """

    lower_case: bool = False
    prefixes: int = 0
    suffixes: int = 0
    shapes: bool = False

    def of(self, word: str) -> list[str]:
        """The features of a word in a fixed number and order. An affix longer than the word is the whole word."""
        found = [f"lower:{word.lower()}"] if self.lower_case else []
        found += [f"prefix{size}:{word[:size]}" for size in range(1, self.prefixes + 1)]
        found += [f"suffix{size}:{word[-size:]}" for size in range(1, self.suffixes + 1)]
        return [*found, f"shape:{shape_of(word)}"] if self.shapes else found


def shape_of(word: str) -> str:
    """The shape of a word: `X` for a run of capital letters, `x` for other letters, `d` for digits.

    For example `Xx` for Word and `d.d` for 3.14. Only the first eight characters of the result are returned.
    """
    signs = (
        "X" if sign.isupper() else "x" if sign.isalpha() else "d" if sign.isdigit() else sign for sign in word[:200]
    )
    return re.sub(r"(.)\1+", r"\1", "".join(signs), flags=re.DOTALL)[:8]


class TagVocabulary:
    """Words, features and tags by id.

    Args:
        words: distinct words, including `<unk>`.
        tags: distinct tags.
        features: distinct features, `<rare>` first; empty if words have no features.
        kinds: the features of a word.
        rare: words of the training text that are read as `<unk>`.
        column: the column of CoNLL-U that the tags were read from by default; None for other texts or settings.

    Raises:
        ValueError: when an entry is repeated, or `<unk>` or `<rare>` is missing or misplaced.
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
        column: str | None = None,
    ) -> None:
        self.column = column
        self.words = list(words)
        self.tags = list(tags)
        self.features = list(features)
        self.kinds = kinds or FeatureKinds()
        self.rare = frozenset(rare)
        self.word_index = {word: index for index, word in enumerate(self.words)}
        self.tag_index = {tag: index for index, tag in enumerate(self.tags)}
        self.feature_index = {feature: index for index, feature in enumerate(self.features)}
        sizes = [len(self.word_index), len(self.tag_index), len(self.feature_index)]
        if sizes != [len(self.words), len(self.tags), len(self.features)] or UNK not in self.word_index or not tags:
            raise ValueError(f"a tagger's vocabulary holds each word, tag and feature once, and {UNK} among the words")
        if bool(self.features) != bool(self.kinds.of("x")) or (self.features and self.features[0] != RARE):
            raise ValueError(f"a tagger's features begin with {RARE}, and are there where words have some")
        # the ids are needed for each occurrence of a word
        self._ids = lru_cache(maxsize=1 << 18)(self._ids_of)

    def __reduce__(self) -> tuple[type["TagVocabulary"], tuple[Any, ...]]:
        # a cache of ids is that of one vocabulary
        return TagVocabulary, (self.words, self.tags, self.features, self.kinds, self.rare, self.column)

    def __len__(self) -> int:
        return len(self.words)

    def __iter__(self) -> Iterator[str]:
        return iter(self.words)

    def __contains__(self, word: object) -> bool:
        return isinstance(word, str) and word in self.word_index

    def __repr__(self) -> str:
        return f"{type(self).__name__}({len(self.words):,} words, {len(self.tags)} tags)"

    @property
    def unknown(self) -> int:
        """The id of `<unk>`."""
        return self.word_index[UNK]

    def saw(self, word: str) -> bool:
        """Whether a word occurs in the training text."""
        return (word in self.word_index and word != UNK) or word in self.rare

    def encode(self, words: Sequence[str]) -> NDArray[np.int64]:
        """The ids (L, 1 + F) of words, each followed by the ids of its features.

        Raises:
            UserError: when the words are a string, which would be read as its characters.
        """
        if isinstance(words, str):
            raise UserError(f"words: a sentence is a list of words; split a string first (got {shown(words)})")
        return np.array([self._ids(word) for word in words], np.int64).reshape(len(words), -1)

    def _ids_of(self, word: str) -> tuple[int, ...]:
        rare = 0
        features = (self.feature_index.get(feature, rare) for feature in self.kinds.of(word))
        return (self.word_index.get(word, self.unknown), *features)

    def unknown_rows(self, feature_min_count: int = 1) -> NDArray[np.int64]:
        """The ids (V, 1 + F) that each word would have if the training text lacked it: `<unk>` and its features.

        A feature that too few other words of the training text have is `<rare>`, as it is for a word of another text.

        Args:
            feature_min_count: the number of distinct words that a feature of the vocabulary has at least.
        """
        seen = ({*self.words} - {UNK}) | self.rare
        counts = Counter(feature for word in seen for feature in self.kinds.of(word))
        kept = {feature: index for feature, index in self.feature_index.items() if counts[feature] > feature_min_count}
        rows = [(self.unknown, *(kept.get(feature, 0) for feature in self.kinds.of(word))) for word in self.words]
        return np.array(rows, np.int64)

    def document(self) -> dict[str, Any]:
        """The vocabulary as plain data; `tag_vocabulary_from` reads it."""
        return {
            "unit": self.unit,
            "words": self.words,
            "rare": sorted(self.rare),
            "tags": self.tags,
            "features": self.features,
            "kinds": self.kinds._asdict(),
            **({} if self.column is None else {"column": self.column}),
        }


def build_tag_vocabulary(
    words: Counter[str],
    tags: Iterable[str],
    *,
    order: Order = "descending",
    order_seed: int = 1,
    ties: Ties | None = None,
    min_count: int = 1,
    kinds: FeatureKinds | None = None,
    feature_min_count: int = 1,
    unknown_count: int = 0,
    column: str | None = None,
) -> TagVocabulary:
    """The vocabulary of a training text.

    Args:
        words: the counts of its words.
        tags: its tags.
        order: the order of word ids, as in `build_vocabulary`.
        order_seed: the seed of the random order.
        ties: the order of words of equal count, as in `build_vocabulary`.
        min_count: words that are rarer are read as `<unk>`.
        kinds: the features of a word.
        feature_min_count: features that occur in fewer distinct words share the id of `<rare>`.
        unknown_count: how often `<unk>` replaces a known word in training, which is added to its count.
        column: see `TagVocabulary`.
    """
    kinds = kinds or FeatureKinds()
    counts = Counter(words)
    counts[UNK] += unknown_count
    kept = build_vocabulary(counts, order=order, order_seed=order_seed, ties=ties, min_count=min_count).words
    features: list[str] = []
    if kinds.of("x"):
        found = Counter(feature for word in words for feature in kinds.of(word))
        features = [RARE, *sorted(feature for feature, count in found.items() if count >= feature_min_count)]
    # sentences are separate, so a tagger needs no token for the end of a line
    chosen = [word for word in kept if word != EOS]
    return TagVocabulary(chosen, sorted(set(tags)), features, kinds, set(words) - set(chosen), column)


class _Kinds(Document):
    """The features of a word, as plain data."""

    lower_case: bool
    prefixes: _Affix
    suffixes: _Affix
    shapes: bool


def tag_vocabulary_from(document: Any) -> TagVocabulary:
    """The vocabulary of a document that `TagVocabulary.document` made.

    Raises:
        DataError: when it is not such a document.
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
                    checked_kinds = state_of(_Kinds, kinds)
                    column = document.get("column")
                    column = column if isinstance(column, str) else None
                    return TagVocabulary(
                        words, tags, features, FeatureKinds(**checked_kinds.model_dump()), rare, column
                    )
                except ValueError as error:
                    raise DataError(f"vocabulary: {error}") from None
    raise DataError("vocabulary: not that of a tagger")
