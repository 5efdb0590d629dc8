"""What cannot be imported is refused with its name, and nothing is written."""

import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from layouts import WORDS, Awd, Recogniser, WordModel, sentiment_arrays
from safetensors.torch import save as to_bytes
from torch import nn
from torch_files import saved

import refrain
from refrain.errors import CheckpointError, DataError, UnwritableError, UserError
from refrain.importers import import_model
from refrain.storage.locks import InUseError
from refrain.storage.run_folder import RunFolder

VOCABULARY = "\n".join(WORDS)
PLAIN = WordModel().state_dict()


def without(*names):
    return {name: tensor for name, tensor in PLAIN.items() if name not in names}


def tail_vectors():
    criterion = nn.Module()
    criterion.tail_vectors = nn.Parameter(torch.ones(2, 4))
    return [Awd(), criterion]


def qrnn():
    tensors = Awd(layers=1).state_dict()
    return {**tensors, "rnns.0.linear.module.weight_raw": torch.ones(9, 8)}


REFUSED = {
    "an Elman network": ("word-language-model", WordModel(rnn=nn.RNN), "rnn.weight_hh_l0 is that of an Elman network"),
    "a bidirectional LSTM": (
        "word-language-model",
        {**PLAIN, "rnn.weight_hh_l0_reverse": torch.ones(24, 6)},
        "rnn is bidirectional",
    ),
    "projections": (
        "word-language-model", {**PLAIN, "rnn.weight_hr_l0": torch.ones(6, 6)}, "rnn has projections (proj_size)"
    ),
    "another cell": (
        "word-language-model", {**PLAIN, "rnn.weight_hh_l0": torch.ones(18, 6)}, "rnn.weight_ih_l0 has shape [24, 5]"
    ),
    "a strange cell": (
        "word-language-model", {**PLAIN, "rnn.weight_hh_l0": torch.ones(13, 6)}, "a cell with weights of shape [13, 6]"
    ),
    "two cells": (
        "word-language-model", {**PLAIN, "rnn.weight_hh_l1": torch.ones(18, 6)}, "of another cell than the layers below"
    ),
    "a newer transformer": ("word-language-model", {"encoder.layers.0.self_attn.x": torch.ones(1)}, "is a transformer"),
    "a transformer": ("word-language-model", {**PLAIN, "transformer.x": torch.ones(1)}, "is a transformer"),
    "a part that is unknown": (
        "word-language-model",
        {**PLAIN, "attention.weight": torch.ones(3, 3)},
        "or this library cannot express: attention.weight",
    ),
    "no embedding": ("word-language-model", without("encoder.weight"), "has no encoder.weight; it has rnn.weight_ih"),
    "no layers": (
        "word-language-model", {name: PLAIN[name] for name in ("encoder.weight", "decoder.weight")},
        "has no rnn.weight_hh_l0; it has encoder.weight, decoder.weight",
    ),
    "no head": ("word-language-model", without("decoder.weight"), "has no decoder.weight, and its last layer is"),
    "a head of another size": (
        "word-language-model", {**PLAIN, "decoder.weight": torch.ones(7, 5)},
        "decoder.weight has shape [7, 5], but [7, 6] fits the others",
    ),
    "a bias of another size": (
        "word-language-model", {**PLAIN, "rnn.bias_hh_l1": torch.ones(23)}, "rnn.bias_hh_l1 has shape [23], but [24]"
    ),
    "one of two biases": (
        "word-language-model", without("rnn.bias_hh_l1"), "has no rnn.bias_hh_l1, but other biases of rnn;"
    ),
    "the other one of two biases": ("word-language-model", without("rnn.bias_ih_l0"), "has no rnn.bias_ih_l0, but"),
    "a layer without biases": (
        "word-language-model", without("rnn.bias_ih_l1", "rnn.bias_hh_l1"), "has no rnn.bias_ih_l1, rnn.bias_hh_l1, but"
    ),
    "a dropped layer with one bias": (
        "awd-lstm",
        {name: tensor for name, tensor in Awd().state_dict().items() if name != "rnns.1.module.bias_ih_l0"},
        "has no rnns.1.module.bias_ih_l0, but other biases of rnns.1.module;",
    ),
    "weights that are not finite": (
        "word-language-model", {**PLAIN, "decoder.bias": torch.full((7,), float("nan"))},
        "decoder.bias has values that are not finite",
    ),
    "whole numbers": (
        "word-language-model", {**PLAIN, "decoder.bias": torch.ones(7, dtype=torch.int64)},
        "decoder.bias has the dtype torch.int64",
    ),
    "a vector as embedding": ("word-language-model", {**PLAIN, "encoder.weight": torch.ones(7)}, "must have 2 dim"),
    "an empty embedding": ("word-language-model", {**PLAIN, "encoder.weight": torch.ones(0, 5)}, "(got shape [0, 5])"),
    "no tensors": ("word-language-model", {"epoch": 3}, "holds no model, but a dict"),
    "a criterion alone": ("word-language-model", nn.CrossEntropyLoss(), "an object of torch.nn.modules.loss.Cross"),
    "a QRNN": ("awd-lstm", qrnn(), "is a QRNN"),
    "a split softmax": ("awd-lstm", tail_vectors(), "its criterion is a split cross entropy with tail_vectors"),
    "a single expert": (
        "awd-lstm", {**Awd().state_dict(), "prior.weight": torch.ones(1, 4)}, "latent.0.weight is a hidden layer before"
    ),
    "no latent layer": (
        "awd-lstm", {**Awd().state_dict(), "prior.weight": torch.ones(3, 4)}, "has no latent.0.weight"
    ),
    "a layer of two": (
        "awd-lstm",
        {**Awd(layers=1, dropped=False).state_dict(),
         **{f"rnns.0.{name}": tensor for name, tensor in nn.LSTM(4, 4, 2).state_dict().items()}},
        "rnns.0 has 2 layers",
    ),
    "a boundary that is no token": (
        "icefall-rnn-lm", {"model": Recogniser(7).state_dict(), "sos_id": 1, "eos_id": 7}, "sos_id 1 and eos_id 7 are"
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_models_that_cannot_be_expressed(name, write, tmp_path):
    form, value, cause = REFUSED[name]
    files = [write("model.pt", saved(value, new=True)), write("vocab.txt", TABLE if "icefall" in form else VOCABULARY)]
    with pytest.raises(CheckpointError) as caught:
        import_model(form, files, tmp_path / "run")
    assert str(caught.value).startswith(f"{files[0]}: ") and cause in str(caught.value)
    assert str(caught.value).isprintable() and not (tmp_path / "run").exists()


TABLE = "".join(f"{word} {index}\n" for index, word in enumerate(["<blk>", "<sos/eos>", "<unk>", *"abcd"]))
LIST = "word-language-model"
BAD_WORDS = {
    "fewer": (LIST, "a\nb\n<eos>\n", "has 3 words, but the weights are for 7"),
    "more": (LIST, f"{VOCABULARY}\nmore\n", "has 8 words, but the weights are for 7"),
    "empty": (LIST, "", "has 0 words, but the weights are for 7"),
    "a word twice": (LIST, "a b c a <eos> d e", "has 'a' twice (again as id 3)"),
    "no end of a line": (LIST, "a b c d e f g", "has no <eos>, which ends a line"),
    "not UTF-8": (LIST, b"a\xff", "invalid UTF-8 at byte 1"),
    "a saved model": (LIST, saved(PLAIN, new=True), "holds no dictionary with a list idx2word"),
    "a hostile dictionary": (LIST, b"\x80\x02cos\nsystem\n.", "the name os.system, which no saved model needs"),
    "no ids": ("icefall-rnn-lm", VOCABULARY, "vocab.txt:1: must be a token and its id (got 'the')"),
    "an id twice": ("icefall-rnn-lm", TABLE + "e 3\n", "vocab.txt:8: the id 3 is given twice"),
    "a gap": ("icefall-rnn-lm", TABLE.replace("d 6", "d 7"), "the ids of 7 tokens must be 0 to 6, each once"),
    "no boundary": ("icefall-rnn-lm", TABLE.replace("<sos/eos>", "x"), "has neither <sos/eos> nor <sos> and <eos>"),
    "fewer tokens": ("icefall-rnn-lm", TABLE.replace("d 6\n", ""), "has 6 words, but the weights are for 7"),
    "the name that is given": ("icefall-rnn-lm", TABLE.replace("d 6", "<eos> 6"), "has <eos> beside '<sos/eos>'"),
}


@pytest.mark.parametrize("name", BAD_WORDS)
def test_vocabularies_that_do_not_fit(name, write, tmp_path):
    form, content, cause = BAD_WORDS[name]
    model = WordModel() if form == LIST else Recogniser(7)
    files = [write("model.pt", saved(model.state_dict(), new=True)), write("vocab.txt", content)]
    with pytest.raises(DataError) as caught:
        import_model(form, files, tmp_path / "run")
    assert str(caught.value).startswith(str(files[1])) and cause in str(caught.value)
    assert str(caught.value).isprintable() and not (tmp_path / "run").exists()


def test_a_text_of_other_words(write, tmp_path):
    for split in ("train", "valid", "test"):
        write(f"text/{split}.txt", "a <unk> b\n")
    with pytest.raises(DataError, match="has 4 words, but the weights are for 7"):
        import_model("awd-lstm", [write("model.pt", saved(Awd(), new=False)), tmp_path / "text"], tmp_path / "run")


def objects():
    array = np.empty((256, 3), dtype=object)
    array[:] = 1
    return array


BAD_ARRAYS = {
    "pickled objects": (0, objects(), "it holds pickled objects, which are not read"),
    "whole numbers": (0, np.ones((256, 3), dtype=np.int64), "2 dimensions of int64"),
    "another shape": (
        6,
        np.ones((3, 5), dtype=np.float32),
        "model/6.npy: has shape [3, 5], but [3, 4] fits the others",
    ),
    "no matrix": (7, np.ones(4, dtype=np.float32), "model/7.npy: must be a matrix, but has shape [4]"),
    "not finite": (13, np.full((4, 256), np.inf, dtype=np.float32), "values that are not finite"),
    "many dimensions": (0, np.ones((1,) * 9, dtype=np.float32), "9 dimensions"),
}


@pytest.fixture
def arrays(tmp_path):
    """The folder with the arrays of a byte mLSTM."""
    folder = tmp_path / "model"
    folder.mkdir()
    for number, array in enumerate(sentiment_arrays()):
        np.save(folder / f"{number}.npy", array)
    return folder


@pytest.mark.parametrize("name", BAD_ARRAYS)
def test_arrays_that_do_not_fit(name, arrays, tmp_path):
    number, array, cause = BAD_ARRAYS[name]
    np.save(arrays / f"{number}.npy", array)
    with pytest.raises(CheckpointError) as caught:
        import_model("openai-mlstm", [arrays], tmp_path / "run")
    assert cause in str(caught.value) and not (tmp_path / "run").exists()


def header(text):
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text.encode()


BAD_HEADERS = {
    "nothing": b"",
    "a text": b"hello",
    "a size that is too large": header("{'descr': '<f4', 'fortran_order': False, 'shape': (1000000000, 1000000000)}\n"),
    "a size that is negative": header("{'descr': '<f4', 'fortran_order': False, 'shape': (-1, 3)}\n"),
    "a header that is deep": header("(" * 900 + ")" * 900),
    "a header that is long": header("{'descr': '<f4', 'fortran_order': False, 'shape': ()}" + " " * 50_000),
    "a header that is code": header("__import__('os').system('true')\n"),
    "another version": b"\x93NUMPY\x09\x00" + bytes(100),
}


@pytest.mark.parametrize("name", BAD_HEADERS)
def test_files_that_are_no_arrays(name, arrays, tmp_path):
    (arrays / "0.npy").write_bytes(BAD_HEADERS[name])
    with pytest.raises(CheckpointError, match="is not an array of numbers as numpy") as caught:
        import_model("openai-mlstm", [arrays], tmp_path / "run")
    assert str(caught.value).isprintable()


def test_arrays_by_columns_and_of_double_precision(arrays, tmp_path):
    array = np.load(arrays / "1.npy").astype(np.float64)
    np.save(arrays / "1.npy", np.asfortranarray(array))
    import_model("openai-mlstm", [arrays], tmp_path / "run")
    np.save(arrays / "1.npy", array.astype(np.float32))
    import_model("openai-mlstm", [arrays], tmp_path / "other")
    checkpoints = [tmp_path / name / "checkpoints/step-000000001/model.safetensors" for name in ("run", "other")]
    assert checkpoints[0].read_bytes() == checkpoints[1].read_bytes()


NAMES = 'embedding = "encoder.weight"\nlstm = "rnn"\nhead_weight = "decoder.weight"\nhead_bias = "decoder.bias"\n'
BAD_NAMES = {
    "no TOML": ("embedding = ", UserError, "names.toml: Invalid value"),
    "a key that is unknown": (
        NAMES + "gates = 3\n", UserError, "names.toml:5: gates: unknown key; known here: embedding, lstm"
    ),
    "a key that is missing": ('lstm = "rnn"\n', UserError, "names.toml: embedding: must be given"),
    "a key that is misspelt": (
        NAMES.replace("embedding", "embeding"),
        UserError,
        "names.toml:1: embeding: unknown key; did you mean 'embedding'?",
    ),
    "another type": (
        NAMES.replace('"rnn"', "3"), UserError, "names.toml:2: lstm: must be the name of a module, or a list of such"
    ),
    "no module": (NAMES.replace('"rnn"', "[]"), UserError, "must be the name of a module, or a list of such names"),
    "a module twice": (NAMES.replace('"rnn"', '["rnn", "rnn"]'), UserError, "lstm: names a module twice"),
    "another unit": (
        NAMES + 'unit = "letter"\n',
        UserError,
        "names.toml:5: unit: input should be 'word' or 'byte' (got 'letter')",
    ),
    "an unknown word that is missing": (
        NAMES + 'unknown = "<UNK>"\n',
        UserError,
        "unknown: '<UNK>' is no word of ",
    ),
    "a tensor that is missing": (NAMES.replace("decoder.w", "d.w"), CheckpointError, "model.pt: has no d.weight"),
    "a bias that is missing": (NAMES.replace("decoder.b", "d.b"), CheckpointError, "model.pt: has no d.bias"),
    "a tensor that is left over": (
        NAMES.replace('head_bias = "decoder.bias"\n', ""), CheckpointError, "cannot express: decoder.bias"
    ),
    "a word that is missing": (NAMES + 'line_end = "</s>"\n', DataError, "vocab.txt: has no '</s>', which ends a line"),
    "a head that is not named": (
        NAMES.replace('head_weight = "decoder.weight"\n', ""),
        CheckpointError,
        "model.pt: the last layer has another width than the embedding (6 and 5), so that the head cannot share its "
        'weight; name the head\'s, (7, 6), in the TOML file: head_weight = "NAME", where NAME may be decoder.weight',
    ),
    "a head that is missing": (
        'embedding = "encoder.weight"\nlstm = "half"\n',
        CheckpointError,
        "name the head's, (7, 4), in the TOML file: head_weight = \"NAME\"; no tensor of the file has this shape",
    ),
    "the end of a line of bytes": (
        NAMES + 'unit = "byte"\nline_end = "\\n"\n',
        UserError,
        "line_end cannot take effect with a model of bytes; leave it out",
    ),
    "an unknown byte": (
        NAMES + 'unit = "byte"\nunknown = "<unk>"\n',
        UserError,
        "unknown cannot take effect with a model of bytes; leave it out",
    ),
    "bytes in lower case": (
        NAMES + 'unit = "byte"\nlowercase = true\n',
        UserError,
        "lowercase cannot take effect with a model of bytes; leave it out",
    ),
    "bytes with a vocabulary": (NAMES + 'unit = "byte"\n', UserError, "must be given for a model of bytes (got 2)"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD_NAMES)
def test_names_of_tensors_that_do_not_fit(name, write, tmp_path):
    text, error, cause = BAD_NAMES[name]
    half = {f"half.{key}": tensor for key, tensor in nn.LSTM(5, 4).state_dict().items()}
    tensors = PLAIN | half if "half" in text else PLAIN
    files = [write("model.pt", saved(tensors, new=True)), write("names.toml", text), write("vocab.txt", VOCABULARY)]
    with pytest.raises(error) as caught:
        import_model("pytorch-lstm", files, tmp_path / "run")
    assert cause in str(caught.value) and not (tmp_path / "run").exists()


def test_all_mistakes_of_a_toml_file_are_named(write, tmp_path):
    text = 'embeding = "x"\nlstm = []\nlowercase = "yes"\n'
    files = [write("model.pt", saved(PLAIN, new=True)), write("names.toml", text), write("vocab.txt", VOCABULARY)]
    with pytest.raises(UserError) as caught:
        import_model("pytorch-lstm", files, tmp_path / "run")
    places = [line.removeprefix(f"{files[1]}:").partition(" ")[0] for line in caught.value.mistakes]
    assert places == ["1:", "", "2:", "3:"] and "embedding: must be given" in caught.value.mistakes[1]


def test_bytes_that_are_not_256(write, tmp_path):
    files = [write("model.pt", saved(PLAIN, new=True)), write("names.toml", NAMES + 'unit = "byte"\n')]
    with pytest.raises(CheckpointError, match="is for 7 tokens, but there are 256 bytes"):
        import_model("pytorch-lstm", files, tmp_path / "run")


def test_files_that_are_missing_or_left_over(write, tmp_path, arrays):
    model, words = write("model.pt", saved(PLAIN, new=True)), write("vocab.txt", VOCABULARY)
    for form, files, cause in (
        ("word-languge-model", [model], "unknown format 'word-languge-model'; did you mean 'word-language-model'?"),
        ("awd-lstm", [model], "two files are needed: the model, and its vocabulary"),
        ("awd-lstm", [model, words, words], "(got 3)"),
        ("awd-lstm", [model, tmp_path / "gone"], "gone: no such file"),
        ("pytorch-lstm", [model, words], "one TOML file with the names of the tensors must be given (got 0)"),
        ("openai-mlstm", [arrays / "0.npy"], "the 15 files 0.npy to 14.npy are needed, or their folder (got 1 files)"),
        ("openai-mlstm", [tmp_path], "has no 0.npy, 1.npy"),
    ):
        with pytest.raises(UserError) as caught:
            import_model(form, files, tmp_path / "run")
        assert cause in str(caught.value) and not (tmp_path / "run").exists()
    with pytest.raises(UserError, match="--lowercase cannot take effect with a model of bytes"):
        import_model("openai-mlstm", [arrays], tmp_path / "run", lowercase=True)


def test_a_broken_safetensors_file(write, tmp_path):
    good = to_bytes({name: tensor.contiguous() for name, tensor in PLAIN.items()})
    words = write("vocab.txt", VOCABULARY)
    for content in (good[:-1], b"", good.replace(b"F32", b"F64", 1)):
        with pytest.raises(CheckpointError, match="is not a safetensors file"):
            import_model("word-language-model", [write("model.safetensors", content), words], tmp_path / "run")


def test_nothing_is_replaced_without_force_and_nothing_that_is_read(write, tmp_path):
    files = [write("model.pt", saved(PLAIN, new=True)), write("vocab.txt", VOCABULARY)]
    import_model("word-language-model", files, tmp_path / "run")
    before = (tmp_path / "run" / "manifest.json").read_bytes()
    with pytest.raises(CheckpointError, match="run: exists already"):
        import_model("word-language-model", files, tmp_path / "run")
    inside = tmp_path / "run" / "samples" / "model.pt"
    inside.write_bytes(files[0].read_bytes())
    with pytest.raises(UserError, match="is also read, so it is never replaced"):
        import_model("word-language-model", [inside, files[1]], tmp_path / "run", force=True)
    assert (tmp_path / "run" / "manifest.json").read_bytes() == before
    import_model("word-language-model", files, tmp_path / "run", force=True, lowercase=True)
    assert json.loads((tmp_path / "run" / "config.json").read_text())["experiment"]["data"]["lowercase"]


def test_an_old_run_stays_if_the_new_one_cannot_be_written(write, tmp_path, monkeypatch):
    files = [write("model.pt", saved(PLAIN, new=True)), write("vocab.txt", VOCABULARY)]
    import_model("word-language-model", files, tmp_path / "run")
    before = contents(tmp_path / "run")

    def full(folder, tensors, documents):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(folder))

    with monkeypatch.context() as patch:
        patch.setattr("refrain.storage.run_folder.save", full)
        with pytest.raises(
            UnwritableError, match=r"No space left .*: free some space and start again with --force"
        ) as caught:
            import_model("word-language-model", files, tmp_path / "run", force=True, lowercase=True)
        assert "trained" not in str(caught.value) and ".tmp-" not in str(caught.value)
        assert contents(tmp_path / "run") == before
        with pytest.raises(UnwritableError):
            import_model("word-language-model", files, tmp_path / "new")
        assert not (tmp_path / "new").exists()
    assert list(refrain.load(tmp_path / "run").vocabulary) == WORDS
    # what a killed import leaves is no hindrance, and goes
    (tmp_path / "run" / ".tmp-run-1").mkdir()
    import_model("word-language-model", files, tmp_path / "run", force=True, lowercase=True)
    assert refrain.load(tmp_path / "run").config["data"]["lowercase"]
    assert set(contents(tmp_path / "run")) == set(before)


@pytest.mark.parametrize("error", [KeyboardInterrupt(), OSError(errno.EACCES, os.strerror(errno.EACCES))])
@pytest.mark.parametrize("count", [1, 2, 5, 8])
def test_an_old_run_comes_back_if_the_new_one_cannot_be_moved(write, tmp_path, monkeypatch, count, error):
    files = [write("model.pt", saved(PLAIN, new=True)), write("vocab.txt", VOCABULARY)]
    run = tmp_path / "run"
    import_model("word-language-model", files, run)
    before, moved, rename = contents(run), [], Path.rename

    def failing(path, target):
        moved.append(path)
        # each path once, so that what was moved can be moved back
        if len(moved) == count:
            raise error
        return rename(path, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", failing)
        with pytest.raises(KeyboardInterrupt if isinstance(error, KeyboardInterrupt) else UnwritableError) as caught:
            import_model("word-language-model", files, run, force=True, lowercase=True)
    assert len(moved) >= count and ".tmp-" not in str(caught.value)
    assert contents(run) == before and [path.name for path in run.iterdir() if path.name.startswith(".tmp-")] == []


KILLED = """
import os, pathlib, sys
from refrain.importers import import_model

count, rename = 0, pathlib.Path.rename

def move(path, target):
    global count
    count += 1
    if count > int(sys.argv[1]):
        os._exit(9)
    return rename(path, target)

pathlib.Path.rename = move
import_model("word-language-model", sys.argv[2:4], sys.argv[4], force=True)
"""


@pytest.mark.parametrize("count", [2, 7])
def test_an_import_that_is_killed_while_it_moves_is_no_hindrance(write, tmp_path, count):
    files = [write("model.pt", saved(PLAIN, new=True)), write("vocab.txt", VOCABULARY)]
    run = tmp_path / "run"
    import_model("word-language-model", files, run)
    words = [sys.executable, "-c", KILLED, str(count), *map(str, files), str(run)]
    assert subprocess.run(words, timeout=120).returncode == 9
    import_model("word-language-model", files, run, force=True)
    assert list(refrain.load(run).vocabulary) == WORDS
    assert [path.name for path in run.iterdir() if path.name.startswith(".tmp-")] == []


def contents(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("ended", [True, False])
def test_a_run_that_another_process_writes_at_the_same_time_stays(write, tmp_path, monkeypatch, ended):
    files = [write("model.pt", saved(PLAIN, new=True)), write("vocab.txt", VOCABULARY)]
    run, lock, others = tmp_path / "run", RunFolder.locked, [True]

    def locked(folder):
        if others:
            # the other process is faster, and may hold the lock when this one asks for it
            others.clear()
            import_model("word-language-model", files, run, force=True, lowercase=True)
            if not ended:
                raise InUseError(f"{run}: in use by another process")
        return lock(folder)

    monkeypatch.setattr(RunFolder, "locked", locked)
    with pytest.raises(CheckpointError, match="run: exists already" if ended else "run: in use"):
        import_model("word-language-model", files, run)
    assert refrain.load(run).config["data"]["lowercase"]


def test_an_import_into_an_empty_folder_that_fails_leaves_no_file(write, tmp_path, monkeypatch):
    files = [write("model.pt", saved(PLAIN, new=True)), write("vocab.txt", VOCABULARY)]
    (tmp_path / "run").mkdir()
    monkeypatch.setattr(RunFolder, "save", lambda *args, **settings: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        import_model("word-language-model", files, tmp_path / "run")
    assert not (tmp_path / "run").exists() or not list((tmp_path / "run").iterdir())
    (tmp_path / "file").write_text("")
    with pytest.raises(UnwritableError, match=r"run: cannot be written \(.*\); choose another --out$"):
        import_model("word-language-model", files, tmp_path / "file" / "run")


def test_a_run_that_cannot_be_completed_is_removed(write, tmp_path, monkeypatch):
    files = [write("model.pt", saved(PLAIN, new=True)), write("vocab.txt", VOCABULARY)]

    def fail(report):
        raise KeyboardInterrupt

    monkeypatch.setattr("refrain.importers.importing.card_of", fail)
    with pytest.raises(KeyboardInterrupt):
        import_model("word-language-model", files, tmp_path / "run")
    assert not (tmp_path / "run").exists()
