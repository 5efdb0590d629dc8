"""A corpus: token ids by split, their vocabulary, and the text that they were made from."""

from collections.abc import Iterator
from dataclasses import dataclass

from .text.files import Errors, Spans
from .text.token_file import TokenSource
from .units.protocol import Spelling, Vocabulary


@dataclass(frozen=True)
class Split:
    """One part of a corpus.

    Attributes:
        source: the text, one file or several.
        sha256: the sha256 of the text, or of samples of it where reading all would take too long; see `fingerprint`.
        tokens: the token ids.
        lines: the number of lines; None for bytes, where counting them would need a pass over the whole text.
        unseen: the number of tokens that are not in the vocabulary and were replaced by `<unk>`.
        layout: what decides the lines of the text besides its bytes, see `layout_of`; empty where lines do not matter.
    """

    source: Spans
    sha256: str
    tokens: TokenSource
    lines: int | None
    unseen: int
    layout: str = ""


@dataclass(frozen=True)
class Corpus:
    """Splits by name (`train`, `valid`, `test`, or `all`) with their vocabulary."""

    name: str
    vocabulary: Vocabulary
    splits: dict[str, Split]
    errors: Errors = "strict"

    def spellings(self, split: str) -> Iterator[Spelling]:
        """How each token of a split is spelled in its text."""
        part = self.splits[split]
        return self.vocabulary.spellings(part.source, part.tokens, self.errors)
