"""Byte corpora: the bytes of the files are the token ids, read through memory maps."""

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
    log: Callable[[str], None] = lambda line: None,
) -> Corpus:
    """A corpus of bytes. Without cleaning, nothing is written and nothing is copied.

    Args:
        name: the name of the corpus, for messages.
        spans: the text of each split.
        cleaning: how the text is cleaned first; the cleaned text is kept in the cache.
        log: called with a line of text when text has to be cleaned.

    Raises:
        DataError: when no text is left after cleaning.
    """
    if cleaning == "none":
        digests = {split: fingerprint(part) for split, part in spans.items()}
        bytes_of = dict(spans)
    else:
        # the key in the cache needs the sha256 of the whole text, or a change could go unnoticed
        digests = {split: sha256_of(part) for split, part in spans.items()}
        files = cleaned_files(name, spans, digests, cleaning, log)
        bytes_of = {split: whole(file) for split, file in files.items()}
    splits = {
        split: Split(part, digests[split], ByteStream(bytes_of[split]), lines=None, unseen=0)
        for split, part in spans.items()
    }
    return Corpus(name, ByteVocabulary(), splits)


def fingerprint(spans: Spans) -> str:
    """A hash that identifies a text: its sha256, or for texts of more than 256 MiB the sha256 of samples.

    The samples are the length and 128 blocks of 64 KiB, evenly spaced, including the first and the last bytes. Such a
    fingerprint begins with `sampled:`. It takes a moment where the sha256 of everything would take minutes, but does
    not detect a change between the samples that keeps the length.
    """
    size = size_of(spans)
    if size <= WHOLE_BYTES:
        return sha256_of(spans)
    digest = hashlib.sha256(str(size).encode())
    for index in range(SAMPLES):
        start = (size - SAMPLE_BYTES) * index // (SAMPLES - 1)
        # read instead of mapped, because a page fault may make the system read megabytes ahead
        digest.update(sha256_of(part_of(spans, start, start + SAMPLE_BYTES)).encode())
    return f"sampled:{digest.hexdigest()}"
