"""Byte corpora: the files themselves are the tokens, read through memory maps."""

import hashlib
from collections.abc import Callable, Mapping

from ...corpus import Corpus, Split
from ...text.byte_stream import ByteStream
from ...text.cleaning import Cleaning, cleaned_files
from ...text.files import Spans, part_of, sha256_of, size_of, whole
from .vocabulary import ByteVocabulary

WHOLE_BYTES = 1 << 28
SAMPLES = 128
SAMPLE_BYTES = 1 << 16


def open_byte_corpus(
    name: str,
    spans: Mapping[str, Spans],
    *,
    cleaning: Cleaning = "none",
    say: Callable[[str], None] = lambda line: None,
) -> Corpus:
    """A corpus of bytes. Without cleaning nothing is written and nothing is copied.

    Args:
        name: what to call it.
        spans: where the text of each split stands.
        cleaning: what is done to the text first; the cleaned text is kept in the cache.
        say: is told in a line when text is cleaned.

    Raises:
        DataError: when nothing is left after cleaning.
    """
    if cleaning == "none":
        digests, bytes_of = {split: fingerprint(part) for split, part in spans.items()}, dict(spans)
    else:
        # what was prepared is found by the whole text, or a change in it could go unnoticed
        digests = {split: sha256_of(part) for split, part in spans.items()}
        files = cleaned_files(name, spans, digests, cleaning, say)
        bytes_of = {split: whole(file) for split, file in files.items()}
    splits = {
        split: Split(part, digests[split], ByteStream(bytes_of[split]), lines=None, unseen=0)
        for split, part in spans.items()
    }
    return Corpus(name, ByteVocabulary(), splits)


def fingerprint(spans: Spans) -> str:
    """What a text is known by: its sha256, or where it is longer than 256 MiB, that of samples of it.

    The samples are the length and 128 blocks of 64 KiB, evenly spaced, the first and the last bytes among them. Such a
    fingerprint begins with `sampled:`. It takes a moment where the sha256 of all would take minutes, and does not
    notice a change that keeps the length and falls between the samples.
    """
    size = size_of(spans)
    if size <= WHOLE_BYTES:
        return sha256_of(spans)
    digest = hashlib.sha256(str(size).encode())
    for index in range(SAMPLES):
        start = (size - SAMPLE_BYTES) * index // (SAMPLES - 1)
        # read, not mapped: at a fault the system may read megabytes ahead
        digest.update(sha256_of(part_of(spans, start, start + SAMPLE_BYTES)).encode())
    return f"sampled:{digest.hexdigest()}"
