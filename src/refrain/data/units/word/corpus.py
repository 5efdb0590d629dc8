"""Word corpora: text is encoded once, into a memory-mapped file in the cache whose key is the sha256 of the text."""

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np

from refrain.errors import DataError
from refrain.storage.checkpoint import atomic_folder
from refrain.storage.folders import cache_folder

from ...corpus import Corpus, Split
from ...text.files import Errors, Spans, blocks, sha256_of, size_of
from ...text.token_file import TokenFile, Tokens, id_dtype, write_tokens
from .vocabulary import UNK, Order, WordVocabulary, build_vocabulary, words_of

FORMAT = 1


def open_word_corpus(
    name: str,
    spans: Mapping[str, Spans],
    *,
    vocabulary: WordVocabulary | None = None,
    order: Order = "descending",
    order_seed: int = 1,
    min_count: int = 1,
    max_words: int | None = None,
    vocabulary_from: Literal["train", "all"] = "train",
    errors: Errors = "strict",
    say: Callable[[str], None] = lambda line: None,
) -> Corpus:
    """A corpus of words, encoded by the first call and found in the cache by the next.

    The key in the cache is the sha256 of text and settings, so a changed text is another corpus.

    Args:
        name: the name of the corpus, for messages.
        spans: the text of each split.
        vocabulary: the vocabulary of an existing model that will read the text; None builds one from the text.
        order: see `build_vocabulary`, as `order_seed`, `min_count` and `max_words`.
        order_seed: see `build_vocabulary`.
        min_count: see `build_vocabulary`.
        max_words: see `build_vocabulary`.
        vocabulary_from: the splits whose words are counted.
        errors: how invalid UTF-8 is handled.
        say: called with a line of text when the corpus has to be encoded.

    Raises:
        DataError: when a text is not UTF-8.
    """
    digests = {split: sha256_of(part) for split, part in spans.items()}
    recipe: dict[str, Any] = {"format": FORMAT, "texts": digests, "errors": errors}
    if vocabulary is None:
        recipe |= {"order": order, "min_count": min_count, "max_words": max_words, "from": vocabulary_from}
        if order == "random":
            recipe["order_seed"] = order_seed
    else:
        recipe["vocabulary"] = hashlib.sha256("\n".join(vocabulary.words).encode()).hexdigest()
    key = hashlib.sha256(json.dumps(recipe, sort_keys=True).encode()).hexdigest()[:32]
    folder = cache_folder() / "words" / key
    if not folder.is_dir():
        say(f"preparing {name}: {sum(map(size_of, spans.values())):,} bytes of text")
        if vocabulary is None:
            counted = [part for split, part in spans.items() if split == "train" or vocabulary_from == "all"]
            counts = count_words(counted, errors)
            vocabulary = build_vocabulary(
                counts, order=order, order_seed=order_seed, min_count=min_count, max_words=max_words
            )
        with atomic_folder(folder) as fresh:
            _write(fresh, spans, vocabulary, errors)
    return _open(name, folder, spans, digests, errors)


def count_words(texts: list[Spans], errors: Errors = "strict") -> Counter[str]:
    """The counts of the words of some texts in the order of first occurrence, with one `<eos>` for each line."""
    counts: Counter[str] = Counter()
    for part in texts:
        for text in blocks(part, errors, whole_lines=False):
            counts.update(words_of(text))
    return counts


def _write(folder: Path, spans: Mapping[str, Spans], vocabulary: WordVocabulary, errors: Errors) -> None:
    dtype = id_dtype(len(vocabulary))
    header: dict[str, Any] = {"format": FORMAT, "dtype": dtype.name, "splits": {}}
    for split, part in spans.items():
        counts = {"lines": 0, "unseen": 0}
        counts["tokens"] = write_tokens(folder / f"{split}.bin", _encode(part, vocabulary, dtype, errors, counts))
        header["splits"][split] = counts
    (folder / "vocabulary.json").write_text(json.dumps(vocabulary.document()), encoding="utf-8")
    (folder / "corpus.json").write_text(json.dumps(header, indent=1), encoding="utf-8")


def _encode(
    part: Spans,
    vocabulary: WordVocabulary,
    dtype: np.dtype[np.integer],
    errors: Errors,
    counts: dict[str, int],
) -> Iterator[Tokens]:
    unknown = vocabulary.unknown
    get = vocabulary.index.get
    for text in blocks(part, errors, whole_lines=False):
        words = words_of(text)
        ids = np.fromiter((get(word, unknown) for word in words), dtype=dtype, count=len(words))
        counts["lines"] += text.count("\n")
        counts["unseen"] += int((ids == unknown).sum()) - words.count(UNK)
        yield ids


def _open(name: str, folder: Path, spans: Mapping[str, Spans], digests: Mapping[str, str], errors: Errors) -> Corpus:
    try:
        header = json.loads((folder / "corpus.json").read_text(encoding="utf-8"))
        vocabulary = WordVocabulary(json.loads((folder / "vocabulary.json").read_text(encoding="utf-8"))["words"])
        splits = {}
        for split, part in spans.items():
            counts = header["splits"][split]
            file = TokenFile(folder / f"{split}.bin", header["dtype"])
            if len(file) != counts["tokens"]:
                raise ValueError(f"{split}.bin holds {len(file)} ids, {counts['tokens']} were written")
            splits[split] = Split(part, digests[split], file, counts["lines"], counts["unseen"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"{folder}: the prepared corpus is damaged ({error}); delete this folder and try again"
        ) from None
    return Corpus(name, vocabulary, splits, errors)
