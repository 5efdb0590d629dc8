"""A run whose training has diverged has an infinite perplexity, which JSON has as null and every command shows."""

import json
import shutil

import pytest

from refrain.cli.app import main
from refrain.evaluation.perplexity import guessing_concerns
from refrain.progress import perplexity_text
from refrain.runs.figure_names import rank, with_infinity
from refrain.training.progress import loss_text

SWEEP = """extends = "zaremba-small"
data.corpus = "{corpus}"
model.embedding_size = 8
model.hidden_sizes = [8]
training.epochs = 1
training.batch_size = 4
training.window_steps = 5
training.sample_tokens = 0
training.device = "cpu"

[sweep.space]
training.learning_rate = [{rates}]
"""


@pytest.fixture(scope="module")
def diverged(tmp_path_factory, tiny_corpus, tiny_settings):
    out = tmp_path_factory.mktemp("diverged") / "run"
    words = ["train", "zaremba-small", *tiny_settings, "training.epochs=1", "training.learning_rate=1e7"]
    assert main([*map(str, [*words, "--data", tiny_corpus, "--out", out])]) == 0
    summary = json.loads((out / "summary.json").read_text())
    assert summary["test"]["perplexity"] is None and summary["test"]["nats_per_token"] > 700
    return out


def test_a_perplexity_of_null_beside_its_nats_is_infinite():
    inf = float("inf")
    assert with_infinity({"perplexity": None, "nats_per_token": 800.0})["perplexity"] == inf
    assert with_infinity({"perplexity": None, "nats_per_token": None})["perplexity"] is None
    # without any other tokens there is no figure without unknown ones
    others = {"perplexity_without_unknown": None, "nats_per_token_without_unknown": None}
    assert with_infinity({"perplexity": 3.0, "nats_per_token": 1.1} | others)["perplexity_without_unknown"] is None
    assert rank(with_infinity({"perplexity": None, "nats_per_token": 800.0})) == inf


def test_large_perplexities_are_short():
    values = [999_999.0, 1e6, 3.21e91, float("inf")]
    assert [perplexity_text(value) for value in values] == ["999,999.00", "1.00e+06", "3.21e+91", "inf"]
    assert loss_text(210.0).startswith("perplexity 1.59e+91")


def test_the_run_has_its_report_and_card(diverged):
    assert "| valid | zaremba | " in (diverged / "README.md").read_text()
    assert "| inf |" in (diverged / "README.md").read_text()
    assert "<td>inf</td>" in (diverged / "report.html").read_text()


def test_pages_of_one_run_and_of_several(refrain, diverged, tiny_run, tmp_path):
    assert refrain("report", diverged, "--out", tmp_path / "one.html").status == 0
    assert refrain("report", tiny_run, diverged, "--out", tmp_path / "two.html").status == 0
    for name in ("one", "two"):
        assert "<td>inf</td>" in (tmp_path / f"{name}.html").read_text()


def test_lists_of_runs(refrain, diverged, tiny_run):
    assert refrain("runs", diverged).out.splitlines()[1].split()[6:9] == ["1/1", "inf", "inf"]
    first, second = refrain("compare", diverged, tiny_run).out.splitlines()[1:]
    assert first.startswith(str(tiny_run)) and second.split()[-2:] == ["inf", "inf"]
    assert " inf  " in refrain("watch", diverged, "--all").out


def test_training_ends_with_the_cause(refrain, diverged):
    lines = json.loads((diverged / "summary.json").read_text())["warnings"]
    assert len(lines) == 2
    for line in lines:
        assert "(inf) is above 8, " in line and line.endswith(
            "diverged; train again with a lower training.learning_rate"
        )
    concerns = guessing_concerns({"little": {"perplexity": 9.0}, "much": {"perplexity": 1e8}}, 8)
    assert "train it longer" in concerns[0] and "(1.00e+08) is above 8" in concerns[1] and "diverged" in concerns[1]
    outcome = refrain("evaluate", diverged)
    assert outcome.status == 0 and "lower training.learning_rate" in outcome.err


def test_a_picture_says_why_a_run_is_not_drawn(refrain, mistake, diverged, tiny_run, run_copy, tmp_path):
    pytest.importorskip("matplotlib")
    out = tmp_path / "x.svg"
    reason = "has no finite perplexity to draw, as its training has diverged; choose other curves"
    mistake(4, ["plot", diverged, "--out", out], f"{diverged}: {reason}")
    done = refrain("plot", diverged, tiny_run, "--out", out, "--json")
    assert done.json["runs"] == [str(tiny_run)] and f"note: not drawn: {diverged}: {reason}" in done.err
    assert refrain("plot", diverged, "--curves", "all", "--out", tmp_path / "all.svg").status == 0
    (run_copy / "metrics.jsonl").write_text("")
    mistake(4, ["plot", run_copy, "--out", tmp_path / "y.svg"], "nothing was recorded while it trained")
    (run_copy / "summary.json").unlink()
    mistake(4, ["plot", run_copy, "--out", tmp_path / "y.svg"], "wait for the first lines of metrics.jsonl")


def test_a_sweep_names_the_cells(refrain, mistake, tiny_corpus, write, tmp_path):
    file, out = write("some.toml", SWEEP.format(corpus=tiny_corpus, rates="1e7, 0.5")), tmp_path / "out"
    done = refrain("sweep", file, "--out", out, "--quiet")
    assert "2 cells: 2 done" in done.out and "best of 1" in done.out
    place = done.out.splitlines().index("diverged")
    assert done.out.splitlines()[place + 2].split() == ["0001", "training.learning_rate=10000000.0", "inf"]
    assert refrain("report", out, "--out", tmp_path / "x.html").status == 0
    file = write("all.toml", SWEEP.format(corpus=tiny_corpus, rates="1e7"))
    refrain("sweep", file, "--out", tmp_path / "all", "--quiet")
    words = ["sweep", file, "--out", tmp_path / "all", "--best", tmp_path / "best.toml"]
    mistake(4, words, "the training of every cell that is done has diverged; lower training.learning_rate")


def test_compression_names_the_cause(mistake, diverged, tmp_path):
    words = ["compress", diverged, "--weights", "int8", "--out", tmp_path / "small"]
    line = mistake(2, words, "is infinite before anything is compressed", "lower training.learning_rate")
    assert "nan" not in line


def test_export_names_the_cause(mistake, diverged, tmp_path):
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    # its log-probabilities are so large that rounding shifts them by more than is allowed
    line = mistake(4, ["export", diverged, "--out", tmp_path / "x.onnx"])
    assert "the perplexity of the model is infinite" in line and "report this" not in line


def test_a_compressed_run_that_was_forced(refrain, diverged, tmp_path):
    small = tmp_path / "small"
    assert refrain("compress", diverged, "--weights", "int8", "--force", "--out", small).status == 0
    assert refrain("runs", small).out.splitlines()[1].split()[6:9] == ["-", "-", "inf"]
    assert refrain("report", small, "--out", tmp_path / "x.html").status == 0
    assert (tmp_path / "x.html").read_text().count("<td>inf</td>") == 2


def test_a_summary_without_figures_is_no_traceback(refrain, diverged, tmp_path):
    run = shutil.copytree(diverged, tmp_path / "run", symlinks=True)
    summary = json.loads((run / "summary.json").read_text())
    summary["test"]["nats_per_token"] = None
    (run / "summary.json").write_text(json.dumps(summary))
    assert refrain("report", run, "--out", tmp_path / "x.html").status == 0
