"""The bytes that each token of a vocabulary adds to a text, for programs that print what a model generates."""

import re

from refrain.data import Vocabulary


def printed_tokens(vocabulary: Vocabulary) -> tuple[bytes, ...]:
    """How each token is printed; a token that is no text, such as one for padding, is empty.

    Args:
        vocabulary: of a language model.
    """
    return tuple(_printed(vocabulary, index, token) for index, token in enumerate(vocabulary))


def _printed(vocabulary: Vocabulary, index: int, token: str | bytes) -> bytes:
    if isinstance(token, bytes):
        return token
    if index == vocabulary.line_end:
        return b"\n"
    # what the token adds to a text: a word brings a blank, which is printed after it
    text = "".join(vocabulary.continuation("x", [index]))
    if not text and vocabulary.unit == "subword":
        # a piece that ends inside a character
        return _part_of_a_character(token)
    return (f"{token} " if text == f" {token}" else text).encode("utf-8", "surrogateescape")


def _part_of_a_character(piece: str) -> bytes:
    """The bytes of a piece: one such as `<0xE2>` of SentencePiece, or letters that stand for bytes, as in GPT-2."""
    if found := re.fullmatch("<0x([0-9A-F]{2})>", piece):
        return bytes.fromhex(found[1])
    made = [_LETTERS.get(sign, 0) for sign in piece]
    # a mark such as <s> adds nothing to a text, and is of letters alone
    return bytes(made) if max(made, default=0) >= 0x80 and all(sign in _LETTERS for sign in piece) else b""


def _letters() -> dict[str, int]:
    """The byte of each letter in such tokenizers (Radford et al., 2019): its own if it can be printed."""
    shown = [*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in shown]
    return {chr(byte): byte for byte in shown} | {chr(256 + place): byte for place, byte in enumerate(others)}


_LETTERS = _letters()
