"""The bench of compressors: its figures are those of Python's own modules and of `refrain evaluate`."""

import bz2
import json
import lzma
import random

import pytest

SETTINGS = (
    "model.embedding_size=4", "model.hidden_sizes=[6]", "training.epochs=1", "training.batch_size=2",
    "training.sample_tokens=0", "training.sample_windows=none", "training.validation=exact",
)  # fmt: skip


@pytest.fixture
def text(write):
    """Words in random order; 2,000 bytes, of which 1,800 are trained on and the last 100 are test text."""
    draw = random.Random(1)
    words = " ".join(draw.choices(["red", "green", "blue", "yellow\n"], k=600))
    return write("text.txt", words[:2000])


def compressed(compress, data):
    """Bits per byte of the last 100 bytes, after the first 1,800 and alone."""
    train, test = data[:1800], data[1900:]
    return 8 * (len(compress(train + test)) - len(compress(train))) / 100, 8 * len(compress(test)) / 100


def test_compressors_are_measured_with_and_without_the_training_text(refrain, text):
    found = refrain("bench", "compressors", "--data", text, "--json").json
    assert (found["train_bytes"], found["test_bytes"]) == (1800, 100)
    rows = {row["name"]: row for row in found["rows"]}
    xz = compressed(lambda data: lzma.compress(data, preset=9 | lzma.PRESET_EXTREME), text.read_bytes())
    bzip2 = compressed(lambda data: bz2.compress(data, 9), text.read_bytes())
    assert (rows["xz -9e"]["median"], rows["xz -9e"]["alone"]) == pytest.approx(xz)
    assert (rows["bzip2 -9"]["median"], rows["bzip2 -9"]["alone"]) == pytest.approx(bzip2)
    assert rows["bzip2 -9"]["ratio"] == pytest.approx(bzip2[0] / xz[0])
    assert {row["unit"] for row in found["rows"]} == {"bits/byte"}


def test_a_model_stands_first_with_the_figure_of_evaluate(refrain, text, tmp_path):
    run = tmp_path / "run"
    assert refrain("train", "mlstm-bytes", *SETTINGS, "--data", text, "--out", run).status == 0
    found = refrain("bench", "compressors", "--run", run, "--json").json
    first = found["rows"][0]
    assert first["name"] == str(run) and first["ratio"] == 1 and first["alone"] is None
    assert first["median"] == pytest.approx(refrain("evaluate", run, "--json").json["bits_per_byte"])
    second = found["rows"][1]
    assert second["name"] == f"{run}, match" and second["alone"] is None
    mixed = refrain("evaluate", run, "--method", "match", "--json").json
    assert second["median"] == pytest.approx(mixed["bits_per_byte"])
    assert first["seconds"] == second["seconds"] == json.loads((run / "summary.json").read_text())["train_seconds"]
    printed = refrain("bench", "compressors", "--run", run / "best", "--data", text).out.splitlines()
    assert printed[0].split()[:3] == ["bits", "per", "byte"]
    # beside a checkpoint no time is recorded
    assert printed[1].split() == [str(run / "best"), f"{first['median']:.3f}", "1.00"]


@pytest.mark.parametrize(
    ("words", "status", "message"),
    [
        (["compressors", "--recipe", "zaremba-small"], 2, "zaremba-small is not a model of bytes"),
        (["compressors", "--data", "text.txt", "data.split=[0.9,0.1]"], 3, "has no test text"),
        (["compressors", "--plot", "x.png"], 2, "--plot cannot take effect in bench compressors"),
        (["compressors", "training.epochs=3"], 2, "training.epochs cannot take effect in bench compressors"),
        (["train", "--run", "runs/x"], 2, "--run cannot take effect in bench train"),
        (["step", "--data", "text.txt"], 2, "--data cannot take effect in bench step"),
        (["compressors", "--run", "missing"], 4, "missing"),
    ],
)
def test_what_the_bench_of_compressors_refuses(mistake, text, monkeypatch, words, status, message):
    monkeypatch.chdir(text.parent)
    mistake(status, ["bench", *words], message)
