"""Corpora of encoded text: ids in memory-mapped files in the cache, under a key of the text and the settings."""

import contextlib
import hashlib
import itertools
import json
import re
import shutil
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from refrain.errors import DataError
from refrain.storage.folders import CacheError, cache_folder, cached_folder, check_owner
from refrain.storage.regular_files import is_damage, read_regular

from ..corpus import Corpus, Split
from ..parallel.processes import do_job, is_small
from ..text.files import BLOCK_BYTES, Errors, Spans, blocks, sha256_of, size_of
from ..text.layout import layout_of
from ..text.pieces import pieces_of
from ..text.token_file import ID_DTYPES, TokenFile, id_dtype, write_tokens
from .encoding import COUNTS, Encoding, encoded_blocks, plain_encoder
from .protocol import Vocabulary

FORMAT = 3
FOLDER = "folder"
VOCABULARY = "vocabulary.json"
SCRATCH = "scratch"
LARGEST_HEADER, LARGEST_VOCABULARY = 1 << 20, 1 << 30


# the numbers of lines, unseen tokens and tokens of a split
Counts = tuple[int, int, int]


class TextKey(NamedTuple):
    """What identifies a text: its bytes, and where its lines end besides; see `layout_of`."""

    sha256: str
    layout: str


class Encoded(NamedTuple):
    """A vocabulary that is made from texts, and the texts that were encoded meanwhile.

    Attributes:
        vocabulary: the vocabulary.
        write: for each split whose ids are on disk, what writes them to a file and returns the counts of the split.
    """

    vocabulary: Vocabulary
    write: Mapping[str, Callable[[Path], Counts]] = MappingProxyType({})


def open_encoded_corpus(
    name: str,
    spans: Mapping[str, Spans],
    *,
    subfolder: str,
    settings: Mapping[str, Any],
    build: Callable[[Path], Encoded],
    read: Callable[[Any], Vocabulary],
    vocabulary: Vocabulary | None = None,
    errors: Errors = "strict",
    whole_lines: bool = True,
    whole_words: bool = True,
    workers: int | None = None,
    log: Callable[[str], None] = lambda line: None,
) -> Corpus:
    """A corpus that is encoded by the first call and found in the cache by the next.

    A trained model finds the texts that were encoded with its vocabulary when it was trained.

    Args:
        name: the name of the corpus, for messages.
        spans: the text of each split.
        subfolder: the folder of the cache for corpora of this unit.
        settings: everything except the text that decides the ids, as plain data; a part of the key.
        build: makes the vocabulary when the text has to be encoded. It is called with an empty folder for files, which
            is removed afterwards.
        read: the vocabulary of a document that `Vocabulary.document` made.
        vocabulary: that of a trained model; None where it is built from the texts.
        errors: how invalid UTF-8 is handled.
        whole_lines: False lets the encoded blocks of text end at blanks, for units whose tokens end there.
        whole_words: False lets them also end between any two characters.
        workers: the number of processes that encode the text; None is the number of processors, at most 8, and one for
            small texts.
        log: called with a line of text when the text has to be encoded.

    Raises:
        DataError: when a text is not UTF-8 or the files in the cache are damaged.
    """
    texts = {split: TextKey(sha256_of(part), layout_of(part)) for split, part in spans.items()}
    digests = {split: text.sha256 for split, text in texts.items()}
    recipe: dict[str, Any] = {"format": FORMAT, "texts": digests, "errors": errors, **settings}
    # left out where there is none, so that the texts of earlier versions are found
    if layouts := {split: text.layout for split, text in texts.items() if text.layout}:
        recipe["layouts"] = layouts
    folder = cache_folder() / subfolder / _key(recipe)
    if vocabulary is not None and not folder.is_dir():
        found = _encoded_before(subfolder, texts, vocabulary, errors)
        if found is not None:
            opened = [_open(name, place, {split: spans[split]}, texts, read, errors) for split, place in found]
            return Corpus(name, vocabulary, {key: part for each in opened for key, part in each.splits.items()}, errors)
    if not folder.is_dir():
        log(f"preparing {name}: {sum(map(size_of, spans.values())):,} bytes of text")
        ends = {"whole_lines": whole_lines, "whole_words": whole_words}
        with cached_folder(folder) as fresh:
            scratch = fresh / SCRATCH
            scratch.mkdir()
            encoded = Encoded(vocabulary) if vocabulary is not None else build(scratch)
            made = encoded.vocabulary
            _write(fresh, spans, encoded, errors, workers, **ends)
            shutil.rmtree(scratch)
        for split, text in texts.items():
            # without it the text is encoded again, which takes time and does no harm
            with (
                contextlib.suppress(CacheError),
                cached_folder(_index(subfolder, text, made, errors) / split) as fresh,
            ):
                (fresh / FOLDER).write_text(folder.name, encoding="utf-8")
    return _open(name, folder, spans, texts, read, errors)


