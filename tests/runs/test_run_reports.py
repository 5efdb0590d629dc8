"""The report of a run: its numbers are those of the run, whatever text it holds, and a failure harms no training."""

import html.parser
import json
import os
import shutil

import pytest
import torch
from short_runs import Stopping
from torch import nn

import refrain
from refrain import runs
from refrain.axes import Axis
from refrain.errors import CheckpointError
from refrain.recipes import RECIPES, description
from refrain.runs.reports import writing
from refrain.runs.reports.curves import MOST_LINES, curves_of, heading, numbers
from refrain.runs.reports.drawing import drawing_of
from refrain.runs.reports.figures import ledger_lines
from refrain.runs.reports.folder import read_run
from refrain.runs.reports.sparse import sparsity_blocks
from refrain.runs.reports.writing import names_of, report_of, report_of_one
from refrain.storage.plain_json import dumps

SCRIPT = "<script>window.broken = 1</script>"
IMAGE = "<img src=x onerror='window.broken = 2'>"


class Tables(html.parser.HTMLParser):
    """The elements of a page, the rows of each table by its identity, and its headings."""

    def __init__(self, text):
        super().__init__()
        self.elements, self.tables, self.headings, self.text = [], {}, [], ""
        self._rows, self._inside = [], ""
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.elements.append(tag)
        self._inside = tag
        if tag == "table":
            self._rows = self.tables.setdefault(dict(attributes).get("id", f"table {len(self.tables)}"), [])
        elif tag == "tr":
            self._rows.append([])
        elif tag in ("td", "th"):
            self._rows[-1].append("")
        elif tag == "h2":
            self.headings.append("")

    def handle_endtag(self, tag):
        self._inside = ""

    def handle_data(self, data):
        self.text += data
        if self._inside in ("td", "th"):
            self._rows[-1][-1] += data
        elif self._inside == "h2":
            self.headings[-1] += data


def report(path):
    return Tables(report_of([read_run(path)]))


def lines_of(run):
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def write_lines(run, lines):
    (run / "metrics.jsonl").write_text("".join(dumps(line) + "\n" for line in lines))


def test_a_run_that_ends_writes_its_report(tiny_run):
    page = Tables((tiny_run / "report.html").read_text())
    assert page.headings == ["Figures", "Curves", "Samples", "Settings", "Data", "Machine"]
    summary = json.loads((tiny_run / "summary.json").read_text())
    (figures,) = [rows for rows in page.tables.values() if rows[0][:2] == ["split", "protocol"]]
    assert figures[1][:2] == ["valid", "zaremba"] and figures[1][4] == f"{summary['valid']['perplexity']:.2f}"
    settings = {row[0]: row[1:] for rows in page.tables.values() if rows[0][0] == "setting" for row in rows}
    assert settings["model.hidden_sizes"] == ["[8]"]
    (other,) = [rows for rows in page.tables.values() if rows[0] == ["setting", "recipe zaremba-small", "this run"]]
    assert ["model.hidden_sizes", "[200,200]", "[8]"] in other
    # published figures of the recipe, and that this run has other settings
    (ledger,) = [rows for rows in page.tables.values() if rows[0][0] == "recipe zaremba-small"]
    assert ledger[1] == ["published", "120.7 / 114.5 (paper), 121.39 / 115.91 (tutorial, last epoch)."]
    assert ledger[-1][0].startswith("this run, with ") and "(protocol zaremba)" in ledger[-1][1]
    assert (tiny_run / "samples" / "epoch-002.txt").read_text().split()[0] in page.text


def test_the_numbers_are_those_of_the_metrics(tiny_run):
    rows = report(tiny_run).tables["numbers"]
    head, *body = rows
    assert head[:4] == ["epoch", "step", "Perplexity, training", "Perplexity, validation"]
    lines = lines_of(tiny_run)
    steps = {row[1]: dict(zip(head, row, strict=True)) for row in body}
    names = {"learning_rate": "Learning rate", "gradient_norm": "Gradient norm", "tokens_per_second": "Speed"}
    for line in lines:
        row = steps[str(line["step"])]
        training = line["event"] == "train"
        which = "training" if training else "validation"
        assert float(row[f"Perplexity, {which}"]) == pytest.approx(line["perplexity"], rel=1e-5)
        for name, title in names.items() if training else ():
            assert float(row[title]) == pytest.approx(line[name], rel=1e-5)
    ends = [line["step"] for line in lines if line["event"] == "valid"]
    assert [float(steps[str(step)]["epoch"]) for step in ends] == [1, 2]


