"""Draw pictures of docs/recipes.md from its tables: `python docs/drawings.py`. Needs the extra `plot`."""

import pathlib
import re
from typing import Any, NamedTuple

from refrain.pictures.canvas import empty_figure, image_bytes

DOCS = pathlib.Path(__file__).parent
GRID = re.compile(
    r"^\| (?P<kind>dense|sparse), (?P<width>\d+) wide(?:, density (?P<density>1/\d))?(?P<reversed>, reversed order)?"
    r"(?: \(as above\))? \| (?P<weights>[\d,]+) \| (?P<mean>[\d.]+) ± (?P<deviation>[\d.]+) % \| \d+ \|$",
    re.MULTILINE,
)
# label, colour and marker of the lines: dense, sparse, sparse in the reversed order
LINES = {
    "dense": ("dense", "#52606d", "o"),
    "sparse": ("sparse, long for frequent words", "#0072b2", "s"),
    "reversed": ("sparse, long for rare words", "#d55e00", "^"),
}
# for each row of the table of zaremba-medium-iss: how it begins, label, colour and marker
TRADES = (
    ("dense, 650-650-650", "dense, 650-650", "#52606d", "o"),
    ("group lasso,", "group lasso, 172-650", "#d55e00", "^"),
    ("units removed by their loss,", "units removed, 363-482", "#56b4e9", "v"),
    ("the same, trained", "the same, trained on", "#0072b2", "s"),
    ("the same sizes from scratch,", "the same sizes from scratch", "#cc79a7", "P"),
    ("dense, 60 %", "dense, 60 % zeros", "#009e73", "D"),
)


class Cell(NamedTuple):
    """A cell of the grid of vectors of taggers."""

    line: str
    name: str
    weights: int
    mean: float
    deviation: float


def grids() -> list[list[Cell]]:
    """The two tables of the grid, of the WSJ sample and of EWT."""
    page = (DOCS / "recipes.md").read_text()
    cells = []
    for found in GRID.finditer(page):
        line = "reversed" if found["reversed"] else found["kind"]
        name = found["width"] + (f", {found['density']}" if found["density"] else "")
        weights = int(found["weights"].replace(",", ""))
        cells.append(Cell(line, name, weights, float(found["mean"]), float(found["deviation"])))
    half = len(cells) // 2
    return [cells[:half], cells[half:]]


def panel(axes: Any, cells: list[Cell], low: float, high: float, *, names: bool) -> None:
    """Draw one grid: accuracy over the weights of the vectors, with a bar of one standard deviation."""
    for line, (label, colour, marker) in LINES.items():
        chosen = sorted((cell for cell in cells if cell.line == line), key=lambda cell: (cell.weights, cell.mean))
        weights = [cell.weights / 1000 for cell in chosen]
        means, bars = [cell.mean for cell in chosen], [cell.deviation for cell in chosen]
        joined = "-" if line == "dense" else ""
        axes.errorbar(
            weights, means, bars, label=label, color=colour, marker=marker, markersize=4, capsize=2, linestyle=joined
        )
        for cell in chosen if names else []:
            if low <= cell.mean <= high:
                place = (cell.weights / 1000, cell.mean)
                axes.annotate(cell.name, place, (5, -9), textcoords="offset points", fontsize=7)
    axes.set_xscale("log")
    axes.set_xticks(sorted({cell.weights / 1000 for cell in cells}), minor=False)
    axes.set_xticks([], minor=True)
    axes.xaxis.set_major_formatter("{x:.0f}")
    axes.margins(x=0.15)
    axes.set_ylim(low, high)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=8)


def pos() -> None:
    """Accuracy of taggers over the weights of their vectors, with the upper range of it enlarged above."""
    figure = empty_figure(7.2, 5.2, constrained=True)
    panels = figure.subplots(2, 2, sharex="col", height_ratios=(1, 1))
    titles = ("WSJ sample, 45 tags", "UD English-EWT, 17 tags")
    for column, (cells, title) in enumerate(zip(grids(), titles, strict=True)):
        panel(panels[0][column], cells, 86.5, 92, names=True)
        panel(panels[1][column], cells, 55, 95, names=False)
        panels[0][column].set_title(title, fontsize=9)
        panels[1][column].set_xlabel("weights of the vectors, thousands", fontsize=8)
    for row in panels:
        row[0].set_ylabel("test accuracy, %", fontsize=8)
    handles, labels = panels[1][1].get_legend_handles_labels()
    figure.legend(handles, labels, frameon=False, fontsize=8, ncols=3, loc="outside lower center")
    (DOCS / "pos.svg").write_bytes(image_bytes(figure, "svg"))


def trades(first: str) -> list[list[str]]:
    """The cells of a table of the page about recipes, one list a row, from the row that begins with some text on."""
    page = (DOCS / "recipes.md").read_text()
    table = page[page.index(f"| {first}") :].split("\n\n")[0]
    return [[cell.strip().strip("*") for cell in row.strip("|").split("|")] for row in table.splitlines()]


def trade_off() -> None:
    """Test perplexity of `zaremba-medium` and its smaller models over the time of a token, in float32 and in int8."""
    figure = empty_figure(4.6, 3.2, constrained=True)
    axes = figure.subplots()
    for row in trades("dense, 650-650-650"):
        label, colour, marker = next(named[1:] for named in TRADES if row[0].startswith(named[0]))
        test, time, int8_test, int8_time = row[5:9]
        axes.plot(float(time), float(test), marker, color=colour, label=label, markersize=5)
        if int8_time:
            axes.plot(float(int8_time), float(int8_test), marker, color=colour, markersize=5, fillstyle="none")
    axes.set_xlabel("time of a token, 1 is the dense model in float32; hollow: int8 weights", fontsize=8)
    axes.set_ylabel("test perplexity", fontsize=8)
    axes.set_xlim(0, 1.1)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=8)
    axes.legend(frameon=False, fontsize=7)
    (DOCS / "medium-iss.svg").write_bytes(image_bytes(figure, "svg"))


def equal_time() -> None:
    """Test perplexity over multiply-adds: a model of 200 units, what is made of it, and smaller ones from scratch."""
    figure = empty_figure(4.6, 3.2, constrained=True)
    axes = figure.subplots()
    rows = trades("dense, 200-200-200")
    points = {row[0]: (float(row[3].replace(",", "")) / 1e6, float(row[6])) for row in rows}
    whole = points["dense, 200-200-200"]
    scratch = [point for name, point in points.items() if name.startswith("dense from scratch")]
    lasso = [point for name, point in points.items() if name.startswith("group lasso")]
    tuned = [(float(row[3].replace(",", "")) / 1e6, float(row[6])) for row in rows if row[0].startswith("the same")]
    axes.plot(*zip(whole, *tuned, strict=True), "s-", color="#0072b2", markersize=5, label="units removed")
    axes.plot(*zip(*lasso, strict=True), "^", color="#009e73", markersize=6, label="group lasso")
    axes.plot(*zip(*scratch, strict=True), "P", color="#cc79a7", markersize=6, label="dense from scratch")
    axes.plot(*whole, "o", color="#52606d", markersize=6, label="dense, 200 units, the start")
    axes.set_xlabel("multiply-adds a token, millions", fontsize=8)
    axes.set_ylabel("test perplexity", fontsize=8)
    axes.set_xlim(0, 2.8)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=8)
    axes.legend(frameon=False, fontsize=7)
    (DOCS / "equal-time.svg").write_bytes(image_bytes(figure, "svg"))


if __name__ == "__main__":
    pos()
    trade_off()
    equal_time()
