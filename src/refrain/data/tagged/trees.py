"""Bracketed trees as in the Penn Treebank: `(S (NP (DT The) (NN cat)) (VP (VBD sat)))`, with words and tags in leaves.

A tree ends where its first bracket is closed, whatever the lines. Empty elements, whose tag is -NONE-, are no words of
the text. Words stay as they are spelled in the tree, as in -LRB- for a bracket.
"""

import re
from collections.abc import Iterator, Sequence

from refrain.errors import shown

from ..text.words import is_blank
from .sentences import BadSentence, Lines, Sentence

NAME = "bracketed trees"
EMPTY = "-NONE-"
# labels of phrases and tags are in capitals, as in NP-SBJ=1 and PRP$
_LABEL = r"[A-Z][A-Z0-9|+=.$-]*"
_BEGIN = re.compile(rf"\s*\(\s*(({_LABEL}\s+)?\(\s*{_LABEL}(\s|$)|(ROOT|TOP|S1?)?\s*$)")
_LEAF = re.compile(r"\([^\s()]+\s+[^\s()]+\s*\)")
_BRACKET = re.compile(r"[()]")
_PART = re.compile(r"[()]|[^\s()]+")


def begin_as_trees(head: Sequence[str]) -> bool:
    """Whether the first lines of a text are those of bracketed trees.

    Args:
        head: the first lines; a single one may end before the first leaf.
    """
    lines = [line for line in head if not is_blank(line)]
    if not lines or not _BEGIN.match(lines[0]):
        return False
    return len(lines) == 1 or any(_LEAF.search(line) for line in lines)


def tree_blocks(lines: Iterator[str]) -> Iterator[Lines]:
    """The lines of each tree; of a line that several trees share, each has its part.

    Where the trees before begin at the left margin and none of their other lines does, a line that begins there ends a
    tree of which a bracket is not closed.
    """
    block, depth = Lines(1, []), 0
    at_margin: bool | None = None
    for number, line in enumerate(lines, 1):
        if block.lines and at_margin and line.startswith("("):
            yield block
            block, depth = Lines(number, []), 0
        if not block.lines:
            block = Lines(number, [])
        *ended, rest = _cut(line.removesuffix("\r"), depth)
        for part in ended:
            block.lines.append(part)
            first, *others = block.lines
            alone = first.startswith("(") and not any(other.startswith("(") for other in others)
            at_margin = alone and at_margin is not False
            yield block
            block, depth = Lines(number, []), 0
        if is_blank(rest) and not block.lines:
            continue
        block.lines.append(rest)
        depth += rest.count("(") - rest.count(")")
        if depth <= 0:
            # what is outside of all brackets
            yield block
            block, depth = Lines(number, []), 0
    if block.lines:
        yield block


def _cut(line: str, depth: int) -> list[str]:
    """The parts of a line: each but the last ends a tree, and the last is what follows, which may be empty.

    Args:
        line: the line.
        depth: the number of brackets that are open before it.
    """
    parts, start = [], 0
    if line.count(")") >= depth:
        for bracket in _BRACKET.finditer(line):
            depth += 1 if bracket.group() == "(" else -1
            if depth <= 0:
                parts.append(line[start : bracket.end()].lstrip() if start else line[: bracket.end()])
                start, depth = bracket.end(), 0
    return [*parts, line[start:].lstrip() if start else line]


def parse_tree(block: Lines) -> Sentence | None:
    """The words and tags of the leaves, in their order; None for a tree of nothing but empty elements.

    Args:
        block: the lines of a tree.

    Raises:
        BadSentence: when brackets do not match, one has neither a tag and a word nor other brackets inside, or
            a word is beside other brackets.
    """
    words, tags = [], []
    # of each open bracket: the line where it opens, its names, and whether brackets are inside
    nodes: list[tuple[int, list[str], bool]] = []
    for number, line in block.numbered():
        for part in _PART.findall(line):
            if part == "(":
                if nodes:
                    nodes[-1] = (*nodes[-1][:2], True)
                nodes.append((number, [], False))
            elif part == ")" and nodes:
                _, names, has_inside = nodes.pop()
                if not has_inside and len(names) != 2:
                    raise BadSentence(number, f"({' '.join(names)}) is no tag with its word")
                if has_inside and len(names) > 1:
                    raise BadSentence(number, f"{shown(names[1])} is beside brackets and has no tag")
                if not has_inside and names[0] != EMPTY:
                    tags.append(names[0])
                    words.append(names[1])
            elif not nodes:
                raise BadSentence(number, f"{shown(part)} is outside of all brackets of the tree")
            else:
                nodes[-1][1].append(part)
    if nodes:
        raise BadSentence(nodes[-1][0], "a bracket that opens here is not closed")
    return Sentence(words, tags, block.first) if words else None


def count_empty(line: str) -> int:
    """The number of empty elements in a line of a tree."""
    return line.count(f"({EMPTY} ")
