"""The command `refrain surprisal`."""

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, NamedTuple

from cyclopts import Parameter

from .options import (
    DeviceOption,
    Errors,
    ErrorsOption,
    Flag,
    ForceOption,
    LowercaseOption,
    MixOption,
    MixWeightOption,
    RunArgument,
    TextArgument,
    TokeniseOption,
    WeightsOption,
)
from .texts import lines_of, name_of

if TYPE_CHECKING:
    from refrain.evaluation import SurprisalRow
    from refrain.progress import Reporter
    from refrain.trained import TrainedLanguageModel

# the fields of SurprisalRow, which is imported with torch
HEAD = (
    "sentence",
    "word_number",
    "word",
    "surprisal_bits",
    "frequency",
    "unknown",
    "entropy_bits",
    "reduction_bits",
)


class Items(NamedTuple):
    """The sentences of a file, and what is carried along with each.

    Attributes:
        sentences: the sentences.
        names: the names of the other columns.
        cells: the cells of the other columns, of each sentence.
    """

    sentences: list[str]
    names: list[str]
    cells: list[list[str]]


def surprisal(
    run: RunArgument,
    file: TextArgument = "-",
    /,
    *,
    column: Annotated[str | None, Parameter(allow_leading_hyphen=True)] = None,
    context: Literal["sentence", "document"] = "sentence",
    after: Annotated[str, Parameter(allow_leading_hyphen=True)] = "",
    method: Literal["static", "dynamic"] = "static",
    carry: Flag = False,
    dynamic_rate: float | None = None,
    dynamic_steps: int | None = None,
    mix: MixOption = None,
    mix_weight: MixWeightOption = None,
    out: Path | None = None,
    lowercase: LowercaseOption = False,
    tokenise: TokeniseOption = False,
    errors: ErrorsOption = "strict",
    device: DeviceOption = "auto",
    weights: WeightsOption = None,
    force: ForceOption = False,
    json: Flag = False,
) -> None:
    """Surprisal of each word of sentences, in bits, as a table.

    Each line is a sentence, or each row of a table with --column. The table has a row for each word as it is written,
    the first included: the numbers of the sentence and of the word, the word, its surprisal, its frequency in the
    training text, 1 if it is unknown to the model, the entropy of the next token before the word, and the reduction of
    the entropy by the word. docs/surprisal.md describes the columns.

    Parameters
    ----------
    column
        The file is a table whose first line names its columns, and this one holds the sentences; the others are carried
        along. A .csv file has commas, any other tabs.
    context
        sentence: read each sentence independently, after a line end. document: read them one after another.
    after
        A text that each sentence continues, or the first sentence with --context document.
    method
        static: the weights do not change. dynamic: they adapt to each sentence while it is read. The statistics that
        this needs are gathered from the training text of the run first, which takes minutes, and are kept in the cache.
    carry
        Carry the weights that have adapted to a sentence to the next; otherwise each begins with the trained ones.
    dynamic_rate
        The learning rate of --method dynamic (5e-5).
    dynamic_steps
        The number of tokens after which the weights are adapted (5).
    out
        A file for the table, with tabs, or with commas if it ends in .csv. The default is standard output.
    json
        Print one JSON object for each word, or for all with --out.
    """
    from refrain.errors import UserError
    from refrain.progress import reporter

    from .adaptation import Adaptation
    from .loading import load_language_model
    from .mixing import mixing_of
    from .tables import check_out, is_table
    from .texts import check_files

    check_out(out, run, [file], force=force)
    mixing = mixing_of(mix, mix_weight)
    adaptation = Adaptation(method == "dynamic", dynamic_rate, dynamic_steps, carry)
    adaptation.check(mix, weights)
    if column is None and is_table(file):
        raise UserError(f"{file} is a table; name the column of the sentences with --column")
    check_files([file], texts=column is None)

    from refrain import runs

    saved = runs.find_language_model(run)
    if mixing is not None:
        mixing.check_unit(saved)
    items = _sentences(file, errors) if column is None else _column(file, column, errors)
    reports = reporter()
    lm = load_language_model(saved, reports, device=device, weights=weights, lowercase=lowercase, tokenise=tokenise)

    from refrain.evaluation import surprisal_rows

    if adaptation.chosen:
        rows = adaptation.rows(lm, saved, items.sentences, context, after, reports)
    else:
        stepper = lm.stepper if mixing is None else mixing.stepper(lm, saved, reports)
        rows = surprisal_rows(stepper, lm.vocabulary, items.sentences, context=context, after=after)
    _print_rows(rows, items, lm, out, json, force, reports)


