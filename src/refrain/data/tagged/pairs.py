"""Tagged text as in the Brown corpus: each line is a sentence of pairs such as `the/DT` or `the_DT`."""

from collections.abc import Callable, Iterable, Iterator, Sequence

from refrain.errors import shown

from ..text.words import is_blank, split_words
from .sentences import BadSentence, Lines, Sentence, blocks_of_lines

SEPARATORS = ("/", "_", "|")


def separator_of(lines: Iterable[str]) -> str | None:
    """The mark between the words and the tags; None where fewer than 19 in 20 tokens of the lines are a pair.

    Args:
        lines: the first lines of a text.
    """
    tokens = [token for line in lines for token in split_words(line)]
    for mark in SEPARATORS:
        pairs = sum(_pair(token, mark) is not None for token in tokens)
        if tokens and 20 * pairs >= 19 * len(tokens):
            return mark
    return None


def _pair(token: str, mark: str) -> tuple[str, str] | None:
    word, _, tag = token.rpartition(mark)
    return (word, tag) if word and tag else None


def pairs_parser(mark: str) -> Callable[[Lines], Sentence]:
    """A function that parses a sentence of pairs. The last mark of a token is before its tag, as in `1/2/CD`.

    Args:
        mark: the mark between a word and its tag.
    """

    def parse(block: Lines) -> Sentence:
        found = []
        for number, line in block.numbered():
            for token in split_words(line):
                pair = _pair(token, mark)
                if pair is None:
                    raise BadSentence(number, f"{shown(token)} has no tag after {mark}")
                found.append(pair)
        return Sentence([word for word, _ in found], [tag for _, tag in found], block.first)

    return parse


def pair_blocks(head: Sequence[str]) -> Callable[[Iterator[str]], Iterator[Lines]]:
    """How the lines of a text of pairs are cut into sentences: each line, or at blank lines where each has one pair.

    Args:
        head: the first lines of the text.
    """
    return blocks_of_lines if all(len(split_words(line)) < 2 for line in head) else _each_line


def _each_line(lines: Iterator[str]) -> Iterator[Lines]:
    for number, line in enumerate(lines, 1):
        if not is_blank(line):
            yield Lines(number, [line.removesuffix("\r")])
