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


def sessions(folder, tmp_path):
    """Sessions of ONNX Runtime for both files of an imported run, and the metadata of each."""
    pytest.importorskip("onnx", reason="ONNX files are written with onnx")
    runtime = pytest.importorskip("onnxruntime", reason="ONNX files are run with onnxruntime")
    for format in ("sherpa-offline", "sherpa-online"):
        export(folder / "run", tmp_path / format, format=format, tokens=folder / "tokens.txt", proof=False)
        session = runtime.InferenceSession(str(tmp_path / format))
        yield session, session.get_modelmeta().custom_metadata_map


def described(values):
    """Name, element type and number of axes of each input or output."""
    return [(value.name, value.type, len(value.shape)) for value in values]


@pytest.mark.parametrize("imported", ["icefall-rnn-lm"], indirect=True)
def test_a_scorer_of_texts_has_what_the_checker_of_icefall_checks(imported, tmp_path):
    """The facts of icefall's `rnn_lm/check-onnx.py`, which is in no package, but for texts without `<sos/eos>`."""
    folder, model = imported
    (session, told), _ = sessions(folder, tmp_path)
    start, size = int(told["sos_id"]), int(told["vocab_size"])
    assert (start, int(told["eos_id"]), size) == (1, 1, len(TOKENS))
    assert described(session.get_inputs()) == [("x", "tensor(int64)", 2), ("x_lens", "tensor(int64)", 1)]
    assert described(session.get_outputs()) == [("nll", "tensor(float)", 1)]
    draw = torch.Generator().manual_seed(4)
    for count in range(1, 5):
        longest = int(torch.randint(1, 100, (1,), generator=draw))
        x = torch.randint(2, size, (count, longest), generator=draw)
        lengths = torch.full((count,), longest)
        lengths[0] = longest // 2 + 1 if count > 1 else longest
        (found,) = session.run(None, {"x": x.numpy(), "x_lens": lengths.numpy()})
        assert found.shape == (count,)
        for text, length, nll in zip(x, lengths.tolist(), found.tolist(), strict=True):
            ids = torch.cat([torch.tensor([start]), text[:length], torch.tensor([start])])
            with torch.no_grad():
                expected, _ = model(ids[:-1, None])
            own = -expected[:, 0].gather(1, ids[1:, None]).double().sum().item()
            assert nll == pytest.approx(own, rel=1e-5)


@pytest.mark.parametrize("imported", ["icefall-rnn-lm"], indirect=True)
def test_a_model_with_state_has_what_the_checker_of_icefall_checks(imported, tmp_path):
    """The facts of icefall's `rnn_lm/check-onnx-streaming.py`; states are compared by what follows them."""
    folder, model = imported
    _, (session, told) = sessions(folder, tmp_path)
    start, size = int(told["sos_id"]), int(told["vocab_size"])
    assert (start, int(told["eos_id"]), size) == (1, 1, len(TOKENS))
    shape = (int(told["num_layers"]), 2, int(told["hidden_size"]))
    states = [(name, "tensor(float)", 3) for name in ("h0", "c0")]
    after = [(f"next_{name}", *rest) for name, *rest in states]
    assert described(session.get_inputs()) == [("x", "tensor(int64)", 2), *states]
    assert described(session.get_outputs()) == [("log_softmax", "tensor(float)", 2), *after]
    ids = torch.cat([torch.full((1, 2), start), torch.randint(2, size, (9, 2))])
    with torch.no_grad():
        expected, _ = model(ids)
    h0 = c0 = np.zeros(shape, np.float32)
    for tokens, rows in zip(ids, expected, strict=True):
        scores, h0, c0 = session.run(None, {"x": tokens[:, None].numpy(), "h0": h0, "c0": c0})
        assert (scores.shape, h0.shape, c0.shape) == ((2, size), shape, shape)
        np.testing.assert_allclose(scores, rows, atol=1e-5)
