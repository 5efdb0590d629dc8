"""The command `refrain data check` for tagged sentences."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .options import Errors

if TYPE_CHECKING:
    from refrain.config import TaggedData

COLUMNS = (
    "sentences", "words", "unseen", "without_tag", "underscore_words", "bad_sentences", "documents",
    "empty_elements",    "longest_sentence", "sentences_in_train",
)  # fmt: skip
LISTED = 20


def corpus_is_tagged(corpus: str) -> bool:
    """Whether a corpus, given by its name or its path, holds tagged sentences.

    Args:
        corpus: the corpus.
    """
    from refrain.data.embedded import UNITS
    from refrain.data.known import KNOWN
    from refrain.data.tagged.recognition import looks_tagged

    if corpus in UNITS:
        return UNITS[corpus] == "tagged"
    return KNOWN[corpus].unit == "tagged" if corpus in KNOWN else looks_tagged(Path(corpus))


def tagged_settings(values: Mapping[str, Any]) -> "TaggedData":
    """The settings of tagged sentences, whose columns are given by options.

    Args:
        values: setting -> its value.

    Raises:
        UserError: when a value is wrong; the message names the option.
    """
    from refrain.config import TaggedData
    from refrain.errors import UserError

    try:
        return TaggedData(**values)
    except UserError as error:
        raise UserError(str(error).replace("TaggedData: word_column:", "--word-column")) from None


def check_tagged(corpus: str, column: str, word_column: str, errors: Errors, *, json: bool) -> None:
    """Check tagged sentences and print the figures.

    Args:
        corpus: the name or the path of the corpus.
        column: the column of the tags.
        word_column: the column of the words.
        errors: what to do at invalid UTF-8.
        json: whether one JSON object is printed.
    """
    from refrain.assembly.tagged_corpus import read_parts
    from refrain.data.tagged.survey import survey_tagged, warnings_about_tagged
    from refrain.progress import reporter

    from .output import log, print_json, print_line

    settings = tagged_settings(
        {"corpus": corpus, "column": column, "word_column": word_column, "errors": errors, "skip_bad": True}
    )
    with reporter().step("reading the sentences"):
        name, parts = read_parts(settings, log)
        found = survey_tagged(name, parts)
    concerns = warnings_about_tagged(found)
    if json:
        print_json({**found, "warnings": concerns})
        return
    _print(found)
    for split_name, split in found["splits"].items():
        for line in split["bad"][:LISTED]:
            print_line(f"{split_name}: {line}")
        if len(split["bad"]) > LISTED:
            print_line(f"{split_name}: and {len(split['bad']) - LISTED} more bad sentences")
    for concern in concerns:
        print_line(f"note: {concern}")


def _print(found: Mapping[str, Any]) -> None:
    """Print a table of the splits, and one of the tags."""
    from refrain.storage.plain_text import visible

    from .output import print_line, table

    splits = found["splits"]
    formats = ", ".join(dict.fromkeys(split["format"] for split in splits.values()))
    print_line(f"{formats}: {found['sentences']:,} sentences, {found['words']:,} words, {len(found['tags'])} tags")
    rows = [["split", *COLUMNS]]
    rows += [[name, *(f"{split[column]:,}" for column in COLUMNS)] for name, split in splits.items()]
    print(table(rows), end="\n\n")
    rows = [["tag", *splits]]
    rows += [
        [visible(tag), *(f"{split['tags'].get(tag, 0):,}" for split in splits.values())]
        for tag in list(found["tags"])[:100]
    ]
    print(table(rows))
    if len(found["tags"]) > 100:
        print_line(f"and {len(found['tags']) - 100} rarer tags; --json lists them")
