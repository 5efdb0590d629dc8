"""The command `refrain pairs`."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from .options import (
    DeviceOption,
    Errors,
    ErrorsOption,
    ForceOption,
    JsonOption,
    LowercaseOption,
    RunArgument,
    TokeniseOption,
    WeightsOption,
)
from .texts import lines_of, name_of

if TYPE_CHECKING:
    from refrain.evaluation.minimal_pairs import PairScore, Tally
    from refrain.evaluation.share import Share

# the fields of MinimalPair, which is imported with torch
Texts = tuple[str, str, str, str]
HEAD = ("phenomenon", "paradigm", "good", "bad", "good_nats", "bad_nats", "right", "unknown")


def pairs(
    run: RunArgument,
    /,
    *files: Annotated[str, Parameter(allow_leading_hyphen=True)],
    out: Path | None = None,
    lowercase: LowercaseOption = False,
    tokenise: TokeniseOption = False,
    errors: ErrorsOption = "strict",
    device: DeviceOption = "auto",
    weights: WeightsOption = None,
    force: ForceOption = False,
    json: JsonOption = False,
) -> None:
    """Accuracy on minimal pairs by phenomenon, with 95 % intervals.

    A pair is right if the good sentence is more probable than the bad one, each after a line end and with its own.
    A test suite of SyntaxGym has predictions instead, which compare the surprisal of regions of a sentence.

    Parameters
    ----------
    files
        JSON lines of BLiMP, or tables with the columns good, bad and phenomenon, with commas if they end in .csv, with
        tabs if they end in .tsv; folders of such files; - is JSON lines from standard input. Or suites of SyntaxGym,
        which end in .json.
    out
        A file for a table of all pairs with their nats, or of all regions with their surprisal, with tabs, or with
        commas if it ends in .csv.
    """
    from refrain.errors import UserError
    from refrain.progress import reporter

    from .loading import load_language_model
    from .output import log, log_written, print_json
    from .suites import read_suites, report_suites, score_suites, suite_documents
    from .tables import check_out
    from .texts import check_files, files_of

    if not files:
        raise UserError("no file of minimal pairs; give at least one, or - for standard input")
    check_out(out, run, files, force=force)
    sources = files_of(files)
    check_files(sources, texts=False)

    from refrain import runs

    saved = runs.find_language_model(run)
    documents = suite_documents(sources, errors)
    suites = read_suites(documents)
    texts = [] if suites else [pair for file in sources for pair in _read(file, errors)]
    reports = reporter()
    lm = load_language_model(saved, reports, device=device, weights=weights, lowercase=lowercase, tokenise=tokenise)
    if suites:
        results = score_suites(lm, suites, out, reports, force=force)
        print_json({"run": str(run), "suites": results}) if json else report_suites(results)
        return

    from refrain.data.unknown import unknown_concerns
    from refrain.evaluation.minimal_pairs import MinimalPair, score_pairs

    given = [MinimalPair(*pair) for pair in texts]
    scores = list(reports.track(score_pairs(lm.stepper, lm.vocabulary, given), "scoring minimal pairs", len(given)))
    if out is not None:
        _write(out, scores, force)
        log_written(out)
    found = _document(scores)
    print_json({"run": str(run), **found}) if json else _report(found)
    unknown = sum(score.unknown for score in scores)
    tokens = sum(line.figure.tokens for score in scores for line in (score.good, score.bad))
    for concern in unknown_concerns(lm.vocabulary, {"the pairs": (unknown, tokens)}):
        log(f"note: {concern}")


def _read(file: str, errors: Errors) -> list[Texts]:
    """Read the pairs of a file.

    Raises:
        DataError: when a line is no pair, a sentence is empty, or there are none.
    """
    from refrain.errors import DataError

    from .tables import is_table

    name = name_of(file)
    found = []
    for place, pair in _table(file, errors) if is_table(file) else _objects(file, name, errors):
        for key, sentence in zip(("good", "bad"), pair, strict=False):
            if not sentence.split():
                raise DataError(f"{place}: the {key} sentence is empty; remove the pair")
        found.append(pair)
    if not found:
        raise DataError(f"{name}: contains no pair; give a JSON object on each line")
    return found


def _table(file: str, errors: Errors) -> Iterator[tuple[str, Texts]]:
    from .tables import read_table

    table = read_table(file, errors)
    columns = [table.column(name) for name in ("good", "bad", "phenomenon")]
    for line, row in zip(table.lines, table.rows, strict=True):
        good, bad, phenomenon = (row[column].replace("\n", " ") for column in columns)
        yield f"{file}:{line}", (good, bad, phenomenon, "")


def _objects(file: str, name: str, errors: Errors) -> Iterator[tuple[str, Texts]]:
    from refrain.errors import DataError
    from refrain.storage.plain_json import loads

    for number, line in enumerate(lines_of(file, errors), 1):
        if not line.strip():
            continue
        try:
            found = loads(line)
        except ValueError as error:
            raise DataError(f"{name}:{number}: no JSON object ({error}); give one object on each line") from None
        texts: list[Any] = [
            found.get(key) if isinstance(found, dict) else None for key in ("sentence_good", "sentence_bad")
        ]
        if not all(isinstance(text, str) for text in texts):
            raise DataError(f"{name}:{number}: no pair; give an object with the texts sentence_good and sentence_bad")
        paradigm, phenomenon = (
            "" if found.get(key) is None else str(found[key]) for key in ("UID", "linguistics_term")
        )
        phenomenon = phenomenon or paradigm or "all"
        good, bad = (text.replace("\n", " ") for text in texts)
        yield f"{name}:{number}", (good, bad, phenomenon, paradigm)


def _document(scores: "list[PairScore]") -> dict[str, Any]:
    """The shares of right pairs as plain data: of all, of phenomena, and of the paradigms of each."""
    from refrain.evaluation.minimal_pairs import Tally

    every, phenomena = Tally(), Tally()
    paradigms: dict[str, Tally] = {}
    for score in scores:
        every.add("all", score)
        phenomena.add(score.pair.phenomenon, score)
        if score.pair.paradigm:
            paradigms.setdefault(score.pair.phenomenon, Tally()).add(score.pair.paradigm, score)
    found = _shares(every)["all"]
    found["phenomena"] = _shares(phenomena)
    for name, tally in paradigms.items():
        found["phenomena"][name]["paradigms"] = _shares(tally)
    return found


def _shares(tally: "Tally") -> dict[str, dict[str, Any]]:
    return {
        name: {**_share(share), "with_unknown": tally.unknown[name]} for name, share in sorted(tally.shares().items())
    }


def _share(share: "Share") -> dict[str, Any]:
    return {"pairs": share.total, "right": share.right, "accuracy": share.accuracy, "interval": share.interval}


def _report(found: dict[str, Any]) -> None:
    from .output import table

    rows = [["phenomenon", "pairs", "accuracy", "95 % interval", "with unknown words"]]
    for name, share in found["phenomena"].items():
        rows.append(_row(name, share))
        rows += [_row(f"  {paradigm}", each) for paradigm, each in share.get("paradigms", {}).items()]
    rows.append(_row("all", found))
    print(table(rows))


def _row(name: str, share: dict[str, Any]) -> list[str]:
    low, high = share["interval"]
    return [
        name,
        f"{share['pairs']:,}",
        f"{share['accuracy']:.1%}",
        f"{low:.1%} to {high:.1%}",
        f"{share['with_unknown']:,}",
    ]


def _write(out: Path, scores: "list[PairScore]", force: bool) -> None:
    """Write a row for each pair."""
    from refrain.storage.output_files import replace_text

    from .tables import row_writer

    with replace_text(out, force=force) as file:
        write = row_writer(file, out)
        write(HEAD)
        for score in scores:
            pair = score.pair
            nats = [f"{line.figure.nats:.6f}" for line in (score.good, score.bad)]
            counts = [str(int(score.is_right)), str(score.unknown)]
            write([pair.phenomenon, pair.paradigm, pair.good, pair.bad, *nats, *counts])
