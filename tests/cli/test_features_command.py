"""`refrain features`, and `refrain generate --clamp`."""

import io
import sys

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

from refrain import runs

TEXT = "ant bee cat\n\nzebra ant\nant bee cat dog eel fox ant bee\n"
CLOSE = {"atol": 1e-6, "rtol": 1e-5}


def alone(lm, text):
    """The state after each token of a text that follows a line end, a step at a time."""
    state, states = lm.initial_state(), []
    for index in [lm.vocabulary.line_end, *lm.vocabulary.encode(text)]:
        _, state = lm.step(torch.tensor([index]), state)
        states.append(state[-1])
    return states


@pytest.mark.parametrize("run", ["tiny_run", "byte_run"])
@pytest.mark.parametrize("ending", [".npz", ".safetensors"])
def test_a_row_a_line(request, refrain, write, tmp_path, run, ending):
    run = request.getfixturevalue(run)
    out = tmp_path / f"states{ending}"
    found = refrain(
        "features", run, write("text.txt", TEXT), "--out", out, "--unit", "3,0", "--unit", "5", "--json"
    ).json
    arrays = dict(np.load(out)) if ending == ".npz" else load_file(out)
    lm, texts = runs.load(run), TEXT.split("\n")[:-1]
    tokens = [len(lm.vocabulary.encode(text)) for text in texts]
    assert (found["texts"], found["tokens"]) == (4, sum(tokens))
    assert found["unknown"] == (1 if lm.vocabulary.unit == "word" else 0)
    assert found["arrays"] == {name: list(array.shape) for name, array in arrays.items()}
    assert arrays["units"].tolist() == [3, 0, 5]
    assert arrays["offsets"].tolist() == np.cumsum([0, *tokens]).tolist()
    assert {arrays[name].dtype for name in ("cell", "hidden", "trace")} == {np.dtype(np.float32)}
    for row, text in enumerate(texts):
        states = alone(lm, text)
        np.testing.assert_allclose(arrays["hidden"][row], states[-1].hidden[0].numpy(), **CLOSE)
        np.testing.assert_allclose(arrays["cell"][row], states[-1].cell[0].numpy(), **CLOSE)
        trace = arrays["trace"][arrays["offsets"][row] : arrays["offsets"][row + 1]]
        wanted = [state.cell[0, [3, 0, 5]].tolist() for state in states[1:]]
        np.testing.assert_allclose(trace, np.reshape(wanted, (-1, 3)), **CLOSE)


def test_a_row_a_document(refrain, write, tmp_path, tiny_run):
    write("texts/b.txt", "bee\ncat\n")
    write("texts/a.txt", "ant")
    write("texts/.hidden", "dog")
    other = write("c.txt", "cat\n\n")
    out = tmp_path / "states.npz"
    words = ["features", tiny_run, tmp_path / "texts", other, "--per", "document", "--out", out]
    outcome = refrain(*words)
    assert (outcome.status, outcome.out.splitlines()[0]) == (0, "3 texts, 6 tokens, 0 unknown")
    assert outcome.out.splitlines()[1] == f"{out}: hidden (3, 8), cell (3, 8)"
    lm = runs.load(tiny_run)
    for row, text in zip(np.load(out)["cell"], ["ant", "bee\ncat", "cat\n"], strict=True):
        np.testing.assert_allclose(row, alone(lm, text)[-1].cell[0].numpy(), **CLOSE)


def test_standard_input_and_cleaning(refrain, tmp_path, byte_run, monkeypatch):
    lm = runs.load(byte_run)
    for cleaning, wanted in (("none", " a &lt; b "), ("reviews", " a < b ")):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b" a &lt; b \n")))
        out = tmp_path / f"{cleaning}.npz"
        assert refrain("features", byte_run, "--out", out, "--cleaning", cleaning).status == 0
        np.testing.assert_allclose(np.load(out)["cell"][0], alone(lm, wanted)[-1].cell[0].numpy(), **CLOSE)


def test_a_layer_without_a_cell_state(refrain, mistake, train, tiny_corpus, tmp_path, write):
    assert refrain(*train(tiny_corpus, "model.cell=gru", "training.epochs=1", "--quiet")).status == 0
    words = ["features", tmp_path / "run", write("text.txt", TEXT), "--out", tmp_path / "states.npz", "--unit", "2"]
    assert set(refrain(*words, "--json").json["arrays"]) == {"hidden", "trace", "offsets", "units"}
    arrays = np.load(tmp_path / "states.npz")
    last = arrays["trace"][arrays["offsets"][1] - 1, 0]
    assert last == arrays["hidden"][0, 2]
    mistake(2, [*words, "--force", "--which", "cell"], "GRU", "has a hidden state and no cell state; take 'hidden'")


