"""Cleaning of text before it is read as bytes: a named option, never done unasked."""

import hashlib
import html
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Literal

from refrain.errors import DataError
from refrain.storage.checkpoint import atomic_folder
from refrain.storage.folders import cache_folder

from .files import Spans, blocks, place_of, size_of

FORMAT = 1

Cleaning = Literal["none", "reviews"]


def clean_review(text: str) -> bytes:
    """One review as the sentiment neuron's model reads it (Radford et al., 2017, and the code published with it).

    HTML entities become characters, newlines blanks; blanks at either end go. A newline and a blank are put before it
    and a blank after it, so that each review begins on a line of its own.

    Args:
        text: the review. Surrogate escapes, which stand for bytes that are not UTF-8, become those bytes again.

    Returns:
        Its UTF-8 bytes.
    """
    text = html.unescape(text).replace("\n", " ").strip()
    return f"\n {text} ".encode("utf-8", "surrogateescape")


def cleaned_files(
    name: str,
    spans: Mapping[str, Spans],
    digests: Mapping[str, str],
    cleaning: Cleaning,
    say: Callable[[str], None] = lambda line: None,
) -> dict[str, Path]:
    """A file of cleaned bytes for each split: written at the first call, found again at the next.

    Every line of the text is a document; blank lines are none.

    Args:
        name: what to call the corpus.
        spans: where the text of each split stands.
        digests: the sha256 of each; with the cleaning's name, what the files are found by.
        cleaning: which; `reviews` is `clean_review`.
        say: is told in a line when the text is cleaned anew.

    Raises:
        DataError: when a split holds no documents.
    """
    # where a file ends, a line ends
    files = {split: [span.stop - span.start for span in part] for split, part in spans.items()}
    recipe = {"format": FORMAT, "cleaning": cleaning, "texts": dict(digests), "files": files}
    folder = cache_folder() / "cleaned" / hashlib.sha256(json.dumps(recipe, sort_keys=True).encode()).hexdigest()[:32]
    if not folder.is_dir():
        say(f"cleaning {name} ({cleaning}): {sum(map(size_of, spans.values())):,} bytes of text")
        with atomic_folder(folder) as fresh:
            sizes = {split: _write(fresh / f"{split}.bin", part) for split, part in spans.items()}
            (fresh / "corpus.json").write_text(json.dumps({"format": FORMAT, "bytes": sizes}), encoding="utf-8")
    cleaned = {split: folder / f"{split}.bin" for split in spans}
    try:
        sizes = json.loads((folder / "corpus.json").read_text(encoding="utf-8"))["bytes"]
        for split, file in cleaned.items():
            if file.stat().st_size != sizes[split]:
                raise ValueError(f"{file.name} holds {file.stat().st_size} bytes, {sizes[split]} were written")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{folder}: the cleaned text is damaged ({error}); delete this folder and try again") from None
    return cleaned


def _write(path: Path, spans: Spans) -> int:
    size = 0
    with path.open("wb") as file:
        # escaped, bytes that are not UTF-8 come out as they went in
        for text in blocks(spans, "surrogateescape"):
            reviews = map(clean_review, text.split("\n"))
            size += file.write(b"".join(review for review in reviews if not review.isspace()))
    if not size:
        raise DataError(f"{place_of(spans)}: no text is left after cleaning; every line is blank")
    return size