def test_text_of_a_run_is_shown_and_makes_no_element(run_copy, tiny_run):
    """Markup in samples, settings, paths and metrics; the page has the elements of the harmless run."""
    (run_copy / "samples" / "epoch-002.txt").write_text(SCRIPT + IMAGE)
    (run_copy / "recipe.toml").write_text(f"# {SCRIPT}\n")
    config = json.loads((run_copy / "config.json").read_text())
    config["experiment"]["data"]["corpus"] = IMAGE
    (run_copy / "config.json").write_text(json.dumps(config))
    manifest = json.loads((run_copy / "manifest.json").read_text())
    manifest["command"] = manifest["data"]["corpus"] = manifest["data"]["splits"]["train"]["file"] = SCRIPT
    (run_copy / "manifest.json").write_text(json.dumps(manifest))
    lines = lines_of(run_copy)
    write_lines(run_copy, [line | {SCRIPT: 1.0} for line in lines])
    moved = run_copy.rename(run_copy.with_name("<b onclick=x>run"))
    page, before = report(moved), report(tiny_run)
    assert page.elements.count("script") == 1 and "img" not in page.elements and "b" in before.elements
    # what is in the page besides is the chart of a further quantity
    assert set(page.elements) == set(before.elements)
    assert page.text.count(SCRIPT) >= 4 and page.text.count(IMAGE) >= 2 and "<b onclick=x>run" in page.text


def test_what_is_damaged_is_left_out(run_copy):
    with (run_copy / "metrics.jsonl").open("a") as file:
        file.write('[1]\n{"event": "train"}\n{"event": "train", "step": -1, "perplexity": 3}\n{"event": "valid", "st')
    lines = [{"event": "train", "step": 7, "epoch": "x", "window": None, "perplexity": None, "gradient_norm": True}]
    with (run_copy / "metrics.jsonl").open("a") as file:
        file.write("\n" + json.dumps(lines[0]) + "\n")
    for name in ("summary.json", "manifest.json", "recipe.toml"):
        (run_copy / name).unlink()
    shutil.rmtree(run_copy / "samples")
    page = report(run_copy)
    assert page.headings == ["Figures", "Curves", "Settings", "Machine"]
    assert "The run is stopped; its final figures are not measured yet." in page.text
    with pytest.raises(CheckpointError, match="is not a run folder"):
        report_of_one(run_copy / "checkpoints")


def test_an_error_in_the_report_is_one_line(tmp_path, tiny_corpus, tiny_settings, monkeypatch):
    def fail(path, model):
        raise RuntimeError("a\nmistake")

    monkeypatch.setattr(writing, "report_of_one", fail)
    progress = Stopping()
    experiment = refrain.recipe("zaremba-small", *tiny_settings, data=str(tiny_corpus))
    summary = runs.train(experiment, tmp_path / "run", progress=progress)
    assert summary["test"]["perplexity"] > 1 and (tmp_path / "run" / "summary.json").exists()
    assert not (tmp_path / "run" / "report.html").exists()
    (line,) = [line for line in progress.lines if "report.html" in line]
    assert line.startswith("warning: ") and "(RuntimeError: a mistake)" in line and "\n" not in line

    monkeypatch.undo()
    # the end of a resumed run writes it as well
    runs.resume(tmp_path / "run", progress=progress)
    assert "Curves" in report(tmp_path / "run").headings and (tmp_path / "run" / "report.html").exists()


def test_a_link_in_place_of_the_report_is_refused(run_copy, tmp_path):
    (run_copy / "report.html").unlink()
    os.symlink(tmp_path / "mine.html", run_copy / "report.html")
    with pytest.raises(CheckpointError, match=r"report\.html: is a link to another place"):
        runs.resume(run_copy)


def test_several_runs_over_one_another(tiny_run, byte_run, run_copy):
    page = Tables(report_of([read_run(path) for path in (tiny_run, run_copy, byte_run)]))
    names = names_of([tiny_run, run_copy, byte_run])
    assert len(set(names)) == 3 and names[2] == "bytes"
    assert page.headings == ["Comparison", "Curves", *names]
    (differences,) = [rows for rows in page.tables.values() if rows[0][0] == "run"]
    # runs with the same settings are one row, as in refrain compare
    places = [differences[0].index(name) for name in ("data.unit", "training.epochs", "figure")]
    assert differences[0][-5:] == ["seeds", "parameters", "figure", "validation", "test"]
    rows = {tuple(row[place] for place in places) for row in differences[1:]}
    assert rows == {("byte", "1", "bits per byte"), ("word", "2", "perplexity")}
    assert {"numbers-0", "numbers-1", "numbers-2"} <= page.tables.keys()
    # the main curve of a byte model is in bits per byte
    assert page.tables["numbers-2"][0][2] == "Bits per byte, training"


def test_a_report_of_thirteen_epochs_is_small(run_copy):
    """As many lines as thirteen epochs of the Penn Treebank have, with figures of sparsity, and samples."""
    lines, windows = [], 2323
    units = {name: 1500 for name in ("embedding", "layer0.hidden", "layer1.hidden")}
    figures = {"perplexity": 123.456789, "gradient_norm": 3.14159265, "learning_rate": 0.123456789, "sparsity": 0.5}
    figures |= {"group_lasso": 0.002, "units": units, "compact_parameters": 12345678, "tokens_per_second": 12345.6}
    for epoch in range(1, 14):
        for window in (*range(100, windows, 100), windows):
            place = {"epoch": epoch, "window": window, "step": (epoch - 1) * windows + window}
            lines.append({"event": "train", **place, **figures})
        lines.append({"event": "valid", **place, "epoch_ended": True, "best": True, **figures})
        (run_copy / "samples" / f"epoch-{epoch:03d}.txt").write_text("the company said " * 200)
    write_lines(run_copy, lines)
    assert len(report_of([read_run(run_copy)]).encode()) < 400_000
    # of a longer run, some lines are drawn, with all validations
    write_lines(run_copy, [line | {"step": line["step"] + 30_199 * times} for times in range(4) for line in lines])
    curves = curves_of(read_run(run_copy))
    assert curves.every == 3 and len(numbers(curves, "").rows) < MOST_LINES
    assert sum(value is not None for value in next(iter(curves.columns.values()))) > 300


