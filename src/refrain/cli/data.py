"""The command `refrain data`."""

from pathlib import Path
from typing import Annotated, Any

from cyclopts import App, Parameter

from .options import Cleaning, ErrorsOption, Flag, JsonOption

data = App(
    name="data",
    help="List, fetch and check corpora.",
    help_epilogue="Example: refrain data check PATH/TO/ptb",
)
COMMANDS = ("list", "fetch", "check")
COLUMNS = (
    "files", "tokens", "lines", "unseen", "literal_unk", "empty_lines", "long_lines", "lines_in_train", "longest_line",
    "byte_values", "invalid_utf8",
)  # fmt: skip
# columns of the table that are left out where all counts are zero
RARE_COLUMNS = (
    "literal_eos", "eos_in_lines", "other_ends", "json_lines", "marked_lines", "carriage_returns", "zero_bytes",
    "words_with_other_blanks", "lines_not_nfc", "compressed_files",
)  # fmt: skip


@data.default
def default(*words: Annotated[str, Parameter(show=False)], json: JsonOption = False) -> None:
    """List the corpora that have a name.

    Parameters
    ----------
    words
        Not allowed; a word here is an unknown command.
    """
    from refrain.errors import UserError, nearest

    if words:
        raise UserError(f"unknown command 'data {words[0]}'{nearest(words[0], COMMANDS)}; known: {', '.join(COMMANDS)}")
    show(json=json)


@data.command(name="list", help_epilogue="Example: refrain data list --json")
def show(*, json: JsonOption = False) -> None:
    """List the corpora that have a name."""
    from refrain.data.embedded import DESCRIPTIONS
    from refrain.data.embedded import UNITS as EMBEDDED_UNITS
    from refrain.data.known import KNOWN, fetched_path

    from .output import print_json, table

    rows = [
        {"name": name, "unit": EMBEDDED_UNITS[name], "here": True, "description": text, "licence": "Python's own"}
        for name, text in DESCRIPTIONS.items()
    ] + [
        {
            "name": name,
            "unit": known.unit,
            "here": fetched_path(name).exists(),
            "description": known.title,
            "licence": known.licence,
        }
        for name, known in KNOWN.items()
    ]
    if json:
        print_json({"corpora": rows})
        return
    head = [["corpus", "here", "what it is"]]
    print(table(head + [[str(row["name"]), "yes" if row["here"] else "no", str(row["description"])] for row in rows]))
    print("\nrefrain data fetch NAME gets one; --data takes a name, a folder of splits or a text file.")


@data.command(help_epilogue="Example: refrain data fetch wikitext-2")
def fetch(
    name: str,
    /,
    *,
    out: Annotated[Path | None, Parameter(name=("--out", "--to"))] = None,
    url: str | None = None,
    json: JsonOption = False,
) -> None:
    """Fetch a corpus by name. Every file is checked against its sha256.

    Parameters
    ----------
    name
        The name of the corpus; see refrain data list.
    out
        The folder to put it in. The default is the folder in which --data NAME looks. --to is the same.
    url
        The address of a folder on a mirror with the same files.
    """
    from refrain.data.fetch import fetch as get

    from .output import log, log_written, print_json, print_line

    folder = get(name, to=out, base_url=url, log=log)
    log_written(folder)
    files = {path.name: path.stat().st_size for path in sorted(folder.iterdir())}
    if json:
        print_json({"name": name, "folder": str(folder), "files": files})
    else:
        print_line(f"{folder}: {', '.join(f'{file} ({size:,} bytes)' for file, size in files.items())}")


