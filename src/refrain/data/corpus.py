"""A corpus: splits of token ids, the vocabulary they refer to, and the text they came from."""

from collections.abc import Iterator
from dataclasses import dataclass

from .text.files import Errors, Spans
from .text.token_file import TokenSource
from .units.protocol import Spelling, Vocabulary


@dataclass(frozen=True)
class Split:
    """One part of a corpus.

    Attributes:
        source: the text, a file or several.
        sha256: of the text; where it is too long to be read at every start, of samples of it, see `fingerprint`.
        tokens: its ids.
        lines: how many lines it has; None for bytes, where nothing but a pass over all of them could tell.
        unseen: how many of its words are not in the vocabulary; each became `<unk>`.
    """

    source: Spans
    sha256: str
    tokens: TokenSource
    lines: int | None
    unseen: int


@dataclass(frozen=True)
class Corpus:
    """Splits by name (`train`, `valid`, `test`, or `all`) and their vocabulary."""

    name: str
    vocabulary: Vocabulary
    splits: dict[str, Split]
    errors: Errors = "strict"

    def spellings(self, split: str) -> Iterator[Spelling]:
        """How each token of a split is spelled in its text."""
        part = self.splits[split]
        return self.vocabulary.spellings(part.source, part.tokens, self.errors)
