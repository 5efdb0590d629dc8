"""The command `refrain evaluate` for several runs: one table."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .evaluate_methods import NAMED, check_match_text, learns
from .evaluate_report import number_text
from .evaluate_texts import TextOptions, Texts, training_texts
from .options import Device, Protocol, Weights
from .output import log, print_json, table

if TYPE_CHECKING:
    from refrain.config import AnyExperiment
    from refrain.evaluation.methods import Method
    from refrain.progress import Reporter
    from refrain.runs import SavedModel

COLUMNS = ("tokens", "unknown", "nats_per_token", "bits_per_byte", "perplexity", "perplexity_per_word")
OF_TAGGERS = ("tokens", "nats_per_token", "accuracy", "interval", "seen", "unseen", "sentences", "spans")
HEADINGS = {"spans": "span_f1"}
DIGITS = {"tokens": ",", "unknown": ",", "accuracy": ".2%"}


def check_several(more: Sequence[Path], given: Mapping[str, Any]) -> None:
    """Refuse options that are for one run, where several are given.

    Args:
        more: the runs after the first.
        given: option -> its value; None if it is not given.

    Raises:
        UserError: when one of the options is given with several runs.
    """
    if more:
        from .evaluate_tagger import refuse

        refuse(given, "with several runs")


def evaluate_several(
    saved: "Sequence[SavedModel]",
    options: TextOptions,
    methods: "list[Method]",
    protocol: Protocol,
    *,
    device: Device,
    weights: Weights | None,
    json: bool,
) -> None:
    """Measure several models, one in memory at a time, and print their figures as a table.

    Args:
        saved: the models: language models, or taggers.
        options: the text to measure on.
        methods: the methods of language models.
        protocol: the protocol of language models.
        device: the device to compute on.
        weights: whether matrices are rounded; None for what the run has.
        json: whether one JSON object is printed.

    Raises:
        UserError: when there are language models and taggers.
    """
    from refrain.progress import reporter
    from refrain.runs.own_names import check_given

    check_alike(saved)
    taggers = saved[0].is_tagger
    for one in saved:
        check_given(one.document, None, one.path)
    reports, texts, rows = reporter(), Texts(options), list[dict[str, Any]]()
    read: list[Any] = []
    for one in saved:
        if taggers:
            part, row = _tagger(one, texts, reports, device, weights)
            rows.append(row)
        else:
            part, some = _language_model(one, texts, methods, protocol, reports, device, weights)
            rows += some
        read.append(part)
    print_json({"runs": rows}) if json else _report(rows, OF_TAGGERS if taggers else COLUMNS)
    note_concerns(rows)
    _note_differences(saved, read, rows)


def note_concerns(rows: Sequence[Mapping[str, Any]]) -> None:
    """Log what makes the figures of runs doubtful; the same of several runs is logged once.

    Args:
        rows: for each figure its `run`, and the `warnings` about it.
    """
    runs: dict[str, dict[str, None]] = {}
    for row in rows:
        for concern in row["warnings"]:
            runs.setdefault(concern, {})[row["run"]] = None
    for concern, paths in runs.items():
        log(f"note: {', '.join(paths)}: {concern}")


def is_same_text(first: Any, part: Any) -> bool:
    """Whether two models read the same text: of taggers, the same sentences, which folds and cuts of a file differ in.

    Args:
        first: the split that one model has read.
        part: the split that the other model has read.
    """
    if hasattr(part, "sentences"):
        one, other = ([list(sentence.words) for sentence in each.sentences] for each in (first, part))
        return one == other
    return bool(part.source == first.source or part.sha256 == first.sha256)


def _why_others(first: Any, part: Any, settings: "Sequence[AnyExperiment]") -> str:
    """Why two models read different parts of the same files; empty where they read different files."""
    if {span.path for span in first.source} != {span.path for span in part.source}:
        return ""
    one, other = (each.data for each in settings)
    if (units := (getattr(one, "unit", ""), getattr(other, "unit", "")))[0] != units[1]:
        return f"data.unit is {units[0]} and {units[1]}, which are cut at other places"
    for name in ("folds", "fold", "fold_seed"):
        if (given := (getattr(one, name, None), getattr(other, name, None)))[0] != given[1]:
            return f"data.{name} is {given[0]} and {given[1]}"
    if one.split != other.split:
        return f"data.split is {list(one.split)} and {list(other.split)}"
    return "their settings cut it at other places"


def _note_differences(saved: "Sequence[SavedModel]", read: Sequence[Any], rows: Sequence[Mapping[str, Any]]) -> None:
    """Log why the figures of rows cannot be compared, where they cannot.

    Args:
        saved: the models.
        read: the split that each of them has read.
        rows: the rows of all models.
    """
    from refrain.data.text.files import place_of

    first = read[0]
    for one, part in zip(saved, read, strict=True):
        if not is_same_text(first, part):
            why = _why_others(first, part, [saved[0].experiment, one.experiment])
            what = f"part of {place_of(part.source)}" if why else "text"
            log(
                f"note: {one.path} reads another {what} than {saved[0].path}{f', because {why}' if why else ''}, so "
                "their figures cannot be compared; name one text for all models with --data"
            )
            return
    sizes: dict[Any, set[Any]] = {}
    for row in rows:
        sizes.setdefault(row.get("method"), set()).add((row["tokens"], row.get("unknown")))
    # a method may score fewer tokens than another one
    if not saved[0].is_tagger and any(len(each) > 1 for each in sizes.values()):
        log(
            "note: the vocabularies differ, so figures per token cannot be compared; bits_per_byte can, where no model "
            "reads words as unknown"
        )


def check_alike(saved: "Sequence[SavedModel]") -> None:
    """Check that models are all language models, or all taggers.

    Args:
        saved: the models.

    Raises:
        UserError: when they are not.
    """
    from refrain.errors import UserError

    tagger = next((one.path for one in saved if one.is_tagger), None)
    other = next((one.path for one in saved if not one.is_tagger), None)
    if tagger is not None and other is not None:
        raise UserError(f"{tagger}: is a tagger, and {other} is a language model; measure them apart")


def _language_model(
    saved: "SavedModel",
    texts: Texts,
    methods: "list[Method]",
    protocol: Protocol,
    reports: "Reporter",
    device: Device,
    weights: Weights | None,
) -> tuple[Any, list[dict[str, Any]]]:
    """The split that a language model has read, and its figures, a row for each method."""
    from .evaluate import measure_model
    from .evaluate_report import concerns_about
    from .loading import load_language_model
    from .training_text import split_of

    with reports.step("reading the text"):
        corpus, split = texts.of(saved)
        if texts.are_given:
            check_match_text(methods, split_of(saved, corpus.splits[split]), None, NAMED)
        training = training_texts(saved, needed=learns(methods, None))
    lm = load_language_model(saved, reports, device=device, weights=weights, packed=False)
    figures = measure_model(lm, corpus, split, training, methods, protocol, None, None, False, reports.track)
    about = {"run": str(saved.path), "checkpoint": lm.folder.name, "corpus": corpus.name, "split": split}
    part = corpus.splits[split]
    concerns = texts.concerns(saved, part, split)
    return part, [
        about
        | {"protocol": protocol, "method": method}
        | figure
        | {"warnings": concerns + concerns_about(corpus.vocabulary, part, {method: figure}, own=not texts.are_given)}
        for method, figure in figures.items()
    ]


def _tagger(
    saved: "SavedModel", texts: Texts, reports: "Reporter", device: Device, weights: Weights | None
) -> tuple[Any, dict[str, Any]]:
    """The split that a tagger has read, and its figures."""
    from .loading import load_tagger

    with reports.step("reading the sentences"):
        corpus, split = texts.tagged(saved)
    tagger = load_tagger(saved, reports, device=device, weights=weights)
    figure = tagger.evaluate(corpus.splits[split].sentences, track=reports.track)
    about = {"run": str(saved.path), "checkpoint": tagger.folder.name, "corpus": corpus.name, "split": split}
    part = corpus.splits[split]
    return part, about | figure.document() | {"warnings": texts.concerns(saved, part, split)}


def _report(rows: list[dict[str, Any]], columns: Sequence[str]) -> None:
    """Print the table; what is the same in all rows is printed once above it."""
    about = [name for name in ("run", "corpus", "split", "protocol", "method") if name in rows[0]]
    shared = [name for name in about[1:] if len({row[name] for row in rows}) == 1]
    print("  ".join(f"{name} {rows[0][name]}" for name in shared), end="\n\n")
    own = [name for name in about if name not in shared]
    known = [name for name in columns if any(_is_shown(name, row.get(name)) for row in rows)]
    headings = [HEADINGS.get(name, name) for name in known]
    print(table([[*own, *headings], *([*(str(row[name]) for name in own), *_cells(row, known)] for row in rows)]))


def _is_shown(name: str, value: Any) -> bool:
    # without unknown words there is no column for them
    return value is not None and (name != "unknown" or value > 0)


def _cells(row: Mapping[str, Any], names: Sequence[str]) -> list[str]:
    from refrain.data.unknown import MANY

    cells = {name: _cell(name, row.get(name)) for name in names}
    share = (row.get("unknown") or 0) / max(row["tokens"], 1)
    if "unknown" in cells and share > MANY:
        cells["unknown"] += f" ({share:.1%})"
    return list(cells.values())


def _cell(name: str, value: Any) -> str:
    match value:
        case None:
            return "-"
        case {"accuracy": share}:
            return "-" if share is None else f"{share:.2%}"
        case {"f1": share}:
            return f"{share:.2%}"
        case (low, high):
            return f"{low:.2%} to {high:.2%}"
    return number_text(value) if name not in DIGITS else f"{value:{DIGITS[name]}}"
