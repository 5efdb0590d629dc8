"""`refrain probe` on a byte model in which one unit counts letters, and labels that follow from the count."""

import json
import random
import shutil

import pytest

from refrain.storage.checkpoint import Checkpoint, save

UNIT = 5
NAMES = ["heat-map.html", "heat-map.png", "histogram.png", "probe.json"]


@pytest.fixture(scope="module")
def run(byte_run, tmp_path_factory):
    """The byte model with a unit that adds for each `g` and takes away for each `b`, which no other unit sees."""
    run = tmp_path_factory.mktemp("planted") / "run"
    shutil.copytree(byte_run, run, symlinks=True)
    checkpoint = Checkpoint((run / "best").resolve())
    tensors, width = checkpoint.tensors("model"), 8
    tensors["embedding.weight"][:, 0] = 0.0
    tensors["embedding.weight"][ord("g"), 0], tensors["embedding.weight"][ord("b"), 0] = 1.0, -1.0
    tensors["stack.layers.0.weight_hh"][:, UNIT] = tensors["stack.layers.0.weight_ih"][:, 0] = 0.0
    for gate, bias in enumerate((20.0, 20.0, 0.0, 0.0)):
        row = gate * width + UNIT
        tensors["stack.layers.0.weight_ih"][row], tensors["stack.layers.0.weight_hh"][row] = 0.0, 0.0
        tensors["stack.layers.0.bias"][row] = bias
    tensors["stack.layers.0.weight_ih"][2 * width + UNIT, 0] = 1.0
    documents = {name: checkpoint.document(name) for name in ("config", "vocabulary", "training")}
    save(checkpoint.folder, {"model": tensors, "training": checkpoint.tensors("training")}, documents)
    return run


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Sentences of as many words; `good` outnumbers `bad` in those labelled pos."""
    folder, draw = tmp_path_factory.mktemp("data"), random.Random(2)
    for split, rows in (("train", 120), ("dev", 60), ("test", 60)):
        lines = []
        for _ in range(rows):
            label = draw.choice(["neg", "pos"])
            own = ["good", "bad"] if label == "pos" else ["bad", "good"]
            words = own[:1] * draw.randint(3, 5) + own[1:] * draw.randint(0, 2) + ["tale"] * draw.randint(0, 3)
            draw.shuffle(words)
            lines.append(f"{label}\t{' '.join(words)} é\n")
        (folder / f"{split}.tsv").write_text("".join(lines), encoding="utf-8")
    return folder


def test_the_planted_unit_is_found(refrain, run, data):
    found = refrain("probe", run, "--data", data, "--json").json
    assert (found["best_unit"], found["best_unit_above"]) == (UNIT, "pos")
    assert found["best_unit_accuracy"] == 1.0
    assert -0.8 < found["best_unit_threshold"] < 0.8
    assert found["accuracy"] >= 0.95 and 1 <= found["units_used"] <= 8 == found["units"]
    low, high = found["interval"]
    assert 0.8 < low < found["accuracy"] <= high
    assert (found["which"], found["layer"], found["cleaning"], found["labels"]) == ("cell", 0, "none", ["neg", "pos"])
    assert found["train"]["texts"] == 120 and found["valid"]["unknown"] == 0
    assert [row["name"] for row in found["rows"]] == ["trained"]


def test_baselines_stand_in_rows(refrain, run, data):
    found = refrain("probe", run, "--data", data, "--baselines", "--json").json
    trained, untrained, words = found["rows"]
    assert [row["name"] for row in found["rows"]] == ["trained", "untrained", "bag of words"]
    assert trained["test_accuracy"] == found["accuracy"] and trained["p_value"] is None
    assert untrained["features"] == 8 and words["features"] == 4
    # which of the words stand in a text says little, as both mostly do
    assert untrained["test_accuracy"] < trained["test_accuracy"] and words["test_accuracy"] < 0.95
    assert 0 < untrained["p_value"] < 0.05 and 0 < words["p_value"] <= 1
    assert words["best_unit_accuracy"] is None
    # the untrained network is drawn from the run's seed
    assert refrain("probe", run, "--data", data, "--baselines", "--json").json == found
    outcome = refrain("probe", run, "--data", data, "--baselines")
    assert outcome.status == 0
    assert f"best unit      {UNIT}: alone 100.00 %" in outcome.out
    assert any(line.startswith("bag of words") for line in outcome.out.splitlines())


def test_pictures(refrain, run, data, tmp_path):
    found = refrain("probe", run, "--data", data, "--out", tmp_path / "new" / "probe", "--json").json
    folder = tmp_path / "new" / "probe"
    assert sorted(path.name for path in folder.iterdir()) == NAMES
    written = json.loads((folder / "probe.json").read_text())
    assert written.items() <= found.items()
    text = (folder / "heat-map.html").read_text(encoding="utf-8")
    assert text.count("<figure>") == 8 and text.count("label neg, ends at") == 4
    assert text.count("predicted neg<") == 4


def test_a_text_of_ones_own(refrain, run, data, tmp_path, write):
    mine = write("mine.txt", "a good bad\ngood tale\n")
    assert refrain("probe", run, "--data", data, "--out", tmp_path / "probe", "--text", mine).status == 0
    text = (tmp_path / "probe" / "heat-map.html").read_text(encoding="utf-8")
    assert text.count("<figure>") == 1 and "mine.txt, ends at" in text and "predicted pos" in text


def test_nothing_is_overwritten(refrain, mistake, run, data, tmp_path):
    folder = tmp_path / "probe"
    folder.mkdir()
    (folder / "histogram.png").write_text("mine")
    (folder / "notes.txt").write_text("mine")
    words = ["probe", run, "--data", data, "--out", folder]
    mistake(4, words, "histogram.png exists; choose another path, or replace it with --force")
    assert (folder / "histogram.png").read_text() == "mine"
    outcome = refrain(*words, "--force")
    assert outcome.status == 0 and all(f"wrote {folder / name}\n" in outcome.err for name in NAMES)
    assert sorted(path.name for path in folder.iterdir()) == sorted([*NAMES, "notes.txt"])
    assert (folder / "notes.txt").read_text() == "mine"


def test_word_models(refrain, tiny_run, tmp_path, write):
    for split in ("train", "valid", "test"):
        write(f"data/{split}.csv", "label,sentence\n" + "1,ant ant zebra\n0,bee bee\n" * 6)
    found = refrain("probe", tiny_run, "--data", tmp_path / "data", "--out", tmp_path / "probe", "--json").json
    assert found["best_unit_accuracy"] == 1.0
    assert found["test"] == {"texts": 12, "tokens": 30, "unknown": 6}
    assert ">zebra </span>" in (tmp_path / "probe" / "heat-map.html").read_text()


def test_a_layer_without_a_cell_state(refrain, mistake, train, tiny_corpus, data, tmp_path):
    assert refrain(*train(tiny_corpus, "model.cell=gru", "training.epochs=1", "--quiet")).status == 0
    words = ["probe", tmp_path / "run", "--data", data]
    assert refrain(*words, "--json").json["which"] == "hidden"
    mistake(2, [*words, "--which", "cell"], "layer 0 is a GRU", "take 'hidden'")


@pytest.mark.parametrize(
    ("status", "table", "parts"),
    [
        (3, "label,sentence\n1,a\n1,b\n", ["two labels are needed, the training table has 1 ('1')"]),
        (3, "", ["train.csv: the table is empty"]),
        (3, "label,words\n1,a\n", ["train.csv:1: no column for the text"]),
        (3, None, ["no train table; expected a file such as train.csv"]),
    ],
)
def test_tables_that_do_not_do(mistake, run, tmp_path, write, status, table, parts):
    for split in ("train", "dev", "test"):
        write(f"data/{split}.csv", "label,sentence\n1,a\n0,b\n" if split != "train" or table is None else table)
    if table is None:
        (tmp_path / "data" / "train.csv").unlink()
    mistake(status, ["probe", run, "--data", tmp_path / "data", "--out", tmp_path / "probe"], *parts)
    assert not (tmp_path / "probe").exists()


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (["--text", "x"], ["--text cannot take effect without --out"]),
        (["--batch-size", "0"], ["--batch-size must be at least 1"]),
        (["--layer", "3"], ["layer must be at least 0 and less than 1"]),
        (["--which", "output"], ["--which", "cell", "hidden"]),
    ],
)
def test_mistakes(refrain, run, data, words, parts):
    outcome = refrain("probe", run, "--data", data, *words)
    assert (outcome.status, outcome.out) == (2, "") and len(outcome.complaints) == 1
    assert all(part in outcome.err for part in parts)


@pytest.mark.parametrize(("module", "extra"), [("sklearn.linear_model", "probe"), ("matplotlib.figure", "plot")])
def test_a_missing_package_is_reported_before_work_is_done(mistake, run, data, tmp_path, monkeypatch, module, extra):
    monkeypatch.setitem(__import__("sys").modules, module, None)
    mistake(2, ["probe", run, "--data", data, "--out", tmp_path / "probe"], f"pip install 'refrain-lm[{extra}]'")


def test_a_folder_that_is_a_file(mistake, run, data, write):
    mistake(2, ["probe", run, "--data", data, "--out", write("probe", "x")], "--out must be a folder")


def test_weights_that_have_run_away(refrain, run, data, tmp_path):
    copy = tmp_path / "run"
    shutil.copytree(run, copy, symlinks=True)
    checkpoint = Checkpoint((copy / "best").resolve())
    tensors = checkpoint.tensors("model")
    tensors["stack.layers.0.bias"][:] = float("nan")
    documents = {name: checkpoint.document(name) for name in ("config", "vocabulary", "training")}
    save(checkpoint.folder, {"model": tensors, "training": checkpoint.tensors("training")}, documents)
    outcome = refrain("probe", copy, "--data", data)
    assert outcome.status == 4 and "not finite numbers" in outcome.complaints[0]
