"""`refrain tag`."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple, TextIO

from cyclopts import Parameter

if TYPE_CHECKING:
    from refrain.data.tagged.sentences import Lines
    from refrain.trained.tagger import TrainedTagger

# sentences of a file that are tagged together
SIDE_BY_SIDE = 64


class Untagged(NamedTuple):
    """A sentence to tag: from plain text, with what follows each word; or a block of CoNLL-U, to be kept as it is."""

    words: list[str]
    space_after: list[bool]
    block: "Lines | None" = None


def tag(
    run: Path,
    file: Annotated[str, Parameter(allow_leading_hyphen=True)] = "-",
    /,
    *,
    plain: Annotated[bool, Parameter(negative=())] = False,
    tokenised: Annotated[bool, Parameter(negative=())] = False,
    column: Literal["upos", "xpos", "feats", "deprel", "misc"] | None = None,
    skip_bad: Annotated[bool, Parameter(negative=())] = False,
    out: Path | None = None,
    force: Annotated[bool, Parameter(negative=())] = False,
    errors: Literal["strict", "replace"] = "strict",
    device: Literal["auto", "cpu", "cuda"] = "auto",
    weights: Literal["float32", "int8"] = "float32",
    json: Annotated[bool, Parameter(negative=())] = False,
) -> None:
    """Tag text, into CoNLL-U. Sentences are written as they are done, of standard input one by one.

    A file of CoNLL-U, known by its ending .conllu or its first line, keeps all it says but the tags; anything else is
    read as --plain unless --tokenised is given.

    Parameters
    ----------
    run
        A tagger's run folder, or one of its checkpoints.
    file
        The text; - is standard input.
    plain
        The text is plain: it is cut into sentences and words here.
    tokenised
        Each line is a sentence, its words separated by blanks.
    column
        The column that the tags go to; by default the one they were learnt from.
    skip_bad
        Leave out bad sentences of CoNLL-U and list them, instead of stopping.
    out
        Write to a file instead of standard output.
    force
        Replace the file of --out.
    errors
        What invalid UTF-8 does: stop (strict) or become U+FFFD (replace).
    device
        Where to compute.
    weights
        int8: every matrix rounded to 127ths of the largest entry of each row.
    json
        Write one JSON object a sentence, its words and tags, in the place of CoNLL-U.
    """
    from refrain import runs
    from refrain.data.tagged.conllu import conllu_lines, with_tags
    from refrain.errors import UserError
    from refrain.storage.plain_json import dumps

    from .texts import lines_of, refuse_to_overwrite

    if plain and tokenised:
        raise UserError("--plain and --tokenised exclude each other")
    if out is not None:
        refuse_to_overwrite([out], force=force)
    tagger = runs.load_tagger(run, device=device, weights=weights)
    target = column or tagger.column
    form: Literal["plain", "tokenised", "unknown"] = "plain" if plain else "tokenised" if tokenised else "unknown"
    # from standard input, or from a pipe, one is answered before the next is read
    together = SIDE_BY_SIDE if Path(file).is_file() else 1
    sentences = _sentences(lines_of(file, errors), file, form, skip_bad)
    with _writing(out) as written:
        for number, (sentence, tags) in enumerate(_tagged(tagger, sentences, together), 1):
            if json:
                lines = [dumps({"words": sentence.words, "tags": tags})]
            elif sentence.block is not None:
                lines = with_tags(sentence.block, tags, target)
            else:
                comments = [f"# sent_id = {number}", f"# text = {_text(sentence)}"]
                lines = conllu_lines(sentence.words, tags, target, sentence.space_after, comments)
            written.write("\n".join(lines) + "\n")
            written.flush()


def _tagged(
    tagger: "TrainedTagger", sentences: Iterator[Untagged], together: int
) -> Iterator[tuple[Untagged, list[str]]]:
    """Each sentence with its tags, so many tagged side by side; those before a bad one are still answered."""
    from refrain.errors import DataError

    def answered(some: list[Untagged]) -> Iterator[tuple[Untagged, list[str]]]:
        return zip(some, tagger.tag([sentence.words for sentence in some], batch_size=together), strict=True)

    waiting: list[Untagged] = []
    try:
        for sentence in sentences:
            waiting.append(sentence)
            if len(waiting) == together:
                yield from answered(waiting)
                waiting = []
    except DataError:
        yield from answered(waiting)
        raise
    yield from answered(waiting)


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
    """Whether lines are CoNLL-U, as far as the first that is neither blank nor a comment tells; and all of them."""
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

    from .output import say

    skipped = 0
    for block in blocks_of_lines(lines):
        try:
            words = [row.fields[1] for row in words_in(block)]
            if not words:
                raise BadSentence(block.first, "a sentence without words")
        except BadSentence as bad:
            place = f"{'standard input' if file == '-' else file}:{bad.line}: {bad.cause}"
            if not skip_bad:
                raise DataError(f"{place}; mend it, or leave such sentences out with --skip-bad") from None
            skipped += 1
            say(f"left out: {place}")
            continue
        yield Untagged(words, [True] * len(words), block)
    if skipped:
        say(f"left out {skipped} bad sentence(s)")


def _text(sentence: Untagged) -> str:
    pairs = zip(sentence.words, sentence.space_after, strict=True)
    return "".join(word + (" " if space else "") for word, space in pairs).rstrip()


@contextmanager
def _writing(out: Path | None) -> Iterator[TextIO | Any]:
    """Standard output, or a file that stands there whole or not at all."""
    import sys

    if out is None:
        yield sys.stdout
        return
    fresh = out.with_name(f".tmp-{out.name}")
    try:
        with fresh.open("w", encoding="utf-8", newline="\n") as file:
            yield file
        fresh.replace(out)
    finally:
        fresh.unlink(missing_ok=True)
