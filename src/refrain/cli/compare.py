"""The command `refrain compare`."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from .compare_text import Comparison, compare_on_text
from .evaluate_texts import TextOptions
from .options import (
    NAMED,
    DeviceOption,
    ErrorsOption,
    JsonOption,
    LowercaseOption,
    SkipBadOption,
    TokeniseOption,
    WeightsOption,
)
from .output import log, print_json
from .table_formats import Format, FormatOption, print_table

if TYPE_CHECKING:
    from refrain.runs.groups import Compared, Group

MANY_SETTINGS = 8
"""With more settings than this, and than runs, the table of text has a row for each setting."""


def compare(
    *runs: Annotated[Path, NAMED],
    data: Path | None = None,
    split: Literal["train", "valid", "test"] | None = None,
    context: Literal["document", "sentence"] = "document",
    against: Annotated[Path | None, NAMED] = None,
    resamples: int = 10_000,
    seed: int = 0,
    lowercase: LowercaseOption = False,
    tokenise: TokeniseOption = False,
    skip_bad: SkipBadOption = False,
    column: str | None = None,
    word_column: str | None = None,
    errors: ErrorsOption = "strict",
    device: DeviceOption = "auto",
    weights: WeightsOption = None,
    format: FormatOption = "text",
    json: JsonOption = False,
) -> None:
    """Compare runs: the settings in which they differ, their figures, and tests of their difference on a text.

    Runs that differ in the seed alone are one row with mean and standard deviation; a compressed run is a row of its
    own. The best validation comes first, among runs whose figures can be compared: perplexities of words, of
    characters and so on, bits per byte, accuracies and F1 are apart.

    With --data or --split, the models are measured on that text, and each row is compared with one of them by a paired
    bootstrap over lines, or over sentences for taggers: the difference of log-perplexity in nats per token, or of
    accuracy, with a 95 % interval and a p-value. The nats of several seeds are averaged line by line. The test tells
    how far another text of this kind would move the difference, and not how far other seeds would.

    Parameters
    ----------
    runs
        Run folders, or folders with runs in them.
    data
        A text to test the models on: a folder of splits or a file. A file is read whole unless --split is given.
    split
        The part of the text, or of the corpus of the runs.
    context
        document: the state is carried from line to line, as evaluate does. sentence: each line is scored
        independently, as score does.
    against
        The run, or one of the runs of a row, that the others are compared with. The default is the best on the text.
    resamples
        The number of times that the bootstrap draws the lines of the text.
    seed
        The seed of the bootstrap.
    column
        The column of the tags (see data.column). The default is that of each run.
    word_column
        The column of the words (see data.word_column). The default is that of each run.
    """
    from refrain.errors import UserError
    from refrain.runs.groups import differing, grouped, scale_of

    form: Format = "json" if json else format
    if not runs:
        raise UserError("which runs? give run folders, or a folder of runs, such as: refrain compare runs")
    if resamples < 1:
        raise UserError(f"--resamples must be at least 1 (got {resamples})")
    if seed < 0:
        raise UserError(f"--seed must be at least 0 (got {seed})")
    options = TextOptions(data, split, errors, lowercase, tokenise, skip_bad, column, word_column)
    tested = data is not None or split is not None
    if not tested:
        _refuse_without_text(options, context, against)
    groups = grouped(_readable(runs, tested=tested))
    names = differing(groups)
    found: dict[int, dict[str, Any]] = {}
    if tested:
        comparison = Comparison(options, context, against, resamples, seed)
        found = compare_on_text(groups, comparison, device=device, weights=weights)
        order = sorted(range(len(groups)), key=lambda place: found[place]["rank"])
        groups = [groups[place] for place in order]
        found = {place: found[before] for place, before in enumerate(order)}
    elif len(scales := dict.fromkeys(each for group in groups if (each := scale_of(group)))) > 1:
        log(f"note: {', '.join(scales)} cannot be compared with each other; rows are sorted within each")
    _report(groups, names, found, form)


def _readable(paths: Sequence[Path], *, tested: bool) -> "list[Compared]":
    """The runs that paths name. One below a folder that cannot be compared is left out, with a note."""
    from refrain.errors import CheckpointError
    from refrain.runs.groups import compared_run, copies_among, runs_at

    found = []
    for path in runs_at(paths):
        try:
            run = compared_run(path)
            if tested and not run.entry.valid and not run.entry.compressed and path not in paths:
                raise CheckpointError(f"{path}: has no validation yet")
        except CheckpointError as error:
            if path in paths:
                raise
            log(f"note: left out: {error}")
            continue
        found.append(run)
        if run.entry.state != "finished":
            log(f"note: {path} is {run.entry.state}; its figures are those so far")
    if not found:
        raise CheckpointError(f"{paths[0]}: no run here can be compared; see what they are with: refrain runs")
    for copy, original in copies_among(found):
        log(f"note: left out: {copy.entry.path}: has the settings, the seed and the figures of {original.entry.path}")
        found.remove(copy)
    return found


def _refuse_without_text(options: TextOptions, context: str, against: Path | None) -> None:
    from .evaluate_tagger import refuse

    given = options.of_language_models() | options.of_taggers()
    given |= {"--context": context != "document", "--against": against}
    refuse(given, "without a text, which --data or --split names")


def _report(groups: "list[Group]", names: list[str], found: dict[int, dict[str, Any]], form: Format) -> None:
    """Print the groups in a format."""
    from refrain.runs.table_cells import figure_cells, value_cell

    documents = [_document(group, names, found.get(place)) for place, group in enumerate(groups)]
    if form == "json":
        print_json({"settings": names, "groups": documents})
        return
    plain = form == "csv"
    of_text = [key for key in ("perplexity", "accuracy", "difference", "low", "high", "p_value", "unknown")
               if any(key in each for each in found.values())]  # fmt: skip
    splits = ("valid", "test")
    of_runs = [name for split in splits for name in (split, *[f"{split} std"] * plain)]
    head = ["run", *names, "seeds", "parameters", "figure", *of_runs, *(f"text {key}" for key in of_text)]
    rows = []
    for place, group in enumerate(groups):
        settings = group.runs[0].settings
        name = group.figure("valid").get("name") or group.figure("test").get("name", "-")
        every = [figure if figure.get("name") == name else {} for figure in map(group.figure, splits)]
        figures = [cell for figure in every for cell in figure_cells(figure, plain=plain)]
        text = [_text_cell(key, found[place].get(key), plain=plain) for key in of_text]
        parameters = group.runs[0].entry.parameters
        shown = [value_cell(settings[name]) if name in settings else "-" for name in names]
        seeds = " ".join(map(str, group.seeds))
        rows.append([group.name, *shown, seeds, _count(parameters, plain=plain), name, *figures, *text])
    if form == "text" and len(names) > max(MANY_SETTINGS, len(rows)):
        head, *rows = map(list, zip(head, *rows, strict=True))
    print_table(head, rows, form)


def _document(group: "Group", names: list[str], text: dict[str, Any] | None) -> dict[str, Any]:
    settings = group.runs[0].settings
    return {
        "name": group.name,
        "runs": [str(run.entry.path) for run in group.runs],
        "states": [run.entry.state for run in group.runs],
        "seeds": group.seeds,
        "settings": {name: settings[name] for name in names if name in settings},
        "parameters": group.runs[0].entry.parameters,
        "valid": group.figure("valid"),
        "test": group.figure("test"),
        **({} if text is None else {"text": {key: value for key, value in text.items() if key != "rank"}}),
    }


def _count(number: int | None, *, plain: bool) -> str:
    if number is None:
        return "" if plain else "-"
    return str(number) if plain else f"{number:,}"


def _text_cell(key: str, value: Any, *, plain: bool) -> str:
    if value is None:
        return "" if plain else "-"
    if key == "perplexity" and not plain:
        from refrain.progress import perplexity_text

        return perplexity_text(value)
    forms = {"accuracy": ".2%", "p_value": ".4f", "unknown": ",", "difference": "+.4f"}
    return f"{value:.6g}" if plain else f"{value:{forms.get(key, '+.4f')}}"
