"""Training the pieces of SentencePiece on a text.

Every text has pieces, since characters that are too rare are spelled by their bytes, and pieces joined are the text
again, since it is not normalised.
"""

import io
from collections.abc import Iterator
from typing import Literal

from refrain.errors import UserError, shortened

from ...text.files import Errors, Spans, blocks, size_of
from .tokenizers import package

PieceModel = Literal["unigram", "bpe"]

SAMPLE_BYTES = 1 << 25
"""Bytes of text that pieces are trained on; of a longer text, blocks that are evenly spaced are used."""
LINE_CHARACTERS = 1000
"""A longer line is trained on in parts, because SentencePiece leaves out lines of more than 4,192 bytes."""


def train_pieces(spans: Spans, errors: Errors, *, count: int, model: PieceModel, seed: int) -> bytes:
    """Train a model of SentencePiece.

    Args:
        spans: the training text.
        errors: how invalid UTF-8 is handled.
        count: the number of pieces; a text that is too short for them gets fewer.
        model: `unigram` (Kudo, 2018) or `bpe` (Sennrich et al., 2016).
        seed: the seed of SentencePiece's random numbers.

    Returns:
        The content of the model file.

    Raises:
        UserError: when the package is missing, or cannot make as many or as few pieces.
        DataError: when the text is not UTF-8.
    """
    pieces = package("sentencepiece")
    lines = _Lines(spans, errors)
    found = io.BytesIO()
    pieces.set_random_generator_seed(seed)
    try:
        pieces.SentencePieceTrainer.train(
            sentence_iterator=iter(lines),
            model_writer=found,
            vocab_size=count,
            model_type=model,
            hard_vocab_limit=False,
            byte_fallback=True,
            normalization_rule_name="identity",
            remove_extra_whitespaces=False,
            unk_id=0,
            eos_id=1,
            bos_id=-1,
            # one thread, because the sums of several depend on their number
            num_threads=1,
            minloglevel=2,
        )
    except (RuntimeError, OSError) as error:
        if lines.failure is None:
            cause = shortened(str(error).rpartition("] ")[2] or str(error), 200)
            raise UserError(
                f"data.pieces: SentencePiece makes no {count:,} pieces of this text ({cause}); choose another number"
            ) from None
    if lines.failure is not None:
        raise lines.failure
    return found.getvalue()


class _Lines:
    """The lines of a text, or of a sample. An error of reading ends them and is kept, since C++ would hide it."""

    def __init__(self, spans: Spans, errors: Errors) -> None:
        self._spans = spans
        self._errors = errors
        self.failure: UserError | None = None

    def __iter__(self) -> Iterator[str]:
        try:
            yield from self._lines()
        except UserError as error:
            self.failure = error

    def _lines(self) -> Iterator[str]:
        step = -(-size_of(self._spans) // SAMPLE_BYTES)
        for number, text in enumerate(blocks(self._spans, self._errors, whole_lines=False, whole_words=False)):
            if number % step == 0:
                for line in text.split("\n"):
                    yield from _parts(line)


def _parts(line: str) -> Iterator[str]:
    """A line in parts that end before a blank, as far as it has blanks; empty lines have none."""
    while len(line) > LINE_CHARACTERS:
        cut = line.rfind(" ", 1, LINE_CHARACTERS)
        cut = LINE_CHARACTERS if cut < 0 else cut
        yield line[:cut]
        line = line[cut:].removeprefix(" ")
    if line:
        yield line
