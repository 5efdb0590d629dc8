"""What decides the lines of a text besides its bytes: where its files end, and which line ends they have."""

import hashlib
import json

from .files import Spans, ends_lines_with_returns


def layout_of(spans: Spans) -> str:
    """A hash of what the sha256 of a text does not tell about its lines; empty for most texts of a single file.

    The end of a file also ends a line, so the lengths of the files matter where a text has several. Carriage returns
    are line ends in a file without newlines, of which the text may be a part.

    Args:
        spans: the text.

    Raises:
        DataError: when a file cannot be read.
    """
    returns = [index for index, span in enumerate(spans) if ends_lines_with_returns(span.path)]
    if len(spans) == 1 and not returns:
        return ""
    lengths = [span.stop - span.start for span in spans] if len(spans) > 1 else []
    return hashlib.sha256(json.dumps([lengths, returns]).encode()).hexdigest()
