"""The curves of runs: the quantities in the lines of metrics, as columns of numbers."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from refrain.config.sparsity import MEASURES
from refrain.pictures.report.blocks import Table
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
        across: `epoch`, or `step` where the number of windows of an epoch is not known; see `along`.
        x: the place of each line: epochs that are finished, steps, or minutes.
        columns: for each quantity its values at these places, None where there is none.
        steps: the number of training steps of each line.
        seconds: the time of training until each line, None where the line does not say it.
        best: the index of the best validation, or None.
        every: how many lines of training there are for each that is shown.
    """

    across: str
    x: list[float]
    columns: dict[Quantity, list[float | None]]
    steps: list[int]
    seconds: list[float | None]
    best: int | None
    every: int


PERPLEXITY = "Perplexity"
TRAINING, VALIDATION = "training", "validation"
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
    "windows", "last_step", "train_accuracy",
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
    seconds: dict[int, float | None] = {}
    best = None
    for line in lines:
        merged.setdefault(line["step"], {}).update(_values(run, line))
        places[line["step"]] = place_of(line, windows)
        seconds[line["step"]] = _real(line.get("wall_seconds"))
        best = line["step"] if line["event"] == "valid" and line.get("best") is True else best
    steps = sorted(merged)
    found = dict.fromkeys(quantity for step in steps for quantity in merged[step])
    columns = {quantity: [merged[step].get(quantity) for step in steps] for quantity in ordered(found)}
    return Curves(
        "epoch" if windows else "step",
        [places[step] for step in steps],
        columns,
        steps,
        [seconds[step] for step in steps],
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
    which = TRAINING if line["event"] == "train" else VALIDATION
    chart, key = PERPLEXITY, "perplexity"
    if run.is_tagger:
        chart, key = "Nats per word", "nats_per_token"
    elif deciding(line, run.compared.entry.unit) == "bits_per_byte":
        chart, key = "Bits per byte", "bits_per_byte"
    if (value := _real(line.get(key))) is not None:
        yield Quantity(chart, which, logarithmic=True), value
    for key, title in (("accuracy", "Accuracy"), ("span_f1", "F1 of spans")):
        if (value := _real(line.get(key))) is not None:
            yield Quantity(title, which, "%"), 100 * value
    # the lines of training have the share since the epoch began, those of validation that of the epoch
    if line["event"] == "valid" and (value := _real(line.get("train_accuracy"))) is not None:
        yield Quantity("Accuracy in training", note="%", from_zero=True), 100 * value


def ordered(found: Iterable[Quantity]) -> list[Quantity]:
    """The figures of the model first, training before validation, then the course of the training, then the size."""
    titles = ["Accuracy", "F1 of spans", PERPLEXITY, "Bits per byte", "Nats per word", "Accuracy in training"]
    titles += ["Learning rate", "Gradient norm", "Speed", "Zeros in the matrices", "Units that are not dead"]
    titles += ["Size once compacted", "Strength of the group lasso"]
    known = {title: place for place, title in enumerate(titles)}
    places = [quantity for quantity in found if quantity.chart in known]
    own = [quantity for quantity in found if quantity.chart not in known][:MOST_OWN]
    return [*sorted(places, key=lambda quantity: (known[quantity.chart], quantity.name == VALIDATION)), *own]


def _real(value: Any) -> float | None:
    found = number(value)
    return None if found is None else float(found)
