"""The command `refrain tag`."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TextIO

from .options import (
    DeviceOption,
    ErrorsOption,
    Flag,
    ForceOption,
    RunArgument,
    SkipBadOption,
    TextArgument,
    WeightsOption,
)

if TYPE_CHECKING:
    from refrain.data.tagged.sentences import Lines
    from refrain.trained.tagger import TrainedTagger

# the number of sentences of a file in a batch
BATCH_SIZE = 64


class Untagged(NamedTuple):
    """A sentence to tag, from plain text or from a block of CoNLL-U.

    Attributes:
        words: the words.
        space_after: whether a space follows each word.
        block: the lines of CoNLL-U, which are kept except for the tags; None for plain text.
    """

    words: list[str]
    space_after: list[bool]
    block: "Lines | None" = None


def tag(
    run: RunArgument,
    file: TextArgument = "-",
    /,
    *,
    plain: Flag = False,
    tokenised: Flag = False,
    column: Literal["upos", "xpos", "feats", "deprel", "misc"] | None = None,
    skip_bad: SkipBadOption = False,
    out: Path | None = None,
    force: ForceOption = False,
    errors: ErrorsOption = "strict",
    device: DeviceOption = "auto",
    weights: WeightsOption = "float32",
    json: Flag = False,
) -> None:
    """Tag text and write CoNLL-U.

    Sentences are written as soon as they are tagged; those of standard input one by one. A file of CoNLL-U, recognised
    by its ending .conllu or its first line, keeps everything except the tags. Any other file is read as --plain unless
    --tokenised is given.

    Parameters
    ----------
    plain
        The text is plain and is split into sentences and words.
    tokenised
        Each line is a sentence, its words separated by blanks.
    column
        The column for the tags. The default is the column that they were learnt from.
    out
        A file to write to instead of standard output.
    json
        Write a JSON object with the words and tags of each sentence, instead of CoNLL-U.
    """
    from refrain.data.tagged.conllu import conllu_lines, with_tags
    from refrain.errors import UserError
    from refrain.progress import reporter, untracked
    from refrain.storage.output_checks import check_outputs, run_files
    from refrain.storage.plain_json import dumps

    from .loading import load_tagger
    from .output import for_output, log_written
    from .texts import check_files, lines_of

    if plain and tokenised:
        raise UserError("--plain and --tokenised exclude each other")
    if out is not None:
        check_outputs([("--out", out)], [*run_files(run), file], force=force)
    elif force:
        raise UserError("--force cannot take effect without --out")
    check_files([file])
    reports = reporter()
    tagger = load_tagger(run, reports, device=device, weights=weights)
    target = column or tagger.column
    form: Literal["plain", "tokenised", "unknown"] = "plain" if plain else "tokenised" if tokenised else "unknown"
    # a sentence from standard input or a pipe is tagged before the next is read
    batch_size = BATCH_SIZE if Path(file).is_file() else 1
    sentences = _sentences(lines_of(file, errors), file, form, skip_bad)
    # sentences on the terminal are progress enough
    track = untracked if out is None and sys.stdout.isatty() else reports.track
    tagged = track(_tagged(tagger, sentences, batch_size), "tagging sentences")
    with _writing(out, force) as written:
        for number, (sentence, tags) in enumerate(tagged, 1):
            if json:
                lines = [dumps({"words": sentence.words, "tags": tags})]
            elif sentence.block is not None:
                lines = with_tags(sentence.block, tags, target)
            else:
                comments = [f"# sent_id = {number}", f"# text = {_text(sentence)}"]
                lines = conllu_lines(sentence.words, tags, target, sentence.space_after, comments)
            text = "\n".join(lines) + "\n"
            written.write(for_output(text) if out is None else text)
            written.flush()
    if out is not None:
        log_written(out)


def _tagged(
    tagger: "TrainedTagger", sentences: Iterator[Untagged], batch_size: int
) -> Iterator[tuple[Untagged, list[str]]]:
    """Yield each sentence with its tags, tagged in batches. The sentences before a bad one are still yielded."""
    from refrain.errors import DataError

    def tagged(batch: list[Untagged]) -> Iterator[tuple[Untagged, list[str]]]:
        return zip(batch, tagger.tag([sentence.words for sentence in batch], batch_size=batch_size), strict=True)

    waiting: list[Untagged] = []
    try:
        for sentence in sentences:
            waiting.append(sentence)
            if len(waiting) == batch_size:
                yield from tagged(waiting)
                waiting = []
    except DataError:
        yield from tagged(waiting)
        raise
    yield from tagged(waiting)


def _sentences(
    lines: Iterator[str], file: str, form: Literal["plain", "tokenised", "unknown"], skip_bad: bool
) -> Iterator[Untagged]:
    from refrain.data.tagged.tokenise import sentences_of

    if form == "unknown":
        conllu, lines = _peek(lines, file)
        if conllu:
            yield from _from_conllu(lines, file, skip_bad)
            return
    if form == "tokenised":
        for line in lines:
            if words := line.split():
                yield Untagged(words, [True] * len(words))
        return
    for tokens in sentences_of(lines):
        yield Untagged([token.form for token in tokens], [token.space_after for token in tokens])


def _peek(lines: Iterator[str], file: str) -> tuple[bool, Iterator[str]]:
    """Whether lines are CoNLL-U, judged by the first that is not blank and no comment; and an iterator of all lines."""
    from itertools import chain

    from refrain.data.tagged.corpus import looks_like_conllu

    read: list[str] = []
    for line in lines:
        read.append(line)
        if line.strip() and not line.startswith("#"):
            return looks_like_conllu(file, line.removesuffix("\r")), chain(read, lines)
        if not line.startswith("#") and len(read) == 1 and not line.strip():
            continue
    return False, iter(read)


def _from_conllu(lines: Iterator[str], file: str, skip_bad: bool) -> Iterator[Untagged]:
    from refrain.data.tagged.conllu import words_in
    from refrain.data.tagged.sentences import BadSentence, blocks_of_lines
    from refrain.errors import DataError

    from .output import log

    skipped = 0
    for block in blocks_of_lines(lines):
        try:
            words = [row.fields[1] for row in words_in(block)]
            if not words:
                raise BadSentence(block.first, "a sentence without words")
        except BadSentence as bad:
            message = f"{'standard input' if file == '-' else file}:{bad.line}: {bad.cause}"
            if not skip_bad:
                raise DataError(f"{message}; correct it, or leave out such sentences with --skip-bad") from None
            skipped += 1
            log(f"left out: {message}")
            continue
        yield Untagged(words, [True] * len(words), block)
    if skipped:
        log(f"left out {skipped} bad sentence(s)")


def _text(sentence: Untagged) -> str:
    pairs = zip(sentence.words, sentence.space_after, strict=True)
    return "".join(word + (" " if space else "") for word, space in pairs).rstrip()


@contextmanager
def _writing(out: Path | None, force: bool) -> Iterator[TextIO | Any]:
    """Open standard output, or a file that appears only when it is complete."""
    from refrain.storage.output_files import replace_text

    if out is None:
        yield sys.stdout
        return
    with replace_text(out, force=force) as file:
        yield file
