"""Imported models are exported, and what was exported computes what the original program computes."""

import numpy as np
import pytest
import torch
from layouts import WORDS, Awd, Recogniser, WordModel, sentiment_arrays, sentiment_forward
from test_imports import NAMES, TOKENS, VOCABULARY, saved, to_bytes

from refrain.export import Options, export
from refrain.export.formats import compiler
from refrain.importers import FORMATS, import_model

TEXT = " ".join(word for word in WORDS if word != "<eos>")


class SentimentModel:
    """The byte mLSTM of NumPy behind the interface of the other originals; it begins with a zero state."""

    def __init__(self, arrays):
        self.arrays = arrays

    def __call__(self, ids):
        (found,) = [sentiment_forward(self.arrays, bytes(column.tolist()))[0] for column in ids.T]
        return torch.from_numpy(found)[:, None], None


def files_of(name, folder):
    """The files of a saved model of a format, the model, and a text in its words."""
    torch.manual_seed(1)
    match name:
        case "awd-lstm":
            model = Awd(last=5, experts=3)
            return {"model.pt": saved(model, new=True), "vocab.txt": VOCABULARY.encode()}, model, TEXT
        case "word-language-model":
            model = WordModel(tied=False)
            return {"model.pt": saved(model.state_dict(), new=False), "vocab.txt": VOCABULARY.encode()}, model, TEXT
        case "icefall-rnn-lm":
            model = Recogniser(len(TOKENS), hidden=5)
            table = "".join(f"{token} {index}\n" for index, token in enumerate(TOKENS))
            files = {"epoch-3.pt": saved({"model": model.state_dict()}, new=True), "tokens.txt": table.encode()}
            return files, model, " ".join(TOKENS[2:])
        case "pytorch-lstm":
            model = WordModel(words=256, hidden=5, layers=1)
            names = NAMES.format(lstm='"rnn"').replace("embed.", "encoder.").replace("out.", "decoder.")
            tensors = to_bytes(model.state_dict())
            return {"names.toml": f'{names}unit = "byte"\n'.encode(), "model.safetensors": tensors}, model, TEXT
        case "openai-mlstm":
            arrays = sentiment_arrays()
            for number, array in enumerate(arrays):
                np.save(folder / f"{number}.npy", array)
            return (
                {f"{number}.npy": (folder / f"{number}.npy").read_bytes() for number in range(15)},
                SentimentModel(arrays),
                TEXT,
            )
    raise AssertionError(f"no file of the format {name}")


@pytest.fixture(scope="module", params=FORMATS)
def imported(request, tmp_path_factory):
    """A run that was imported, the model it comes from, and a text."""
    folder = tmp_path_factory.mktemp("imported")
    files, model, text = files_of(request.param, folder)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    import_model(request.param, [folder / name for name in files], folder / "run")
    (folder / "text.txt").write_text(f"{text}\n" * 120, encoding="utf-8")
    return folder, model if isinstance(model, SentimentModel) else model.eval()


@pytest.mark.parametrize("weights", ["float32", "int8"])
@pytest.mark.parametrize("format", ["onnx", "c"])
def test_an_imported_model_is_exported(imported, tmp_path, format, weights):
    folder, _ = imported
    if format == "onnx":
        pytest.importorskip("onnx", reason="ONNX files are written with onnx")
        pytest.importorskip("onnxruntime", reason="ONNX files are run with onnxruntime")
    elif compiler() is None:
        pytest.skip("there is no C compiler")
    out = tmp_path / "out"
    options = Options(weights=weights)
    found = export(
        folder / "run", out, format=format, options=options, data=str(folder / "text.txt"), proof_tokens=1000
    )
    assert out.exists() and found["proof"]["tokens"] > 300
    assert found["proof"]["max_difference"] < (1e-5 if (format, weights) != ("onnx", "int8") else 0.1)


def test_an_exported_import_computes_what_the_original_computes(imported, tmp_path):
    pytest.importorskip("onnx", reason="ONNX files are written with onnx")
    runtime = pytest.importorskip("onnxruntime", reason="ONNX files are run with onnxruntime")
    folder, model = imported
    found = export(folder / "run", tmp_path / "x.onnx", proof=False)
    session = runtime.InferenceSession(str(tmp_path / "x.onnx"))
    # tokens that all formats have, without those at which a state is cleared
    ids = torch.tensor([2, 4, 5, 2, 5, 4, 4])[:, None]
    states = {name: np.zeros((1, size), np.float32) for name, size in found["states"].items()}
    log_probabilities = session.run(None, {"ids": ids.T.numpy(), **states})[0]
    with torch.no_grad():
        expected, _ = model(ids)
    np.testing.assert_allclose(log_probabilities[0], expected[:, 0], atol=1e-5 if "rnns" not in dir(model) else 1e-4)


@pytest.mark.parametrize("imported", ["icefall-rnn-lm"], indirect=True)
def test_a_model_of_icefall_goes_to_sherpa_onnx_with_its_table(imported, tmp_path):
    pytest.importorskip("onnxruntime", reason="ONNX files are run with onnxruntime")
    onnx = pytest.importorskip("onnx", reason="ONNX files are written with onnx")
    folder, _ = imported
    for format in ("sherpa-online", "sherpa-offline"):
        out = tmp_path / format
        given = {"data": str(folder / "text.txt"), "tokens": folder / "tokens.txt", "proof_tokens": 1000}
        assert export(folder / "run", out, format=format, **given)["proof"]["max_difference"] < 1e-5
        content = onnx.load(out)
        told = {each.key: each.value for each in content.metadata_props}
        assert (told["sos_id"], told["vocab_size"]) == ("1", str(len(TOKENS)))
        # the ids are the same, and nothing is looked up
        assert not any("tokens.table" in node.input for node in content.graph.node)
