"""Python source as tagged sentences: the tokens of a logical line with their kinds, as Python's own parser sees them.

Names are `function`, `method`, `class`, `parameter`, `argument` (a keyword of a call), `attribute`, `module` (whatever
is imported), `builtin` and `variable`; other tokens are `keyword`, `operator`, `number` and `string`. Every string
is replaced by `"..."`; comments, and lines that are only a string, such as docstrings, are left out.
"""

import ast
import builtins
import io
import keyword
import tokenize
import warnings
from collections.abc import Iterator

from .sentences import Sentence

LONGEST = 100
TAGGED = (tokenize.NAME, tokenize.NUMBER, tokenize.OP, tokenize.STRING)
STRING = '"..."'
BUILTINS = frozenset(dir(builtins))
DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
Kinds = dict[tuple[int, int], str]
Scope = dict[str, str]


def tagged_lines(source: str) -> Iterator[Sentence]:
    """The logical lines of a module that have at most 100 tokens.

    Args:
        source: the source of the module; one that does not parse yields nothing.
    """
    with warnings.catch_warnings():
        # users cannot act on warnings about escapes in the standard library
        warnings.simplefilter("ignore")
        try:
            kinds = kinds_in(ast.parse(source), source)
            tokens = list(tokenize.generate_tokens(io.StringIO(source).readline))
        except (SyntaxError, ValueError, RecursionError, tokenize.TokenError):
            return
    line: list[tokenize.TokenInfo] = []
    depth = 0
    for token in tokens:
        name = tokenize.tok_name[token.type]
        # since Python 3.12 a formatted string is several tokens, which count as one string here
        depth += {"FSTRING_START": 1, "TSTRING_START": 1, "FSTRING_END": -1, "TSTRING_END": -1}.get(name, 0)
        if not depth and (token.type in TAGGED or name in ("FSTRING_END", "TSTRING_END")):
            line.append(token)
        elif token.type == tokenize.NEWLINE:
            if 0 < len(line) <= LONGEST and any(_text(each) != STRING for each in line):
                tags = [_kind(index, line, kinds) for index in range(len(line))]
                yield Sentence([_text(each) for each in line], tags, line[0].start[0])
            line = []


def _text(token: tokenize.TokenInfo) -> str:
    return token.string if token.type in (tokenize.NAME, tokenize.NUMBER, tokenize.OP) else STRING


def _kind(index: int, line: list[tokenize.TokenInfo], kinds: Kinds) -> str:
    token = line[index]
    if token.type != tokenize.NAME:
        return {tokenize.NUMBER: "number", tokenize.OP: "operator"}.get(token.type, "string")
    if keyword.iskeyword(token.string):
        return "keyword"
    if token.start in kinds:
        return kinds[token.start]
    if line[0].string in ("import", "from"):
        return "module"
    # the syntax tree has no position for names after `as` or `global`, nor for soft keywords
    return "keyword" if index == 0 and keyword.issoftkeyword(token.string) else "variable"


def kinds_in(tree: ast.Module, source: str) -> Kinds:
    """The kind of each name of a module, by line and column.

    Args:
        tree: the syntax tree of the module.
        source: the source of the tree, needed because the tree counts columns in bytes.
    """
    lines = source.splitlines(keepends=True)
    found: Kinds = {}

    def note(line: int, column: int, kind: str) -> None:
        text = lines[line - 1] if line <= len(lines) else ""
        found[line, column if text.isascii() else len(text.encode()[:column].decode(errors="ignore"))] = kind

    def visit(node: ast.AST, scopes: list[Scope], owner: str) -> None:
        match node:
            case ast.Name():
                note(node.lineno, node.col_offset, _resolve(node.id, scopes))
            case ast.Attribute(end_lineno=int(line), end_col_offset=int(column)):
                note(line, column - len(node.attr.encode()), "attribute")
            case ast.arg():
                note(node.lineno, node.col_offset, "parameter")
            case ast.keyword(arg=str()):
                note(node.lineno, node.col_offset, "argument")
        if isinstance(node, DEFINITIONS):
            kind = "class" if isinstance(node, ast.ClassDef) else "method" if owner == "class" else "function"
            words = {"class": "class ", "method": "def ", "function": "def "}[kind]
            words = f"async {words}" if isinstance(node, ast.AsyncFunctionDef) else words
            note(node.lineno, node.col_offset + len(words), kind)
        inner, owner = _inside(node, scopes, owner)
        for child in ast.iter_child_nodes(node):
            visit(child, inner, owner)

    visit(tree, [names_bound(tree)], "module")
    return found


def _inside(node: ast.AST, scopes: list[Scope], owner: str) -> tuple[list[Scope], str]:
    """The scopes of the children of a node, and whether their owner is a class or a function."""
    if isinstance(node, ast.ClassDef):
        return scopes, "class"
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
        return [*scopes, names_bound(node)], "function"
    return scopes, owner


def names_bound(scope: ast.AST) -> Scope:
    """The names that a module or a function binds, and the kind of each.

    Args:
        scope: the syntax tree of the module or function.
    """
    bound: Scope = {}
    if isinstance(scope, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
        for arg in ast.walk(scope.args):
            if isinstance(arg, ast.arg):
                bound[arg.arg] = "parameter"
    waiting: list[ast.AST] = list(ast.iter_child_nodes(scope))
    while waiting:
        node = waiting.pop()
        if isinstance(node, DEFINITIONS):
            bound.setdefault(node.name, "class" if isinstance(node, ast.ClassDef) else "function")
            continue
        if isinstance(node, ast.Import | ast.ImportFrom):
            for alias in node.names:
                bound.setdefault((alias.asname or alias.name).partition(".")[0], "module")
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            bound.setdefault(node.id, "variable")
        if not isinstance(node, ast.Lambda):
            waiting += ast.iter_child_nodes(node)
    return bound


def _resolve(name: str, scopes: list[Scope]) -> str:
    for scope in reversed(scopes):
        if name in scope:
            return scope[name]
    return "builtin" if name in BUILTINS else "variable"
