"""What is unusual in a text and easily overlooked: marks, control characters, line ends and blanks of other kinds."""

import codecs
import re
import unicodedata

from .files import Errors, Spans, blocks, raw_blocks
from .packed import is_unpacked
from .words import BLANKS

_MARK = b"\xef\xbb\xbf"
_REPLACEMENT = b"\xef\xbf\xbd"
# white space of Unicode, and control characters that other programs take for it, which are parts of words here
_WIDE = re.compile("[\x0b\x0c\x1c-\x1f\x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]")
_WIDE_WORDS = re.compile(rf"[^{BLANKS}]*{_WIDE.pattern}[^{BLANKS}]*")


def count_replaced(spans: Spans) -> int:
    """The number of U+FFFD that are read in place of invalid UTF-8, where that is not an error."""
    total = 0
    for span in spans:
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        before = b""
        for raw in raw_blocks(span):
            # those that the text itself holds do not count; one may lie in two blocks
            window = before + raw
            total += decoder.decode(raw).count("\ufffd") - window.count(_REPLACEMENT)
            before = window[-2:]
        total += decoder.decode(b"", final=True).count("\ufffd")
    return total


def byte_oddities(spans: Spans) -> dict[str, int]:
    """Counts of a text as it is stored.

    Returns:
        The number of files that are compressed, of lines that begin with a byte order mark, of carriage returns, and of
        zero bytes.
    """
    found = {"compressed_files": sum(is_unpacked(span.path) for span in spans), "marked_lines": 0}
    found |= {"carriage_returns": 0, "zero_bytes": 0}
    for span in spans:
        # the bytes before a block that may belong to a line end and a mark in it
        before = b"\n"
        for raw in raw_blocks(span):
            window = before + raw
            found["marked_lines"] += window.count(b"\n" + _MARK) + window.count(b"\r" + _MARK)
            found["carriage_returns"] += raw.count(b"\r")
            found["zero_bytes"] += raw.count(0)
            before = window[-len(_MARK) :]
    return found


def text_oddities(spans: Spans, errors: Errors) -> dict[str, int]:
    """Counts of a text as it is read.

    Returns:
        The number of words that hold white space other than blanks and tabs, and of lines that are not in the normal
        form NFC of Unicode.
    """
    found = {"words_with_other_blanks": 0, "lines_not_nfc": 0}
    for text in blocks(spans, errors, whole_lines=False):
        found["words_with_other_blanks"] += len(_WIDE_WORDS.findall(text)) if _WIDE.search(text) else 0
        if not unicodedata.is_normalized("NFC", text):
            found["lines_not_nfc"] += sum(not unicodedata.is_normalized("NFC", line) for line in text.split("\n"))
    return found
