"""`refrain export` on taggers: what a program with NumPy and ONNX Runtime alone finds is what `refrain tag` finds."""

import json
import shutil

import numpy as np
import pytest
import torch
from tagged import write_tsv

from refrain import runs
from refrain.cli.app import main
from refrain.errors import CheckpointError, UserError
from refrain.export import Options, export

TINY = (
    "model.embedding_size=8", "model.hidden_sizes=[8]", "training.epochs=2", "training.batch_size=8",
    "training.learning_rate=0.02", "training.stop_window=none",
)  # fmt: skip
RECIPES = {"pos-default": (), "random field": ("model.head=crf", "model.cell=lstm")}


@pytest.fixture(scope="module", params=RECIPES)
def run(request, tmp_path_factory):
    pytest.importorskip("onnx", reason="ONNX files are written with onnx")
    pytest.importorskip("onnxruntime", reason="ONNX files are run with onnxruntime")
    folder = tmp_path_factory.mktemp("taggers")
    corpus = write_tsv(folder / "toy")
    words = [
        "train",
        "pos-default",
        *TINY,
        *RECIPES[request.param],
        "--data",
        corpus,
        "--out",
        folder / "run",
        "--quiet",
    ]
    assert main([str(word) for word in words]) == 0
    return folder / "run"


@pytest.mark.parametrize("weights", ["float32", "int8"])
def test_a_tagger_is_proved_and_describes_itself(refrain, run, tmp_path, weights):
    import onnxruntime

    out = tmp_path / "tagger.onnx"
    found = refrain("export", run, "--out", out, "--weights", weights, "--json").json
    proof = found["proof"]
    assert found["states"] == {} and found["files"] == {"tagger.onnx": out.stat().st_size}
    assert proof["words"] > 50 and proof["accuracy"] == pytest.approx(proof["library_accuracy"], abs=0.01)
    assert proof["max_difference"] < (1e-5 if weights == "float32" else 0.1)
    exact = refrain("evaluate", run, "--split", "valid", "--json").json
    assert proof["library_accuracy"] == pytest.approx(exact["accuracy"])
    session = onnxruntime.InferenceSession(str(out))
    told = session.get_modelmeta().custom_metadata_map
    tagger = runs.load(run)
    vocabulary = json.loads(told["vocabulary"])
    assert vocabulary["tags"] == tagger.vocabulary.tags and vocabulary["kinds"] == tagger.vocabulary.kinds._asdict()
    assert {"card", "settings", "refrain_version"} < set(told)
    sentences = [["the", "dogs", "barking", "."], ["an", "Unheard", "42"]]
    ids = np.zeros((2, 4, 1 + len(tagger.vocabulary.kinds.of("x"))), np.int64)
    ids[..., 0] = -1
    for row, words in zip(ids, sentences, strict=True):
        row[: len(words)] = tagger.vocabulary.encode(words)
    _, tags = session.run(None, {"ids": ids})
    own = [[vocabulary["tags"][tag] for tag in row if tag >= 0] for row in tags]
    assert weights == "int8" or own == tagger.tag(sentences)
    assert [len(row) for row in own] == [4, 3]
    report = refrain("export", run, "--out", out, "--weights", weights, "--force").out
    assert "accuracy on" in report and "milliseconds per word" in report


def test_a_copied_checkpoint_of_a_tagger_is_exported_without_a_card(refrain, run, tmp_path, monkeypatch):
    import onnxruntime

    shutil.copytree(run / "best", tmp_path / "copy")
    monkeypatch.chdir(tmp_path)
    assert refrain("export", "copy", "--out", "x.onnx", "--no-proof").status == 0
    told = onnxruntime.InferenceSession("x.onnx").get_modelmeta().custom_metadata_map
    assert "card" not in told and "settings" in told


def test_a_tagger_that_disagrees_is_not_left(mistake, run, tmp_path, monkeypatch):
    out = tmp_path / "tagger.onnx"
    monkeypatch.setattr("refrain.export.exporting_tagger.FLOAT32_TOLERANCE", 0.0)
    mistake(4, ["export", run, "--out", out], "differ by", "nothing was written")
    monkeypatch.setattr("refrain.export.exporting_tagger.FLOAT32_TOLERANCE", 1e9)
    from refrain.export.onnx_tagger import runner

    def wrong(content):
        tag = runner(content)
        return lambda ids: (tag(ids)[0], np.where(ids[..., 0] >= 0, 0, -1))

    monkeypatch.setattr("refrain.export.onnx_tagger.runner", wrong)
    mistake(4, ["export", run, "--out", out], "words have another tag", "nothing was written")
    mistake(4, ["export", run, "--out", out, "--weights", "int8"], "the accuracy is", "--weights float32")
    assert not list(tmp_path.iterdir())


def test_weights_and_metadata_of_a_tagger(run, tmp_path):
    import onnxruntime

    out = tmp_path / "tagger.onnx"
    export(run, out, options=Options(metadata={"author": "A. Name"}), proof=False)
    told = onnxruntime.InferenceSession(str(out)).get_modelmeta().custom_metadata_map
    assert told["author"] == "A. Name" and "vocabulary" in told
    with pytest.raises(UserError, match=r"^options\.metadata: vocabulary is a name of the export itself"):
        export(run, out, options=Options(metadata={"vocabulary": "1"}), proof=False, force=True)
    tagger = runs.load(run)
    with torch.no_grad():
        tagger.model.output.bias[0] = float("inf")
    with pytest.raises(CheckpointError, match=r"^output.bias has values that are not finite in float32; "):
        export(tagger, tmp_path / "x.onnx")
    assert list(tmp_path.iterdir()) == [out]


def test_what_a_tagger_cannot_have(mistake, refrain, run, write, tmp_path):
    out = tmp_path / "x"
    mistake(
        2,
        ["export", run, "--out", out, "--format", "c", "--no-proof"],
        "--format c cannot express a tagger",
        "--format onnx",
    )
    mistake(2, ["export", run, "--out", out, "--format", "sherpa-online"], "cannot express a tagger")
    mistake(2, ["export", run, "--out", out, "--steps", "one"], "--steps cannot take effect with a tagger")
    mistake(3, ["export", run, "--out", out, "--data", tmp_path / "gone"], "gone")
    assert not out.exists()
    own = write("own.tsv", "the\tD\ndogs\tN\n\n" * 3)
    assert refrain("export", run, "--out", out, "--data", own, "--json").json["proof"]["words"] == 6
    assert refrain("export", run, "--out", out, "--no-proof", "--force", "--json").json["proof"] is None