def _print_rows(
    rows: "Iterator[SurprisalRow]",
    items: Items,
    lm: "TrainedLanguageModel",
    out: Path | None,
    json: bool,
    force: bool,
    reports: "Reporter",
) -> None:
    """Print or write the rows, and log what is to be known of unknown words."""
    from refrain.data.unknown import unknown_concerns
    from refrain.progress import untracked

    from .output import log, log_written, print_json

    # rows on the terminal are progress enough
    track = untracked if out is None and sys.stdout.isatty() else reports.track
    words = unknown = 0
    with _writing(out, json, [*HEAD, *items.names], force) as write:
        for row in track(rows, "computing the surprisal of words"):
            words += 1
            unknown += row.unknown
            write(row, items.cells[row.sentence - 1])
    for concern in unknown_concerns(lm.vocabulary, {"the text": (unknown, words)}):
        log(f"note: {concern}")
    if out is None:
        return
    log_written(out)
    if json:
        print_json({"out": str(out), "sentences": len(items.sentences), "words": words, "unknown": unknown})
    else:
        print(f"{len(items.sentences):,} sentences, {words:,} words, {unknown:,} unknown")


def _sentences(file: str, errors: Errors) -> Items:
    """Read a sentence from each line. An empty line has a number and no rows.

    Raises:
        DataError: when every line is empty, or the file cannot be read.
    """
    from refrain.errors import DataError, quantity

    from .output import log

    sentences = list(lines_of(file, errors))
    empty = sum(not sentence.split() for sentence in sentences)
    if empty == len(sentences):
        raise DataError(f"{name_of(file)}: contains no text; give at least one sentence")
    if empty:
        found = quantity(empty, "empty line")
        log(f"note: {name_of(file)}: has {found}; an empty line is counted as a sentence and has no rows")
    return Items(sentences, [], [[] for _ in sentences])


def _column(file: str, column: str, errors: Errors) -> Items:
    """Read a sentence from each row of a table.

    Raises:
        DataError: when a sentence is empty, another column has the name of a column of the result, or the table is
            broken.
    """
    from refrain.errors import DataError

    from .tables import read_table

    table = read_table(file, errors)
    index = table.column(column)
    for line, row in zip(table.lines, table.rows, strict=True):
        if not row[index].split():
            raise DataError(f"{name_of(file)}:{line}: the sentence is empty; remove the line")
    names = [*table.head[:index], *table.head[index + 1 :]]
    if taken := sorted(set(names) & set(HEAD)):
        raise DataError(
            f"{name_of(file)}:1: a column of the result is named {taken[0]!r} too; rename that of the table"
        )
    cells = [[*row[:index], *row[index + 1 :]] for row in table.rows]
    return Items([row[index] for row in table.rows], names, cells)


@contextmanager
def _writing(
    out: Path | None, json: bool, head: Sequence[str], force: bool
) -> Iterator[Callable[["SurprisalRow", Sequence[str]], None]]:
    """Open the table or standard output, and yield the function that writes a row with the cells carried along."""
    from refrain.storage.output_files import replace_text
    from refrain.storage.plain_text import tsv_cell

    from .output import for_output, print_json
    from .tables import row_writer

    def show(cells: Sequence[str]) -> None:
        print(for_output("\t".join(map(tsv_cell, cells))))

    if out is None and json:
        yield lambda row, more: print_json(dict(zip(head, [*row, *more], strict=True)))
    elif out is None:
        show(head)
        yield lambda row, more: show([*_cells(row), *more])
    else:
        with replace_text(out, force=force) as file:
            write = row_writer(file, out)
            write(head)
            yield lambda row, more: write([*_cells(row), *more])


def _cells(row: "SurprisalRow") -> list[str]:
    return [
        str(row.sentence),
        str(row.word_number),
        row.word,
        f"{row.surprisal_bits:.6f}",
        "" if row.frequency is None else str(row.frequency),
        str(int(row.unknown)),
        *("" if bits is None else f"{bits:.6f}" for bits in (row.entropy_bits, row.reduction_bits)),
    ]
