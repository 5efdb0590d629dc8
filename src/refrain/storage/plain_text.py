"""Tables as plain text: the endings of their files, and cells without tabs, newlines and other control characters."""

import re
from pathlib import Path

from refrain.errors import UserError

# C0, DEL and C1, the line and paragraph separators, which end a line for some readers, surrogates, which UTF-8 lacks,
# and the backslash, so that an escape can be undone
_ESCAPED = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff\\\\]")
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
    return _ESCAPED.sub(lambda match: _SHORT.get(match[0]) or _escape(ord(match[0])), text)


def _escape(code: int) -> str:
    return f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}"
