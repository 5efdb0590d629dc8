"""Tokenizers of other packages behind one protocol: SentencePiece, and the package `tokenizers` of Hugging Face.

Both packages are optional and are imported when a tokenizer is made. A tokenizer divides one line at a time.
"""

import json
import re
from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple, Protocol

from refrain.errors import MachineError, shortened

Kind = Literal["sentencepiece", "tokenizers"]

INSTALL = "pip install 'refrain-lm[tokenizers]'"
# pieces that end a text in common models, in the order in which they are looked for
LINE_ENDS = ("</s>", "<sos/eos>", "<eos>", "<|endoftext|>", "<|end_of_text|>", "[SEP]")
_WHAT_NEEDS = {"sentencepiece": "subwords need", "tokenizers": "a tokenizer.json needs"}
# fewer lines than this are divided without threads
MANY_LINES = 256
_SURROGATES = re.compile("[\ud800-\udfff]")


class Divided(NamedTuple):
    """A line as pieces.

    Attributes:
        ids: the id of each piece.
        ends: where each piece ends in the line, in characters, counting from 0.
    """

    ids: list[int]
    ends: list[int]


class Tokenizer(Protocol):
    """What a vocabulary of subwords needs of a tokenizer."""

    @property
    def kind(self) -> Kind:
        """The package that reads the model."""
        ...

    @property
    def model(self) -> bytes:
        """The content of the model file."""
        ...

    @property
    def line_end(self) -> int | None:
        """The id of the piece that ends a text; None if the model has none."""
        ...

    @property
    def unknown(self) -> int | None:
        """The id that other characters get; None if every text has pieces of its own."""
        ...

    def __len__(self) -> int: ...

    def encode(self, lines: Sequence[str], *, one_thread: bool = False) -> list[list[int]]:
        """The ids of each line, found by several threads where there are many lines, or by this thread alone."""
        ...

    def divide(self, line: str) -> Divided:
        """The ids of a line, and where each piece ends."""
        ...

    def decode(self, ids: Sequence[int]) -> str:
        """The text of ids of one line."""
        ...

    def name(self, index: int) -> str:
        """How the model spells a piece."""
        ...


class SentencePieceTokenizer:
    """A model of SentencePiece (Kudo and Richardson, 2018); see `Tokenizer` for the methods.

    Args:
        model: the content of the model file.

    Raises:
        MachineError: when the package `sentencepiece` is missing.
        ValueError: when the content is no such model.
    """

    kind: Literal["sentencepiece"] = "sentencepiece"

    def __init__(self, model: bytes) -> None:
        self.model = model
        self._pieces = package("sentencepiece").SentencePieceProcessor()
        try:
            self._pieces.LoadFromSerializedProto(model)
            self._names = [str(self._pieces.id_to_piece(index)) for index in range(self._pieces.get_piece_size())]
        except (RuntimeError, OSError, IndexError, ValueError):
            raise ValueError("is no model of SentencePiece") from None
        own = self._pieces.eos_id()
        self.line_end = own if own >= 0 else _first(LINE_ENDS, self._names)
        # a model with pieces for bytes spells everything
        spells_all = all(self._pieces.is_byte(index) for index in _byte_ids(self._names)) and "<0x00>" in self._names
        self.unknown = None if spells_all else int(self._pieces.unk_id())

    def __len__(self) -> int:
        return len(self._names)

    def encode(self, lines: Sequence[str], *, one_thread: bool = False) -> list[list[int]]:
        """The ids of each line."""
        given = [_valid(line) for line in lines]
        if one_thread or len(given) < MANY_LINES:
            return [self._pieces.encode(line) for line in given]
        found: list[list[int]] = self._pieces.encode(given)
        return found

    def divide(self, line: str) -> Divided:
        """The ids of a line, and where each piece ends."""
        if hasattr(self._pieces, "encode_as_offset_mapping"):
            found = self._pieces.encode_as_offset_mapping(_valid(line))
            return Divided(list(found["ids"]), [end for _, end in found["offsets"]])
        # versions before 0.2.2
        pieces = self._pieces.encode(_valid(line), out_type="immutable_proto").pieces
        return Divided([piece.id for piece in pieces], [piece.end for piece in pieces])

    def decode(self, ids: Sequence[int]) -> str:
        """The text of ids of one line."""
        return str(self._pieces.decode(list(ids)))

    def name(self, index: int) -> str:
        """The piece as in the model, with U+2581 for a blank."""
        return self._names[index]


