"""Text for tables, messages and terminals: no control characters, and the endings of the files of tables."""

import contextlib
import re
import sys
from pathlib import Path

from refrain.errors import UserError

# C0, DEL and C1, the line and paragraph separators, which end a line for some readers, surrogates, which UTF-8 lacks,
# and the backslash, so that an escape can be undone
_ESCAPED = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff\\\\]")
# what can move the cursor, end a line, or change the order in which a line is read
_CONTROLS = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
_SHORT = {"\t": "\\t", "\n": "\\n", "\r": "\\r", "\\": "\\\\"}

_TABBED = (".tsv", ".tab", ".txt")


def check_table_ending(option: str, path: Path) -> None:
    """Check that the ending of a file does not promise another format than commas (`.csv`) or tabs.

    Args:
        option: the option or argument that names the file, for messages.
        path: the file; one without an ending, such as `/dev/stdout`, is a table with tabs.

    Raises:
        UserError: when the file would be mistaken for something else, as `table.json` would.
    """
    ending = path.suffix.lower()
    if re.match(r"\.[a-z]", ending) and ending not in (".csv", *_TABBED):
        raise UserError(f"{option}: {path} is to be a table; end it in .csv for commas, or in .tsv or .txt for tabs")


def tsv_cell(text: str) -> str:
    r"""Return a text as it is written in a cell of a tab-separated table.

    A backslash, a tab, a newline and a carriage return become `\\`, `\t`, `\n` and `\r`; other control characters
    become `\xNN`, and the line separators of Unicode and single surrogates `\uNNNN`. All other text is unchanged.

    Args:
        text: any text.
    """
    return _ESCAPED.sub(lambda match: _escape(match[0]), text)


def visible(text: str, *, keep: str = "") -> str:
    r"""Return a text as it is shown to people: each control character is replaced by its escape.

    A newline becomes `\n`, the escape character `\x1b`, a mark that changes the direction of text `\u202e`, and an
    undecodable byte of a file name `\udce9`. Unlike `tsv_cell`, it leaves a backslash as it is.

    Args:
        text: any text.
        keep: characters that are not replaced.
    """
    return _CONTROLS.sub(lambda match: match[0] if match[0] in keep else _escape(match[0]), text)


def log_line(text: str) -> None:
    """Print a text as one line on standard error. Nothing happens where standard error is closed or not read."""
    if sys.stderr is not None:
        # a closed file is a ValueError
        with contextlib.suppress(OSError, ValueError):
            print(visible(text), file=sys.stderr, flush=True)


def errors_on_terminal() -> bool:
    """Whether standard error is a terminal."""
    return sys.stderr is not None and not sys.stderr.closed and sys.stderr.isatty()


def _escape(character: str) -> str:
    code = ord(character)
    return _SHORT.get(character) or (f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}")