def _key(document: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()[:32]


def _index(subfolder: str, text: TextKey, vocabulary: Vocabulary, errors: Errors) -> Path:
    """The folder that names, for each split that a text was, a folder with the ids of the text."""
    document = {"format": FORMAT, "text": text.sha256, "errors": errors, "vocabulary": _key(vocabulary.document())}
    document |= {"layout": text.layout} if text.layout else {}
    return cache_folder() / "texts" / subfolder / _key(document)


def _encoded_before(
    subfolder: str, texts: Mapping[str, TextKey], vocabulary: Vocabulary, errors: Errors
) -> list[tuple[str, Path]] | None:
    """The folder of each split, where all were encoded with the vocabulary, as these splits of any corpora."""
    found = []
    for split, text in texts.items():
        index = _index(subfolder, text, vocabulary, errors) / split
        try:
            check_owner(index)
            name = read_regular(index / FOLDER, limit=LARGEST_HEADER).decode()
        except OSError:
            return None
        folder = cache_folder() / subfolder / name
        if not re.fullmatch("[0-9a-f]{32}", name) or not folder.is_dir():
            return None
        found.append((split, folder))
    return found


def _write(
    folder: Path, spans: Mapping[str, Spans], encoded: Encoded, errors: Errors, workers: int | None, **ends: bool
) -> None:
    vocabulary = encoded.vocabulary
    (folder / VOCABULARY).write_text(json.dumps(vocabulary.document()), encoding="utf-8")
    splits = {}
    for split, text in spans.items():
        path = folder / f"{split}.bin"
        if split in encoded.write:
            found = encoded.write[split](path)
        elif is_small(spans.values(), workers):
            found = _encode(path, blocks(text, errors, **ends), vocabulary)
        else:
            found = _encode_pieces(path, text, vocabulary, errors, workers, **ends)
        splits[split] = dict(zip(COUNTS, found, strict=True))
    header = {"format": FORMAT, "dtype": id_dtype(len(vocabulary)).name, "splits": splits}
    (folder / "corpus.json").write_text(json.dumps(header, indent=1), encoding="utf-8")


def _encode(path: Path, texts: Iterable[str], vocabulary: Vocabulary) -> Counts:
    """Write the ids of a split, and return its numbers of lines, unseen tokens and tokens."""
    counts = {"lines": 0, "unseen": 0}
    tokens = write_tokens(path, encoded_blocks(texts, plain_encoder(vocabulary), id_dtype(len(vocabulary)), counts))
    return counts["lines"], counts["unseen"], tokens


def _encode_pieces(
    path: Path, spans: Spans, vocabulary: Vocabulary, errors: Errors, workers: int | None, **ends: bool
) -> Counts:
    """The same as `_encode`, by several processes, each of which writes files that are joined."""
    scratch = path.parent / SCRATCH
    totals = [0, 0, 0]
    files = map(scratch.joinpath, map(str, itertools.count()))
    with path.open("wb") as out:

        def take(found: Counts) -> None:
            totals[:] = map(sum, zip(totals, found, strict=True))
            one = next(files)
            with one.open("rb") as file:
                shutil.copyfileobj(file, out, BLOCK_BYTES)
            one.unlink()

        do_job(
            "encode",
            {"vocabulary": str(path.with_name(VOCABULARY)), "folder": str(scratch), "errors": errors, **ends},
            pieces_of(spans, whole_lines=ends["whole_lines"]),
            workers=workers,
            take=take,
            here=lambda: Encoding(vocabulary, scratch, errors, **ends),
        )
    lines, unseen, tokens = totals
    return lines, unseen, tokens


def _open(
    name: str,
    folder: Path,
    spans: Mapping[str, Spans],
    texts: Mapping[str, TextKey],
    read: Callable[[Any], Vocabulary],
    errors: Errors,
) -> Corpus:
    check_owner(folder)
    try:
        header = json.loads(read_regular(folder / "corpus.json", limit=LARGEST_HEADER))
        vocabulary = read(json.loads(read_regular(folder / VOCABULARY, limit=LARGEST_VOCABULARY)))
        splits = {}
        if header["dtype"] not in ID_DTYPES:
            raise ValueError(f"ids of the type {header['dtype']!r}")
        for split, part in spans.items():
            counts = header["splits"][split]
            file = TokenFile(folder / f"{split}.bin", header["dtype"])
            if len(file) != counts["tokens"]:
                raise ValueError(f"{split}.bin holds {len(file)} ids, {counts['tokens']} were written")
            sha256, layout = texts[split]
            splits[split] = Split(part, sha256, file, counts["lines"], counts["unseen"], layout)
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        if isinstance(error, OSError) and not is_damage(error):
            raise
        raise DataError(
            f"{folder}: the prepared corpus is damaged ({error}); delete this folder and try again"
        ) from None
    return Corpus(name, vocabulary, splits, errors)
