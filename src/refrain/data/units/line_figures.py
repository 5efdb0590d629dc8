"""Figures of the lines of a text, for units whose tokens are parts of words."""

from typing import Any

from ..corpus import Corpus
from ..text.files import Errors, Spans, blocks
from ..text.oddities import byte_oddities


def line_figures(corpus: Corpus) -> dict[str, dict[str, Any]]:
    """For each split the numbers of characters, bytes and empty lines, the longest line in characters, and oddities.

    Carriage returns and zero bytes are characters like any other, and are not counted.
    """
    found = {}
    for name, split in corpus.splits.items():
        oddities = byte_oddities(split.source)
        kept = {key: oddities[key] for key in ("compressed_files", "marked_lines")}
        found[name] = _figures(split.source, corpus.errors) | kept
    return found


def _figures(source: Spans, errors: Errors) -> dict[str, int]:
    figures = {"characters": 0, "bytes": 0, "empty_lines": 0, "longest_line": 0}
    # of the line that a block ends in
    length = 0
    for text in blocks(source, errors, whole_lines=False, whole_words=False):
        figures["characters"] += len(text)
        figures["bytes"] += len(text.encode("utf-8", "surrogateescape"))
        *lines, rest = text.split("\n")
        for line in lines:
            length += len(line)
            figures["empty_lines"] += not length
            figures["longest_line"] = max(figures["longest_line"], length)
            length = 0
        length += len(rest)
    return figures
