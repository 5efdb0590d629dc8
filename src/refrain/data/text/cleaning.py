"""Cleaning of text before it is read as bytes, done only when it is asked for by name."""

import hashlib
import html
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Literal

from refrain.errors import DataError
from refrain.storage.folders import cache_folder, cached_folder, check_owner
from refrain.storage.regular_files import is_damage, read_regular

from .files import Spans, blocks, place_of, size_of

FORMAT = 1

Cleaning = Literal["none", "reviews"]


def clean_review(text: str) -> bytes:
    """Prepare a review as for the sentiment neuron (Radford et al., 2017, and the code published with it).

    HTML entities are decoded, newlines become blanks, and surrounding blanks are removed. A newline and a blank are put
    before the review and a blank after it, so that each review begins on a line of its own.

    Args:
        text: the review. Surrogate escapes, which represent bytes that are not UTF-8, become those bytes again.

    Returns:
        The UTF-8 bytes of the review.
    """
    text = html.unescape(text).replace("\n", " ").strip()
    return f"\n {text} ".encode("utf-8", "surrogateescape")


def cleaned_files(
    name: str,
    spans: Mapping[str, Spans],
    digests: Mapping[str, str],
    cleaning: Cleaning,
    log: Callable[[str], None] = lambda line: None,
) -> dict[str, Path]:
    """A file of cleaned bytes for each split: written by the first call and found in the cache by the next.

    Every line of the text that is not blank is a document.

    Args:
        name: the name of the corpus, for messages.
        spans: the text of each split.
        digests: the sha256 of each text, which together with the cleaning is the key in the cache.
        cleaning: the kind of cleaning; `reviews` is `clean_review`.
        log: called with a line of text when files have to be written.

    Raises:
        DataError: when a split has no documents.
    """
    # the end of a file also ends a line, so the lengths of the files matter
    files = {split: [span.stop - span.start for span in part] for split, part in spans.items()}
    recipe = {"format": FORMAT, "cleaning": cleaning, "texts": dict(digests), "files": files}
    folder = cache_folder() / "cleaned" / hashlib.sha256(json.dumps(recipe, sort_keys=True).encode()).hexdigest()[:32]
    if not folder.is_dir():
        log(f"cleaning {name} ({cleaning}): {sum(map(size_of, spans.values())):,} bytes of text")
        with cached_folder(folder) as fresh:
            sizes = {split: _write(fresh / f"{split}.bin", part) for split, part in spans.items()}
            (fresh / "corpus.json").write_text(json.dumps({"format": FORMAT, "bytes": sizes}), encoding="utf-8")
    cleaned = {split: folder / f"{split}.bin" for split in spans}
    check_owner(folder)
    try:
        sizes = json.loads(read_regular(folder / "corpus.json", limit=1 << 20))["bytes"]
        for split, file in cleaned.items():
            if file.stat().st_size != sizes[split]:
                raise ValueError(f"{file.name} holds {file.stat().st_size} bytes, {sizes[split]} were written")
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        if isinstance(error, OSError) and not is_damage(error):
            raise
        raise DataError(f"{folder}: the cleaned text is damaged ({error}); delete this folder and try again") from None
    return cleaned


def _write(path: Path, spans: Spans) -> int:
    size = 0
    with path.open("wb") as file:
        # with surrogate escapes, bytes that are not UTF-8 are written as they were read
        for text in blocks(spans, "surrogateescape"):
            reviews = map(clean_review, text.split("\n"))
            size += file.write(b"".join(review for review in reviews if not review.isspace()))
    if not size:
        raise DataError(f"{place_of(spans)}: no text is left after cleaning; every line is blank")
    return size
