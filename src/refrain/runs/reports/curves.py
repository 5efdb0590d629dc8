"""The curves of runs: the quantities in the lines of metrics, as columns of a table of numbers and as charts."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from refrain.config.sparsity import MEASURES
from refrain.pictures.report.blocks import Table
from refrain.pictures.report.chart import Chart, Line
from refrain.pictures.report.scales import exact

from ..figure_names import deciding
from .folder import RunData, number
from .places import has_place, long_lines, place_of, windows_of

# the lines of training, of one run or of all runs of a report together, beyond which only some are drawn
MOST_LINES = 500
# quantities of methods of the user's own
MOST_OWN = 12


class Quantity(NamedTuple):
    """What is drawn as one line.

    Attributes:
        chart: the title of its chart.
        name: its name there; empty where it is the only one.
        note: the unit, or an explanation; may be empty.
        logarithmic: whether its scale may be logarithmic.
        from_zero: whether a linear scale begins at zero.
    """

    chart: str
    name: str = ""
    note: str = ""
    logarithmic: bool = False
    from_zero: bool = False


class Curves(NamedTuple):
    """The curves of a run.

    Attributes:
        across: `epoch`, or `step` where the number of windows of an epoch is not known.
        x: the place of each line: epochs that are finished, or steps.
        columns: for each quantity its values at these places, None where there is none.
        steps: the number of training steps of each line.
        best: the index of the best validation, or None.
        every: how many lines of training there are for each that is shown.
    """

    across: str
    x: list[float]
    columns: dict[Quantity, list[float | None]]
    steps: list[int]
    best: int | None
    every: int


PERPLEXITY = "Perplexity"
_TRAINING, _VALIDATION = "training", "validation"
_PLAIN = {
    "learning_rate": Quantity("Learning rate", from_zero=True),
    "gradient_norm": Quantity("Gradient norm", note="before clipping", logarithmic=True),
    "tokens_per_second": Quantity("Speed", note="tokens per second", from_zero=True),
    "compact_parameters": Quantity("Size once compacted", "parameters", from_zero=True),
    "group_lasso": Quantity("Strength of the group lasso", logarithmic=True, from_zero=True),
}
_SHARES = {"sparsity": Quantity("Zeros in the matrices", note="%", from_zero=True)}
_GROUPS = {"units": Quantity("Units that are not dead", note="by width", from_zero=True)}
# what is not drawn: places, times, and what is drawn under another name
_OTHER = {
    "event", "epoch", "epoch_ended", "window", "step", "train_nats_per_token", "train_perplexity", "best", "accuracy",
    "train_bits_per_byte", "nats_per_token", "perplexity", "bits_per_byte", "wall_seconds", "dead_units", "span_f1",
    "windows", "last_step",
}  # fmt: skip


def curves_of(run: RunData, most: int = MOST_LINES) -> Curves:
    """The curves of a run.

    Args:
        run: the run.
        most: the number of lines of training beyond which only some are taken, at equal distances.
    """
    lines = [line for line in run.metrics if line.get("event") in ("train", "valid") and has_place(line)]
    trained = long_lines(line for line in lines if line["event"] == "train")
    every = -(-len(trained) // most) or 1
    kept = {id(line) for line in trained[::-1][::every]}
    lines = [line for line in lines if line["event"] == "valid" or id(line) in kept]
    windows = windows_of(run.metrics)
    merged: dict[int, dict[Quantity, float]] = {}
    places: dict[int, float] = {}
    best = None
    for line in lines:
        merged.setdefault(line["step"], {}).update(_values(run, line))
        places[line["step"]] = place_of(line, windows)
        best = line["step"] if line["event"] == "valid" and line.get("best") is True else best
    steps = sorted(merged)
    found = dict.fromkeys(quantity for step in steps for quantity in merged[step])
    columns = {quantity: [merged[step].get(quantity) for step in steps] for quantity in _ordered(found)}
    return Curves(
        "epoch" if windows else "step",
        [places[step] for step in steps],
        columns,
        steps,
        None if best is None else steps.index(best),
        every,
    )


def numbers(curves: Curves, identity: str) -> Table:
    """The table of all numbers of the curves of a run, in which the script of a page finds exact values.

    Args:
        curves: the curves.
        identity: the name by which charts refer to the table.
    """
    second = "step" if curves.across == "epoch" else ""
    head = [curves.across, *([second] if second else []), *(heading(quantity) for quantity in curves.columns)]
    rows = [
        [
            exact(round(x, 4)),
            *([str(step)] if second else []),
            *(exact(column[place]) for column in curves.columns.values()),
        ]
        for place, (x, step) in enumerate(zip(curves.x, curves.steps, strict=True))
    ]
    return Table(head, rows, texts=0, identity=identity)


def heading(quantity: Quantity) -> str:
    """The name of a quantity where its chart is not named."""
    unit = " (%)" if quantity.note == "%" else ""
    return f"{quantity.chart}, {quantity.name}{unit}" if quantity.name else f"{quantity.chart}{unit}"


def charts_of_one(curves: Curves, identity: str, levels: Mapping[str, tuple[str, float]]) -> list[Chart]:
    """The charts of one run: quantities that belong together are lines of one chart.

    Args:
        curves: the curves of the run.
        identity: the table of its numbers.
        levels: for the title of a chart, a name and a value to draw as a horizontal line.
    """
    titles: dict[str, list[Quantity]] = {}
    for quantity in curves.columns:
        titles.setdefault(quantity.chart, []).append(quantity)
    charts = []
    for title, quantities in titles.items():
        lines = []
        for place, quantity in enumerate(quantities):
            lines.append(_line(curves, quantity, quantity.name or title, place, identity))
        charts.append(_chart(title, quantities[0], _background(lines), curves.across, levels.get(title)))
    return [chart._replace(until=max(curves.x)) for chart in charts]


def charts_of_several(runs: Sequence[tuple[str, Curves, str]]) -> list[Chart]:
    """The charts of several runs: a chart for each quantity, with a line for each run.

    Args:
        runs: for each run its name, its curves and the table of its numbers.
    """
    across = "epoch" if all(curves.across == "epoch" for _, curves, _ in runs) else "step"
    found = dict.fromkeys(quantity for _, curves, _ in runs for quantity in curves.columns)
    until = max(max(curves.x if across == "epoch" else map(float, curves.steps)) for _, curves, _ in runs)
    charts = []
    # runs are compared by their validation
    for quantity in sorted(_ordered(found), key=lambda quantity: quantity.name != _VALIDATION):
        lines = []
        for place, (name, curves, identity) in enumerate(runs):
            if quantity in curves.columns:
                if across == "step":
                    curves = curves._replace(x=[float(step) for step in curves.steps])
                lines.append(_line(curves, quantity, name, place, identity if curves.across == across else None))
        charts.append(_chart(heading(quantity._replace(note="")), quantity, lines, across, None)._replace(until=until))
    return charts


def _chart(title: str, quantity: Quantity, lines: list[Line], across: str, level: tuple[str, float] | None) -> Chart:
    values = [value for line in lines for value in line.y]
    if level is not None and not min(values) <= level[1] <= 1.2 * max(values):
        # it would press the curve to the edge
        level = None
    return Chart(title, quantity.note, lines, across, quantity.logarithmic, quantity.from_zero, level)


def _line(curves: Curves, quantity: Quantity, name: str, colour: int, identity: str | None) -> Line:
    column = curves.columns[quantity]
    points = [
        (x, value, place) for place, (x, value) in enumerate(zip(curves.x, column, strict=True)) if value is not None
    ]
    validation = quantity.name == _VALIDATION
    best = next((index for index, point in enumerate(points) if validation and point[2] == curves.best), None)
    first = 2 if curves.across == "epoch" else 1
    table = None if identity is None else (identity, first + list(curves.columns).index(quantity))
    x, y = [point[0] for point in points], [point[1] for point in points]
    return Line(name, x, y, colour, marked=validation, best=best, table=table)


def _background(lines: list[Line]) -> list[Line]:
    """The lines of a chart of training and validation, where validation has the first colour."""
    names = [line.name for line in lines]
    if names != [_TRAINING, _VALIDATION]:
        return lines
    return [lines[0]._replace(faint=True, colour=1), lines[1]._replace(colour=0)]


def _values(run: RunData, line: Mapping[str, Any]) -> dict[Quantity, float]:
    """The values of a line of metrics."""
    found = dict(_main(run, line))
    for name, value in line.items():
        if name in _GROUPS and isinstance(value, dict):
            found |= {
                _GROUPS[name]._replace(name=str(key)): each
                for key, given in value.items()
                if (each := _real(given)) is not None
            }
        elif (each := _real(value)) is None:
            continue
        elif name == "controlled_size":
            found[_PLAIN["compact_parameters"]._replace(name=_steered(run))] = each
        elif name in _PLAIN:
            found[_PLAIN[name]] = each
        elif name in _SHARES:
            found[_SHARES[name]] = 100 * each
        elif name not in _OTHER:
            found[Quantity(name, note="of a method")] = each
    return found


def _steered(run: RunData) -> str:
    """The size of which a target was set."""
    target = getattr(getattr(run.experiment, "sparsity", None), "target", None)
    measure = next((name for name in MEASURES if getattr(target, name, None) is not None), "size")
    return f"{measure.replace('_', '-')}, steered"


def _main(run: RunData, line: Mapping[str, Any]) -> Iterator[tuple[Quantity, float]]:
    """What the model is judged by, of the training or the validation text."""
    which = _TRAINING if line["event"] == "train" else _VALIDATION
    chart, key = PERPLEXITY, "perplexity"
    if run.is_tagger:
        chart, key = "Nats per word", "nats_per_token"
    elif deciding(line) == "bits_per_byte":
        chart, key = "Bits per byte", "bits_per_byte"
    if (value := _real(line.get(key))) is not None:
        yield Quantity(chart, which, logarithmic=True), value
    for key, title in (("accuracy", "Accuracy"), ("span_f1", "F1 of spans")):
        if (value := _real(line.get(key))) is not None:
            yield Quantity(title, which, "%"), 100 * value


def _ordered(found: Iterable[Quantity]) -> list[Quantity]:
    """The figures of the model first, training before validation, then the course of the training, then the size."""
    titles = ["Accuracy", "F1 of spans", PERPLEXITY, "Bits per byte", "Nats per word"]
    titles += ["Learning rate", "Gradient norm", "Speed", "Zeros in the matrices", "Units that are not dead"]
    titles += ["Size once compacted", "Strength of the group lasso"]
    known = {title: place for place, title in enumerate(titles)}
    places = [quantity for quantity in found if quantity.chart in known]
    own = [quantity for quantity in found if quantity.chart not in known][:MOST_OWN]
    return [*sorted(places, key=lambda quantity: (known[quantity.chart], quantity.name == _VALIDATION)), *own]


def _real(value: Any) -> float | None:
    found = number(value)
    return None if found is None else float(found)
