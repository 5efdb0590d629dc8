"""Text as a cell of a tab-separated table: a tab, a newline or another control character never reaches the file."""

import re

# C0, DEL and C1, the line and paragraph separators, which end a line for some readers, surrogates, which UTF-8 lacks,
# and the backslash, so that an escape can be undone
_ESCAPED = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff\\\\]")
_SHORT = {"\t": "\\t", "\n": "\\n", "\r": "\\r", "\\": "\\\\"}


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