@data.command(help_epilogue="Example: refrain data check PATH/TO/ptb")
def check(
    path: str,
    /,
    *,
    unit: str = "auto",
    column: str = "auto",
    word_column: str = "auto",
    min_count: int = 1,
    max_words: int | None = None,
    workers: int | None = None,
    errors: ErrorsOption = "strict",
    cleaning: Cleaning = "none",
    lowercase: Flag = False,
    tokenise: Flag = False,
    json: JsonOption = False,
) -> None:
    """Check a corpus: tokens, vocabulary, unseen words, overlap of splits, unusual lines, bytes and invalid UTF-8.

    Of tagged sentences: sentences, words, tags, bad sentences, words without a tag, and tags that train lacks.

    Parameters
    ----------
    path
        The corpus: a folder of splits, a text file, a pattern, a folder of texts, or a name.
    unit
        The unit of a token: word, subword, character, byte or tag. auto: tag if the corpus holds tagged
        sentences, otherwise word.
    column
        The column of the tags (see data.column).
    word_column
        The column of the words (see data.word_column).
    min_count
        Training words with a smaller count become <unk>, and characters U+FFFD.
    max_words
        The largest number of words in the vocabulary (see data.max_words).
    workers
        How many processes prepare the text (see data.workers).
    cleaning
        The cleaning of the text before it is read as bytes (see data.cleaning).
    lowercase
        Convert the text to lower case (see data.lowercase).
    tokenise
        Split words from punctuation and contractions (see data.tokenise).
    """
    from .corpus import check_corpus

    if unit == "auto" and min_count >= 1:
        check_corpus(path)

    from refrain.assembly import build_corpus
    from refrain.config import Data
    from refrain.data import UNITS
    from refrain.data.survey import survey, warnings_about
    from refrain.errors import UserError
    from refrain.progress import reporter

    from .data_tagged import check_tagged, corpus_is_tagged
    from .evaluate_tagger import refuse
    from .output import log, print_json

    _check_numbers(min_count, max_words, workers)
    if unit not in (*UNITS, "tag", "auto"):
        raise UserError(f"--unit must be one of {', '.join(UNITS)}, tag, auto (got {unit!r})")
    if unit == "tag" or (unit == "auto" and corpus_is_tagged(path)):
        given = {"--min-count": min_count > 1, "--cleaning": cleaning != "none"}
        given |= {"--max-words": max_words is not None, "--workers": workers is not None}
        refuse(given | {"--lowercase": lowercase, "--tokenise": tokenise}, "with tagged sentences")
        check_tagged(path, column, word_column, errors, json=json)
        return
    unit = "word" if unit == "auto" else unit
    refuse({"--column": column != "auto", "--word-column": word_column != "auto"}, f"with --unit {unit}")
    chosen: dict[str, object] = {"min_count": min_count, "errors": errors, "cleaning": cleaning}
    chosen |= {"lowercase": lowercase, "tokenise": tokenise, "max_words": max_words, "workers": workers}
    settings = Data.model_validate({"corpus": path, "unit": unit})
    for name, value in chosen.items():
        if value != getattr(settings, name) and not settings.takes_effect(name):
            raise UserError(f"--{name.replace('_', '-')} cannot take effect with --unit {unit}")
    reports = reporter()
    with reports.step("reading the text"):
        corpus = build_corpus(settings.model_copy(update=chosen), log=log)
    with reports.step("looking for unusual lines"):
        found = survey(corpus)
    concerns = warnings_about(found)
    if json:
        print_json({**found, "warnings": concerns})
    else:
        _print(found, concerns)


def _check_numbers(min_count: int, max_words: int | None, workers: int | None) -> None:
    from refrain.errors import UserError

    if min_count < 1:
        raise UserError(f"--min-count must be at least 1 (got {min_count})")
    if max_words is not None and max_words < 2:
        raise UserError(f"--max-words must be at least 2 (got {max_words})")
    if workers is not None and not 1 <= workers <= 256:
        raise UserError(f"--workers must be from 1 to 256 (got {workers})")


def _print(found: dict[str, Any], concerns: list[str]) -> None:
    """Print the table of the splits and the notes."""
    from .output import print_line, table

    splits = found["splits"].values()
    columns = [column for column in COLUMNS if any(column in split for split in splits)]
    columns += [column for column in RARE_COLUMNS if any(split.get(column) for split in splits)]
    rows = [["split", *columns]]
    for name, split in found["splits"].items():
        rows.append([name, *(f"{split[column]:,}" if column in split else "" for column in columns)])
    print(f"vocabulary {found['vocabulary']:,}\n{table(rows)}")
    for concern in concerns:
        print_line(f"note: {concern}")
