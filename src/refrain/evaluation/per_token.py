"""The surprisal of each token and each word of a text, as a table."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from refrain.data import Corpus
from refrain.data.text.words import BLANKS
from refrain.models import Network
from refrain.storage.plain_text import shown

from .perplexity import Figure, protocol_windows, stream_nats


class TokenRow(NamedTuple):
    """A row of the table. `word` and `word_bits` are set at the last token of a word, and empty elsewhere."""

    position: int  # in the split, counting from 0; the first token is never predicted
    token: str
    nats: float
    word: str
    word_bits: float | None  # the surprisal of the whole word


def token_rows(model: Network, corpus: Corpus, split: str) -> Iterator[TokenRow]:
    """A row for each token of a split but the first, by the protocol `exact`.

    In a word corpus each token is a word, spelled as in the text even if the model reads it as `<unk>`. In other
    corpora a word is the text between blanks, including the blank that ends it. The spelling of the first word includes
    the first token, which is not predicted and costs nothing.
    """
    spellings = corpus.spellings(split)
    first = next(spellings)
    word = bytearray() if first.ends_word else bytearray(first.text)
    total = 0.0
    pending: TokenRow | None = None
    for position, ((token, nats), spelling) in enumerate(zip(_costs(model, corpus, split), spellings, strict=True), 1):
        if pending is not None:
            yield pending
        word += spelling.text
        total += nats
        pending = TokenRow(position, corpus.vocabulary.token(token), nats, "", None)
        if spelling.ends_word:
            pending = _at_word_end(pending, word, total)
            word = bytearray()
            total = 0.0
    if pending is not None:
        yield _at_word_end(pending, word, total) if word else pending


def _costs(model: Network, corpus: Corpus, split: str) -> Iterator[tuple[int, float]]:
    """Each token of a split but the first and its nats."""
    windows = protocol_windows(corpus.splits[split].tokens, "exact", split=split, window_steps=0, name=split)
    for targets, window in stream_nats(model, windows):
        for token, nats in zip(targets[:, 0], window[:, 0], strict=True):
            yield int(token), float(nats)


def _at_word_end(row: TokenRow, word: bytearray, nats: float) -> TokenRow:
    spelled = word.decode("utf-8", errors="replace").strip(BLANKS)
    return row._replace(word=spelled, word_bits=Figure(nats, 1).bits_per_token)


def write_token_table(path: Path, model: Network, corpus: Corpus, split: str) -> Figure:
    """Write the rows of a split as tab-separated text under the heading `position token nats word word_bits`.

    Args:
        path: the table; the file is created when the table is complete.
        model: the model, which is in evaluation mode while it is used.
        corpus: the text, in the ids of the model.
        split: the split of the corpus.

    Returns:
        The sum over the rows.
    """
    nats = unknown_nats = 0.0
    tokens = unknowns = 0
    vocabulary = corpus.vocabulary
    unknown = None if vocabulary.unknown is None else vocabulary.token(vocabulary.unknown)
    temporary = path.with_name(f".tmp-{path.name}")
    try:
        with temporary.open("w", encoding="utf-8") as file:
            file.write("\t".join(TokenRow._fields) + "\n")
            for row in token_rows(model, corpus, split):
                bits = "" if row.word_bits is None else f"{row.word_bits:.6f}"
                file.write(f"{row.position}\t{shown(row.token)}\t{row.nats:.6f}\t{shown(row.word)}\t{bits}\n")
                nats += row.nats
                tokens += 1
                if row.token == unknown:
                    unknowns += 1
                    unknown_nats += row.nats
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    return Figure(nats, tokens, None if unknown is None else unknowns, unknown_nats)
