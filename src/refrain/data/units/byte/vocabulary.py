"""The 256 byte values as a vocabulary."""

import codecs
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from refrain.arguments import text_of
from refrain.errors import UserError

from ...text.files import BLOCK_BYTES, Errors, Spans
from ...text.token_file import TokenSource
from ...text.words import BLANKS
from ..protocol import Spelling, checked_id

# what separates words in a text of words too, so that the words of two models are the same
_BLANKS = BLANKS.encode()


class ByteVocabulary:
    """The 256 byte values; ids are the bytes."""

    unit = "byte"
    piece = "character"
    bytes_per_token = 1
    line_end = ord("\n")
    unknown = None
    unknown_count = None

    def __len__(self) -> int:
        return 256

    def __iter__(self) -> Iterator[bytes]:
        return (bytes([index]) for index in range(256))

    def __contains__(self, text: object) -> bool:
        return isinstance(text, str) or (isinstance(text, bytes) and len(text) == 1)

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"

    def encode(self, text: str) -> list[int]:
        """The UTF-8 bytes of a text.

        Characters that stand for bytes which are not UTF-8, as `errors="surrogateescape"` reads them, are these bytes.

        Raises:
            UserError: when `text` is not a string, for example a list of words, or has a half of a surrogate pair.
        """
        try:
            return list(text_of(text, "text").encode("utf-8", "surrogateescape"))
        except UnicodeEncodeError as error:
            code = ord(text[error.start])
            raise UserError(f"text: U+{code:04X} is half of a surrogate pair and no character; leave it out") from None

    def decode(self, ids: Sequence[int]) -> str:
        """Bytes to text; what is not UTF-8 is shown as U+FFFD."""
        return bytes(ids).decode("utf-8", errors="replace")

    def token(self, index: int) -> str:
        """A printable byte as itself, any other as \\xNN.

        Raises:
            IndexError: when the id is no byte.
        """
        index = checked_id(index, 256)
        return chr(index) if 32 < index < 127 and index != 92 else f"\\x{index:02x}"

    def continuation(self, prompt: str, ids: Iterable[int]) -> Iterator[str]:
        """The characters that the bytes complete; empty after a byte inside a character."""
        decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        return (decoder.decode(bytes([index])) for index in ids)

    def pieces(self, text: str) -> list[str]:
        """Each character at its last byte, and nothing at the bytes before it."""
        return [piece for character in text for piece in [""] * (_size(character) - 1) + [character]]

    def count_unseen(self, text: str, ids: Sequence[int]) -> int:
        """0: every byte has an id."""
        return 0

    def spellings(self, source: Spans, tokens: TokenSource, errors: Errors) -> Iterator[Spelling]:
        """Each byte; a word ends with the blank after it."""
        for start in range(0, len(tokens), BLOCK_BYTES):
            for byte in tokens.read(start, start + BLOCK_BYTES).tobytes():
                text = bytes([byte])
                yield Spelling(text, text in _BLANKS)

    def document(self) -> dict[str, Any]:
        """The vocabulary as plain data."""
        return {"unit": self.unit}


def _size(character: str) -> int:
    return 1 if character < "\x80" else len(character.encode("utf-8", "surrogateescape"))