class HuggingFaceTokenizer:
    """A `tokenizer.json` of the package `tokenizers`; see `Tokenizer` for the methods. No special tokens are added.

    Args:
        model: the content of the file.

    Raises:
        MachineError: when the package `tokenizers` is missing.
        ValueError: when the content is no such file.
    """

    kind: Literal["tokenizers"] = "tokenizers"

    def __init__(self, model: bytes) -> None:
        self.model = model
        try:
            text = model.decode("utf-8")
            document = json.loads(text)
        except (ValueError, RecursionError):
            raise ValueError("is no JSON in UTF-8") from None
        make = package("tokenizers").Tokenizer.from_str
        try:
            self._tokenizer = make(text)
        # the package raises plain exceptions
        except Exception as error:
            raise ValueError(f"is no tokenizer.json ({shortened(str(error), 100)})") from None
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        found: dict[str, int] = self._tokenizer.get_vocab(with_added_tokens=True)
        # ids may have gaps
        self._names = [f"<{index}>" for index in range(max(found.values(), default=-1) + 1)]
        for name, index in found.items():
            self._names[index] = name
        self.line_end = _first(LINE_ENDS, self._names)
        self.unknown = _unknown_of(document.get("model"), found)

    def __len__(self) -> int:
        return len(self._names)

    def encode(self, lines: Sequence[str], *, one_thread: bool = False) -> list[list[int]]:
        """The ids of each line."""
        given = [_valid(line) for line in lines]
        if one_thread:
            return [self._tokenizer.encode(line, add_special_tokens=False).ids for line in given]
        return [found.ids for found in self._tokenizer.encode_batch(given, add_special_tokens=False)]

    def divide(self, line: str) -> Divided:
        """The ids of a line, and where each piece ends."""
        found = self._tokenizer.encode(_valid(line), add_special_tokens=False)
        return Divided(list(found.ids), [end for _, end in found.offsets])

    def decode(self, ids: Sequence[int]) -> str:
        """The text of ids of one line."""
        return str(self._tokenizer.decode(list(ids), skip_special_tokens=False))

    def name(self, index: int) -> str:
        """The token as in the file."""
        return self._names[index]


TOKENIZERS: dict[str, Callable[[bytes], Tokenizer]] = {
    "sentencepiece": SentencePieceTokenizer,
    "tokenizers": HuggingFaceTokenizer,
}


def package(kind: Kind) -> Any:
    """The package that reads a kind of model.

    Args:
        kind: the name of the package.

    Raises:
        MachineError: when it is not installed.
    """
    try:
        if kind == "sentencepiece":
            import sentencepiece

            return sentencepiece
        import tokenizers
    except ImportError:
        raise MachineError(f"{_WHAT_NEEDS[kind]} the package {kind}: {INSTALL}") from None
    return tokenizers


def _first(wanted: Sequence[str], names: Sequence[str]) -> int | None:
    return next((names.index(name) for name in wanted if name in names), None)


def _byte_ids(names: Sequence[str]) -> list[int]:
    return [index for index, name in enumerate(names) if re.fullmatch("<0x[0-9A-F]{2}>", name)]


def _unknown_of(model: Any, found: dict[str, int]) -> int | None:
    """The id of the unknown token that the model of a tokenizer.json names."""
    if not isinstance(model, dict) or model.get("byte_fallback"):
        return None
    index = model.get("unk_id")
    if isinstance(index, int):
        return index
    name = model.get("unk_token")
    return found.get(name) if isinstance(name, str) else None


def _valid(line: str) -> str:
    # a single surrogate cannot be written in UTF-8, which the packages read
    return line if line.isascii() else _SURROGATES.sub("\ufffd", line)
