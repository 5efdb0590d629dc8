"""Corpora of encoded text: ids in memory-mapped files in the cache, under a key made from the sha256 of the text."""

import contextlib
import hashlib
import json
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from refrain.errors import DataError
from refrain.storage.folders import CacheError, cache_folder, cached_folder, check_owner
from refrain.storage.regular_files import is_damage, read_regular

from ..corpus import Corpus, Split
from ..text.files import Errors, Spans, blocks, sha256_of, size_of
from ..text.token_file import ID_DTYPES, TokenFile, Tokens, id_dtype, write_tokens
from .protocol import Vocabulary

FORMAT = 3
FOLDER = "folder"
LARGEST_HEADER, LARGEST_VOCABULARY = 1 << 20, 1 << 30


def open_encoded_corpus(
    name: str,
    spans: Mapping[str, Spans],
    *,
    subfolder: str,
    settings: Mapping[str, Any],
    build: Callable[[], Vocabulary],
    read: Callable[[Any], Vocabulary],
    vocabulary: Vocabulary | None = None,
    errors: Errors = "strict",
    whole_lines: bool = True,
    whole_words: bool = True,
    log: Callable[[str], None] = lambda line: None,
) -> Corpus:
    """A corpus that is encoded by the first call and found in the cache by the next.

    A trained model finds the texts that were encoded with its vocabulary when it was trained.

    Args:
        name: the name of the corpus, for messages.
        spans: the text of each split.
        subfolder: the folder of the cache for corpora of this unit.
        settings: everything except the text that decides the ids, as plain data; a part of the key.
        build: makes or returns the vocabulary when the text has to be encoded.
        read: the vocabulary of a document that `Vocabulary.document` made.
        vocabulary: that of a trained model; None where it is built from the texts.
        errors: how invalid UTF-8 is handled.
        whole_lines: False lets the encoded blocks of text end at blanks, for units whose tokens end there.
        whole_words: False lets them also end between any two characters.
        log: called with a line of text when the text has to be encoded.

    Raises:
        DataError: when a text is not UTF-8 or the files in the cache are damaged.
    """
    digests = {split: sha256_of(part) for split, part in spans.items()}
    recipe = {"format": FORMAT, "texts": digests, "errors": errors, **settings}
    folder = cache_folder() / subfolder / _key(recipe)
    if vocabulary is not None and not folder.is_dir():
        found = _encoded_before(subfolder, digests, vocabulary, errors)
        if found is not None:
            opened = [_open(name, place, {split: spans[split]}, digests, read, errors) for split, place in found]
            return Corpus(name, vocabulary, {key: part for each in opened for key, part in each.splits.items()}, errors)
    if not folder.is_dir():
        log(f"preparing {name}: {sum(map(size_of, spans.values())):,} bytes of text")
        made = vocabulary or build()
        ends = {"whole_lines": whole_lines, "whole_words": whole_words}
        texts = {split: blocks(part, errors, **ends) for split, part in spans.items()}
        with cached_folder(folder) as fresh:
            _write(fresh, texts, made)
        for split, digest in digests.items():
            # without it the text is encoded again, which takes time and does no harm
            with (
                contextlib.suppress(CacheError),
                cached_folder(_index(subfolder, digest, made, errors) / split) as fresh,
            ):
                (fresh / FOLDER).write_text(folder.name, encoding="utf-8")
    return _open(name, folder, spans, digests, read, errors)


def _key(document: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()[:32]


def _index(subfolder: str, digest: str, vocabulary: Vocabulary, errors: Errors) -> Path:
    """The folder that names, for each split that a text was, a folder with the ids of the text."""
    document = {"format": FORMAT, "text": digest, "errors": errors, "vocabulary": _key(vocabulary.document())}
    return cache_folder() / "texts" / subfolder / _key(document)


def _encoded_before(
    subfolder: str, digests: Mapping[str, str], vocabulary: Vocabulary, errors: Errors
) -> list[tuple[str, Path]] | None:
    """The folder of each split, where all were encoded with the vocabulary, as these splits of any corpora."""
    found = []
    for split, digest in digests.items():
        index = _index(subfolder, digest, vocabulary, errors) / split
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


def _write(folder: Path, texts: Mapping[str, Iterator[str]], vocabulary: Vocabulary) -> None:
    dtype = id_dtype(len(vocabulary))
    header: dict[str, Any] = {"format": FORMAT, "dtype": dtype.name, "splits": {}}
    for split, text in texts.items():
        counts = {"lines": 0, "unseen": 0}
        counts["tokens"] = write_tokens(folder / f"{split}.bin", _encode(text, vocabulary, dtype, counts))
        header["splits"][split] = counts
    (folder / "vocabulary.json").write_text(json.dumps(vocabulary.document()), encoding="utf-8")
    (folder / "corpus.json").write_text(json.dumps(header, indent=1), encoding="utf-8")


def _encode(
    texts: Iterator[str], vocabulary: Vocabulary, dtype: np.dtype[np.integer], counts: dict[str, int]
) -> Iterator[Tokens]:
    for text in texts:
        ids = vocabulary.encode(text)
        counts["lines"] += text.count("\n")
        counts["unseen"] += vocabulary.count_unseen(text, ids)
        yield np.array(ids, dtype)


def _open(
    name: str,
    folder: Path,
    spans: Mapping[str, Spans],
    digests: Mapping[str, str],
    read: Callable[[Any], Vocabulary],
    errors: Errors,
) -> Corpus:
    check_owner(folder)
    try:
        header = json.loads(read_regular(folder / "corpus.json", limit=LARGEST_HEADER))
        vocabulary = read(json.loads(read_regular(folder / "vocabulary.json", limit=LARGEST_VOCABULARY)))
        splits = {}
        if header["dtype"] not in ID_DTYPES:
            raise ValueError(f"ids of the type {header['dtype']!r}")
        for split, part in spans.items():
            counts = header["splits"][split]
            file = TokenFile(folder / f"{split}.bin", header["dtype"])
            if len(file) != counts["tokens"]:
                raise ValueError(f"{split}.bin holds {len(file)} ids, {counts['tokens']} were written")
            splits[split] = Split(part, digests[split], file, counts["lines"], counts["unseen"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        if isinstance(error, OSError) and not is_damage(error):
            raise
        raise DataError(
            f"{folder}: the prepared corpus is damaged ({error}); delete this folder and try again"
        ) from None
    return Corpus(name, vocabulary, splits, errors)
