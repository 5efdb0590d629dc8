"""Test suites of SyntaxGym for the command `refrain pairs`."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .options import Errors

if TYPE_CHECKING:
    from refrain.evaluation.suites import ItemScore, Suite
    from refrain.progress import Reporter
    from refrain.trained import TrainedLanguageModel

HEAD = ("suite", "item", "condition", "region", "content", "surprisal_bits")


def suite_documents(files: Sequence[str], errors: Errors) -> dict[str, Any]:
    """The parsed files of suites, by path; nothing where the files hold pairs.

    Raises:
        UserError: when some files are suites and others are not.
    """
    from refrain.errors import UserError

    found = {file: document for file in files if (document := _document(file, errors)) is not None}
    if found and len(found) < len(set(files)):
        other = next(file for file in files if file not in found)
        raise UserError(f"{other}: is no test suite, but {next(iter(found))} is; give suites and pairs to two commands")
    return found


def _document(file: str, errors: Errors) -> Any:
    """The content of a file that holds one JSON object with items; None for any other."""
    from refrain.storage.plain_json import loads

    from .texts import document_of

    if not file.endswith(".json"):
        return None
    try:
        found = loads(document_of(file, errors))
    except ValueError:
        return None
    return found if isinstance(found, dict) and "items" in found else None


def read_suites(documents: dict[str, Any]) -> "list[Suite]":
    """The suites of parsed files.

    Raises:
        DataError: when one is no suite of SyntaxGym, or two have one name.
    """
    from refrain.errors import DataError, shown
    from refrain.evaluation.suites import suite_from

    suites: dict[str, tuple[str, Suite]] = {}
    for file, document in documents.items():
        try:
            suite = suite_from(document, Path(file).stem)
        except ValueError as error:
            raise DataError(f"{file}: {error}") from None
        if suite.name in suites:
            other, _ = suites[suite.name]
            raise DataError(
                f"{file}: has the name {shown(suite.name)}, as {other} has; give one of them another meta.name"
            )
        suites[suite.name] = (file, suite)
    return [suite for _, suite in suites.values()]


def score_suites(
    lm: "TrainedLanguageModel", suites: "Sequence[Suite]", out: Path | None, reports: "Reporter", *, force: bool
) -> dict[str, Any]:
    """Score suites, write the table of regions if there is one to write, and return the shares as plain data."""
    from refrain.evaluation.share import Share
    from refrain.evaluation.suites import score_suite

    from .output import log_written

    scored: list[tuple[Suite, list[ItemScore]]] = []
    for suite in suites:
        scores = score_suite(lm.stepper, lm.vocabulary, suite)
        scored.append((suite, list(reports.track(scores, f"scoring {suite.name}", len(suite.items)))))
    if out is not None:
        _write(out, scored, force)
        log_written(out)
    found: dict[str, Any] = {}
    for suite, scores_of in scored:
        right = [sum(score.right[index] for score in scores_of) for index in range(len(suite.predictions))]
        found[suite.name] = {
            "items": len(scores_of),
            "with_unknown": sum(score.unknown > 0 for score in scores_of),
            "predictions": [
                {"formula": prediction.text, "right": count, **_share(Share(count, len(scores_of)))}
                for prediction, count in zip(suite.predictions, right, strict=True)
            ],
            **_share(Share(sum(right), len(scores_of) * len(suite.predictions))),
        }
    return found


def _share(share: Any) -> dict[str, Any]:
    return {"accuracy": share.accuracy, "interval": share.interval}


def report_suites(found: dict[str, Any]) -> None:
    """Print a row for each prediction of each suite."""
    from .output import table

    rows = [["suite", "prediction", "items", "accuracy", "95 % interval", "with unknown words"]]
    for name, suite in found.items():
        for prediction in suite["predictions"]:
            low, high = prediction["interval"]
            figures = [f"{prediction['accuracy']:.1%}", f"{low:.1%} to {high:.1%}", f"{suite['with_unknown']:,}"]
            rows.append([name, prediction["formula"], f"{suite['items']:,}", *figures])
    print(table(rows))


def _write(out: Path, scored: "Sequence[tuple[Suite, list[ItemScore]]]", force: bool) -> None:
    """Write a row for each region."""
    from refrain.storage.output_files import replace_text

    from .tables import row_writer

    with replace_text(out, force=force) as file:
        write = row_writer(file, out)
        write(HEAD)
        for suite, scores in scored:
            for item, bits, _, _ in scores:
                for condition, regions in item.conditions.items():
                    for region in regions:
                        value = f"{bits[region.number, condition]:.6f}"
                        write([suite.name, item.number, condition, region.number, region.content, value])