def test_short_lines_at_the_end_of_epochs_are_not_drawn(run_copy):
    places = [(1, 100), (1, 200), (1, 203), (2, 100), (2, 200), (2, 203)]
    lines = [
        {"event": "train", "epoch": epoch, "window": window, "step": 203 * (epoch - 1) + window, "perplexity": 5.0}
        for epoch, window in places
    ]
    lines.append({"event": "valid", "epoch": 1, "window": 203, "step": 203, "perplexity": 6.0, "epoch_ended": True})
    write_lines(run_copy, lines)
    curves = curves_of(read_run(run_copy))
    assert curves.steps == [100, 200, 203, 303, 403] and curves.x[:3] == [100 / 203, 200 / 203, 1]
    # the number of windows of an epoch is in the lines of training, also before the first has ended
    write_lines(run_copy, [line | {"windows": 400} for line in lines[:2]])
    curves = curves_of(read_run(run_copy))
    assert (curves.across, curves.x) == ("epoch", [0.25, 0.5])
    write_lines(run_copy, lines[:2])
    assert (curves_of(read_run(run_copy)).across, curves_of(read_run(run_copy)).x) == ("step", [100, 200])


def test_the_accuracy_in_training_is_that_of_whole_epochs(run_copy):
    lines = []
    for epoch, right in ((1, 0.25), (2, 0.5)):
        place = {"epoch": epoch, "windows": 4, "perplexity": 9.0 / epoch}
        for window, far in ((2, right / 2), (4, right)):
            step = 4 * (epoch - 1) + window
            lines.append({"event": "train", "window": window, "step": step, "train_accuracy": far, **place})
        lines.append(lines[-1] | {"event": "valid", "epoch_ended": True})
    write_lines(run_copy, lines)
    columns = {heading(quantity): values for quantity, values in curves_of(read_run(run_copy)).columns.items()}
    assert [*columns] == ["Perplexity, training", "Perplexity, validation", "Accuracy in training (%)"]
    assert columns["Accuracy in training (%)"] == [None, 25.0, None, 50.0]
    (chart,), *_ = drawing_of([read_run(run_copy)], "accuracy")
    assert [(line.x, line.y) for line in chart.lines] == [([1.0, 2.0], [25.0, 50.0])]
    drawn = drawing_of([read_run(run_copy)], "main")
    assert [chart.title for chart in drawn.charts] == ["Perplexity", "Accuracy in training"]


def test_the_ledger_reads_what_recipes_say():
    text = "A model.\n\nPublished: 1 / 2 (paper), and\nthree.\nOurs: not measured.\n\nMore text.\nOurs (bf16): 4."
    found = ledger_lines(text)
    assert found == {"published": "1 / 2 (paper), and three.", "ours": "not measured.", "ours (bf16)": "4."}
    assert all("published" in ledger_lines(description(name)) for name in ("zaremba-small", "awd-lstm-ptb"))
    assert sum(bool(ledger_lines(description(name))) for name in RECIPES) > len(RECIPES) * 2 / 3


def test_what_a_notebook_shows(tiny_run, byte_run):
    curves = runs.curves([tiny_run, byte_run])
    assert {"tiny", "bytes"} == curves.columns.keys()
    assert curves.columns["tiny"]["epoch"][-1] == 2 and curves._repr_html_().count("<svg class=") > 5
    assert repr(curves).startswith("RunCurves('tiny', 'bytes'")
    lm = refrain.load(tiny_run)
    shown = lm._repr_html_()
    assert "lstm 8-8" in shown and "680" in shown and "MB" in shown
    scored = lm.surprisal(["ant bee <b>", "cat"])
    assert isinstance(scored, list) and len(scored) == 4
    assert f"{scored[0].surprisal_bits:.2f} bits" in scored._repr_html_()
    assert "&lt;b&gt;" in scored._repr_html_() and "unknown" in scored._repr_html_()


def test_a_network_without_a_stack_has_no_row_of_its_layers():
    class Plain(nn.Module):
        def __init__(self):
            super().__init__()
            self.table = nn.Parameter(torch.randn(4, 3))

        def axes(self):
            return {"table": (Axis("units"), Axis("inputs", role="reads"))}

        def widths(self):
            return {"units": 4, "inputs": 3}

    sizes, *_ = sparsity_blocks(Plain())
    assert [row[0] for row in sizes.rows] == ["parameters", "multiply-adds per token"]
