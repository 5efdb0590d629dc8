"""The surprisal of each token and each word of a text, as a table."""

import csv
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple, TextIO

from refrain.data import Corpus
from refrain.models import Network
from refrain.progress import Track, untracked
from refrain.storage.output_checks import check_outputs
from refrain.storage.output_files import replace_text
from refrain.storage.plain_text import check_table_ending, tsv_cell

from .perplexity import Figure, protocol_windows, stream_nats


class TokenRow(NamedTuple):
    """A row of the table. `word` and `word_bits` are set at the last token of a word, and empty elsewhere."""

    position: int  # in the split, counting from 0; the first token is never predicted
    token: str
    nats: float
    word: str
    word_bits: float | None  # the surprisal of the whole word


def token_rows(model: Network, corpus: Corpus, split: str, *, track: Track = untracked) -> Iterator[TokenRow]:
    """A row for each token of a split but the first, by the protocol `exact`.

    In a word corpus each token is a word, spelled as in the text even if the model reads it as `<unk>`. In other
    corpora a word is the text between blanks, including the blank that ends it. The spelling of the first word includes
    the first token, which is not predicted and costs nothing.

    Args:
        model: the model.
        corpus: the text, in the ids of the model.
        split: the split of the corpus.
        track: reports the loop over the text.
    """
    spellings = corpus.spellings(split)
    first = next(spellings)
    word = bytearray() if first.ends_word else bytearray(first.text)
    total = 0.0
    pending: TokenRow | None = None
    costs = _costs(model, corpus, split, track)
    for position, ((token, nats), spelling) in enumerate(zip(costs, spellings, strict=True), 1):
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


def _costs(model: Network, corpus: Corpus, split: str, track: Track) -> Iterator[tuple[int, float]]:
    """Each token of a split but the first and its nats."""
    windows = protocol_windows(corpus.splits[split].tokens, "exact", split=split, window_steps=0, name=split)
    for targets, window in stream_nats(model, windows, track=track):
        for token, nats in zip(targets[:, 0], window[:, 0], strict=True):
            yield int(token), float(nats)


def _at_word_end(row: TokenRow, word: bytearray, nats: float) -> TokenRow:
    spelled = word.decode("utf-8", errors="replace").strip()
    return row._replace(word=spelled, word_bits=Figure(nats, 1).bits_per_token)


def write_token_table(
    path: Path, model: Network, corpus: Corpus, split: str, *, force: bool = False, track: Track = untracked
) -> Figure:
    """Write the rows of a split as a table under the heading `position token nats word word_bits`.

    A file that ends in `.csv` has commas and the quotes of CSV. Any other has tabs, and control characters and
    backslashes of its words are escaped; see `refrain.storage.plain_text.tsv_cell`.

    Args:
        path: the table; the file is created when the table is complete.
        model: the model, which is in evaluation mode while it is used.
        corpus: the text, in the ids of the model.
        split: the split of the corpus.
        force: whether a file that exists is replaced.
        track: reports the loop over the text.

    Returns:
        The sum over the rows.

    Raises:
        UserError: when the ending is that of another kind of file, the file exists and `force` is not set, or it is a
            file of the corpus.
    """
    check_table_ending("path", path)
    texts = [span.path for part in corpus.splits.values() for span in part.source]
    check_outputs([("path", path)], texts, force=force)
    commas = path.suffix.lower() == ".csv"
    escape = str if commas else tsv_cell
    # vocabularies of bytes escape the names of their tokens
    escape_token = str if corpus.vocabulary.bytes_per_token is not None else escape
    nats = 0.0
    tokens = 0
    with replace_text(path, force=force) as file:
        write_row = csv.writer(file).writerow if commas else partial(_write_tabbed, file)
        write_row(TokenRow._fields)
        for row in token_rows(model, corpus, split, track=track):
            bits = "" if row.word_bits is None else f"{row.word_bits:.6f}"
            write_row((str(row.position), escape_token(row.token), f"{row.nats:.6f}", escape(row.word), bits))
            nats += row.nats
            tokens += 1
    return Figure(nats, tokens)


def _write_tabbed(file: TextIO, cells: Sequence[str]) -> None:
    file.write("\t".join(cells) + "\n")
