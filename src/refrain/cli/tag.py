"""The command `refrain tag`."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

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
from .tag_input import Form, Untagged, read_sentences

if TYPE_CHECKING:
    from refrain.trained.tagger import TrainedTagger

# the number of sentences of a file in a batch
BATCH_SIZE = 64


def tag(
    run: RunArgument,
    file: TextArgument = "-",
    /,
    *,
    plain: Flag = False,
    tokenised: Flag = False,
    column: str | None = None,
    word_column: int | None = None,
    probabilities: Flag = False,
    skip_bad: SkipBadOption = False,
    out: Path | None = None,
    force: ForceOption = False,
    errors: ErrorsOption = "strict",
    device: DeviceOption = "auto",
    weights: WeightsOption = None,
    json: Flag = False,
) -> None:
    """Tag text and write CoNLL-U.

    Sentences are written as soon as they are tagged; those of standard input one by one. A file of CoNLL-U, recognised
    by its ending .conllu or its first line, keeps everything except the tags, the line ends and repeated blank lines,
    as does CoNLL-U Plus, recognised by its heading. Of other tagged text, in columns as in CoNLL-2003 or in pairs as
    the/DT, the words are tagged. Any other file is read as --plain unless --tokenised is given.

    Parameters
    ----------
    plain
        The text is plain and is split into sentences and words.
    tokenised
        Each line is a sentence, its words separated by blanks or tabs.
    column
        The column for the tags, such as xpos, or an attribute, such as misc:name or feats:Case; other attributes are
        kept. The default is the column that they were learnt from.
    word_column
        The number of the column that holds the words of a file in columns, counted from 1. The default is that of the
        text that the tagger learnt from, or else the first.
    probabilities
        Add the probability of each tag, as the attribute Prob of MISC or in the JSON object.
    out
        A file to write to instead of standard output.
    json
        Write a JSON object with the words and tags of each sentence, instead of CoNLL-U.
    """
    from refrain.errors import UserError
    from refrain.progress import reporter, untracked
    from refrain.storage.output_checks import check_outputs, run_files

    from .loading import load_tagger
    from .output import for_output, log_written
    from .texts import batches_of, check_files

    _check(plain, tokenised, column, word_column, skip_bad, json)
    if out is not None:
        check_outputs([("--out", out)], [*run_files(run), file], force=force)
    elif force:
        raise UserError("--force cannot take effect without --out")
    check_files([file], texts=not file.lower().endswith(".tsv"))
    reports = reporter()
    tagger = load_tagger(run, reports, device=device, weights=weights)
    if column is not None and ":" in column:
        _check_attribute(column, tagger.vocabulary.tags)
    form: Form = "plain" if plain else "tokenised" if tokenised else "unknown"
    # a sentence from standard input or a pipe is tagged before the next is read
    batch_size = BATCH_SIZE if Path(file).is_file() else 1
    learnt = str(tagger.config["data"].get("word_column", "auto"))
    # with --skip-bad, sentences with invalid UTF-8 are left out
    batches = batches_of(file, "surrogateescape" if skip_bad and errors == "strict" else errors)
    sentences = read_sentences(batches, file, form, skip_bad, learnt=learnt, word_column=word_column)
    # sentences on the terminal are progress enough
    track = untracked if out is None and sys.stdout.isatty() else reports.track
    tagged = track(_tagged(tagger, sentences, batch_size), "tagging sentences")
    with _writing(out, force) as written:
        for number, (sentence, tags, shares) in enumerate(tagged, 1):
            shares = shares if probabilities else []
            lines = [_json(sentence, tags, shares)] if json else _conllu(sentence, tags, shares, number, column, tagger)
            text = "\n".join(lines) + "\n"
            written.write(for_output(text) if out is None else text)
            written.flush()
    if out is not None:
        log_written(out)


def _check(
    plain: bool, tokenised: bool, column: str | None, word_column: int | None, skip_bad: bool, json: bool
) -> None:
    """Refuse options that are wrong, or that cannot take effect with others."""
    from refrain.data.tagged.conllu import tag_column
    from refrain.errors import UserError

    if plain and tokenised:
        raise UserError("--plain and --tokenised exclude each other")
    if word_column is not None and word_column < 1:
        raise UserError(f"--word-column must be at least 1 (got {word_column})")
    if word_column is not None and (plain or tokenised):
        raise UserError("--word-column cannot take effect with --plain or --tokenised, which have no columns")
    if skip_bad and (plain or tokenised):
        raise UserError("--skip-bad cannot take effect with --plain or --tokenised, whose sentences have no mistakes")
    if json and column is not None:
        raise UserError("--column cannot take effect with --json, which writes the tags of each sentence as a list")
    with _option("--column"):
        tag_column(column or "upos")


def _check_attribute(column: str, tags: list[str]) -> None:
    """Refuse an attribute for tags that hold the mark which ends an attribute."""
    from refrain.errors import UserError, shown

    tag = next((tag for tag in tags if "|" in tag), None)
    if tag is not None:
        raise UserError(
            f"--column {column}: the tag {shown(tag)} holds |, which separates attributes; choose a column, or --json"
        )


def _json(sentence: Untagged, tags: list[str], probabilities: list[float]) -> str:
    from refrain.storage.plain_json import dumps

    more = {"probabilities": [round(each, 6) for each in probabilities]} if probabilities else {}
    return dumps({"words": sentence.words, "tags": tags, **more})


def _conllu(
    sentence: Untagged,
    tags: list[str],
    probabilities: list[float],
    number: int,
    column: str | None,
    tagger: "TrainedTagger",
) -> list[str]:
    """The lines of a tagged sentence: its own with other tags, or new ones for plain text."""
    from refrain.data.tagged.conllu import conllu_lines, with_tags
    from refrain.errors import UserError

    if probabilities and sentence.columns and "misc" not in sentence.columns:
        raise UserError("--probabilities: the columns of the file have no MISC to write to; choose --json")
    learnt = str(tagger.config["data"]["column"])
    # a column of CoNLL-U Plus, which a file of CoNLL-U does not have
    own = learnt if learnt.lower() in sentence.columns else tagger.column
    with _option("--column"):
        if sentence.block is not None:
            if column is None and own.partition(":")[0].lower() not in sentence.columns:
                others = ", ".join(name for name in sentence.columns if name not in ("id", "form"))
                raise UserError(f"the file has no column {own} for the tags; choose one with --column: {others}")
            return with_tags(sentence.block, tags, column or own, sentence.columns, probabilities)
        comments = [f"# sent_id = {number}", f"# text = {_text(sentence)}"]
        return conllu_lines(
            sentence.words, tags, column or tagger.column, sentence.space_after, comments, probabilities
        )


@contextmanager
def _option(option: str) -> Iterator[None]:
    """Name the option in the message of a mistake in its value."""
    from refrain.errors import UserError

    try:
        yield
    except UserError:
        raise
    except ValueError as error:
        raise UserError(f"{option}: {error}") from None


def _tagged(
    tagger: "TrainedTagger", sentences: Iterator[Untagged], batch_size: int
) -> Iterator[tuple[Untagged, list[str], list[float]]]:
    """Yield each sentence with its tags and their probabilities, tagged in batches.

    The sentences before a bad one are still yielded.
    """
    from refrain.errors import DataError

    def tagged(batch: list[Untagged]) -> Iterator[tuple[Untagged, list[str], list[float]]]:
        found = tagger.tag_with_probabilities([sentence.words for sentence in batch], batch_size=batch_size)
        for sentence, words in zip(batch, found, strict=True):
            yield sentence, [tag for tag, _ in words], [probability for _, probability in words]

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
