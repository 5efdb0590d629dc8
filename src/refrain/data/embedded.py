"""Corpora that are part of every Python: its documentation as words, the source of its standard library as bytes, and
the tokens of that source tagged with their kinds.

Nothing is bundled or downloaded. The text is taken from the running Python and split by file, and is the same for every
installation of one version that has the whole standard library.
"""

import ast
import hashlib
import platform
import re
import sysconfig
import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path

from refrain.arguments import check_choice
from refrain.errors import DataError, quantity
from refrain.storage.folders import cache_folder, cached_folder, check_owner

from .tagged.python_names import tagged_lines
from .text.splits import SPLITS

FORMAT = 1

# tests, bundled wheels, and files that differ between systems or are not part of the library
LEFT_OUT = {
    "__phello__", "__pycache__", "_bundled", "dist-packages", "idlelib", "lib-dynload", "lib2to3", "pydoc_data",
    "site-packages", "test", "tests", "turtledemo",
}  # fmt: skip

DESCRIPTIONS = {
    "python-docs": "words: the language reference and the docstrings of the running Python",
    "python-source": "bytes: the source of the running Python's standard library",
    "python-names": "tagged: the tokens of the standard library's top modules, each with its kind",
}
UNITS = {"python-docs": "word", "python-source": "byte", "python-names": "tagged"}
ENDINGS = {"python-names": "tsv"}


def embedded_folder(name: str) -> Path:
    """The folder of an embedded corpus, written by the first call: a file for each split, `.tsv` for tagged text.

    Args:
        name: a key of `DESCRIPTIONS`.

    Raises:
        UserError: when there is no corpus of this name.
        DataError: when the running Python does not have the text.
    """
    check_choice("name", name, list(DESCRIPTIONS))
    folder = cache_folder() / "embedded" / f"{name}-{platform.python_version()}-{FORMAT}"
    if not folder.is_dir():
        documents = list({"python-docs": _documentation, "python-names": _names}.get(name, _source)())
        if len(documents) < 50:
            raise DataError(
                f"{name}: this Python has too little of its standard library to train on "
                f"({quantity(len(documents), 'file')}); use a full installation, or give a corpus with --data"
            )
        with cached_folder(folder) as fresh:
            for split in SPLITS:
                text = "".join(text for key, text in documents if split_of(key) == split)
                (fresh / f"{split}.{ENDINGS.get(name, 'txt')}").write_text(text, encoding="utf-8", newline="\n")
    check_owner(folder)
    return folder


def split_of(key: str) -> str:
    """The split of a file, decided by the sha256 of its name: one in twenty is `valid`, one in twenty `test`."""
    bucket = hashlib.sha256(key.encode()).digest()[0] % 20
    return {0: "valid", 1: "test"}.get(bucket, "train")


def _library() -> Iterator[tuple[str, str]]:
    """Path and source of each module of the standard library, sorted by path."""
    root = Path(sysconfig.get_path("stdlib"))
    for path in sorted(root.rglob("*.py"), key=lambda path: path.relative_to(root).as_posix()):
        parts = path.relative_to(root).parts
        if LEFT_OUT.isdisjoint(parts) and not re.match(r"_sysconfigdata|sitecustomize|config-", parts[0]):
            yield path.relative_to(root).as_posix(), path.read_text(encoding="utf-8", errors="replace")


def _source() -> Iterator[tuple[str, str]]:
    for key, text in _library():
        yield key, text if text.endswith("\n") else text + "\n"


def _names() -> Iterator[tuple[str, str]]:
    for key, text in _library():
        if "/" not in key:
            sentences = tagged_lines(text)
            lines = ("".join(f"{word}\t{tag}\n" for word, tag in zip(s.words, s.tags, strict=True)) for s in sentences)
            yield key, "".join(line + "\n" for line in lines)


def _documentation() -> Iterator[tuple[str, str]]:
    try:
        from pydoc_data import topics
    except ImportError:
        raise DataError("python-docs: this Python lacks pydoc_data; use a full installation") from None
    for key in sorted(topics.topics):
        yield f"topic:{key}", _paragraphs([topics.topics[key]])
    for key, source in _library():
        if text := _paragraphs(_docstrings(source)):
            yield key, text


def _docstrings(source: str) -> Iterator[str]:
    with warnings.catch_warnings():
        # users cannot act on warnings about escapes in the standard library
        warnings.simplefilter("ignore")
        try:
            tree = ast.parse(source)
        except (SyntaxError, ValueError):
            return
    nodes = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    yield from filter(None, (ast.get_docstring(node) for node in ast.walk(tree) if isinstance(node, nodes)))


def _paragraphs(texts: Iterable[str]) -> str:
    """Each paragraph as a line in lower case, its words and runs of one punctuation mark separated by blanks."""
    paragraphs = (paragraph for text in texts for paragraph in re.split(r"\n\s*\n", text))
    lines = (
        " ".join(match[0] for match in re.finditer(r"\w+|([^\w\s])\1*", paragraph.lower())) for paragraph in paragraphs
    )
    return "".join(line + "\n" for line in lines if line)
