"""Python's own tokens with the kinds of their names."""

from refrain.data.tagged.python_names import LONGEST, tagged_lines

SOURCE = '''"""A module."""
import os.path as p
from os import sep  # a comment
TOP = 1.5

class A(Base):
    """A class."""
    async def method(self, x, *, key=None):
        é = self.x.y(key=f"a{x}b") + helper(len(x))
        return é, TOP, sep

def helper(z): return lambda q: q + z + p
'''


def kinds():
    return {(word, tag) for line in tagged_lines(SOURCE) for word, tag in zip(line.words, line.tags, strict=True)}


def test_names_have_their_kinds():
    found = kinds()
    for word, kind in {
        "A": "class", "Base": "variable", "method": "method", "helper": "function", "self": "parameter",
        "x": "attribute", "y": "attribute", "key": "argument", "é": "variable", "len": "builtin", "TOP": "variable",
        "sep": "module",
        "p": "module", "os": "module", "q": "parameter", "1.5": "number", '"..."': "string", "async": "keyword",
        "+": "operator",
    }.items():  # fmt: skip
        assert (word, kind) in found, word
    # x and key are parameters of the method, too
    assert {("x", "parameter"), ("key", "parameter")} <= found
    assert ("len", "variable") not in found and ("helper", "variable") not in found


def test_lines_are_logical_ones_without_strings_that_stand_alone():
    lines = [" ".join(line.words) for line in tagged_lines(SOURCE)]
    assert len(lines) == 8
    assert lines[0] == "import os . path as p"
    assert lines[5] == 'é = self . x . y ( key = "..." ) + helper ( len ( x ) )'
    assert [line.line for line in tagged_lines("\n\nx = (1,\n 2)\ny = 2\n")] == [3, 5]


def test_what_does_not_parse_or_is_too_long_is_left_out():
    assert list(tagged_lines("def (:\n")) == []
    assert list(tagged_lines("x = '\0'\n")) == []
    assert next(tagged_lines(f"x = [{'1, ' * LONGEST}]\ny = 1\n")).words == ["y", "=", "1"]