def test_nothing_is_overwritten(refrain, mistake, write, tmp_path, tiny_run):
    out, text = write("states.npz", "mine"), write("text.txt", TEXT)
    words = ["features", tiny_run, text, "--out", out]
    mistake(4, words, out, "exists; choose another path, or replace it with --force")
    assert out.read_text() == "mine"
    assert refrain(*words, "--force").status == 0
    assert np.load(out)["hidden"].shape == (4, 8)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["states.npz", "text.txt"]


@pytest.mark.parametrize(
    ("status", "words", "parts"),
    [
        (2, ["--out", "x.npy"], ["--out must end in .npz or .safetensors (got 'x.npy')"]),
        (2, ["--out", "gone/x.npz"], ["must be a file in a folder that exists"]),
        (2, ["--out", "x.npz", "--unit", "8"], ["unit must be at least 0 and less than 8 (got 8); layer 0 has 8"]),
        (2, ["--out", "x.npz", "--unit", "1,two"], ["--unit takes whole numbers", "'two'"]),
        (2, ["--out", "x.npz", "--layer", "1"], ["layer must be at least 0 and less than 1"]),
        (2, ["--out", "x.npz", "--which", "cell"], ["--which cannot take effect without --unit"]),
        (2, ["--out", "x.npz", "--batch-size", "0"], ["--batch-size must be at least 1 (got 0)"]),
        (2, [], ["--out"]),
        (3, ["gone.txt", "--out", "x.npz"], ["gone.txt: No such file or directory"]),
        (3, ["bad.txt", "--out", "x.npz"], ["bad.txt: invalid UTF-8 at byte 4", "--errors replace"]),
        (3, ["empty", "--out", "x.npz"], ["empty: the folder contains no file"]),
    ],
    ids=lambda part: " ".join(map(str, part))[:40] if isinstance(part, list) else str(part),
)
def test_mistakes(mistake, write, tmp_path, tiny_run, monkeypatch, status, words, parts):
    monkeypatch.chdir(tmp_path)
    write("text.txt", TEXT)
    write("bad.txt", b"ant \xff\n")
    (tmp_path / "empty").mkdir()
    files = [] if words and not words[0].startswith("-") else ["text.txt"]
    mistake(status, ["features", tiny_run, *files, *words], *parts)
    assert not (tmp_path / "x.npz").exists()


def test_a_run_that_is_not_there(mistake, write, tmp_path):
    mistake(
        4, ["features", tmp_path / "gone", write("t.txt", "a\n"), "--out", tmp_path / "x.npz"], "no such run folder"
    )


def test_a_held_unit(refrain, tiny_run):
    words = ["generate", tiny_run, "--tokens", "60", "--seed", "1", "--json"]
    plain = refrain(*words).json["samples"]
    held = [word for unit in range(8) for word in ("--clamp", f"{unit}=50")]
    by_layer = [word.replace("=50", "=5e1") if "=" in word else word for word in held]
    by_layer = [f"0:{word}" if "=" in word else word for word in by_layer]
    assert refrain(*words, *held).json["samples"] == refrain(*words, *by_layer).json["samples"] != plain


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (["3"], ["--clamp takes UNIT=VALUE or LAYER:UNIT=VALUE, such as 3=1.5 (got '3')"]),
        (["x=1"], ["--clamp takes UNIT=VALUE"]),
        (["3=high"], ["--clamp takes UNIT=VALUE"]),
        (["3=1", "--clamp", "3=2"], ["--clamp: unit 3 is named twice"]),
        (["3=1", "--clamp", "0:3=2"], ["clamp: unit 3 of layer 0 is named twice"]),
        (["8=1"], ["unit must be at least 0 and less than 8 (got 8); layer 0 has 8"]),
        (["1:0=1"], ["layer must be at least 0 and less than 1"]),
        (["3=nan"], ["the value of unit 3 must be finite"]),
    ],
    ids=str,
)
def test_units_that_cannot_be_held(mistake, tiny_run, words, parts):
    mistake(2, ["generate", tiny_run, "--clamp", *words], *parts)


def test_filters_that_cannot_take_effect(mistake, tiny_run):
    for option, value in (("--top-k", "5"), ("--top-p", "0.9")):
        words = ["generate", tiny_run, "--temperature", "0", option, value]
        mistake(2, words, f"{option} cannot take effect with temperature 0")


@pytest.mark.parametrize("run", ["tiny_run", "byte_run"])
def test_a_text_that_stops_at_its_line_end_is_a_line(request, refrain, run):
    run = request.getfixturevalue(run)
    words = ["generate", run, "--tokens", "400", "--seed", "1", "--prompt", "ant", "--stop-at-line-end"]
    (text,) = refrain(*words, "--json").json["samples"]
    assert "\n" not in text
    assert refrain(*words).out == text + "\n"
