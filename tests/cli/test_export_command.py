"""`refrain export` on a tiny run."""

import importlib.util
import io
import json
import math
import os
import shutil
import subprocess

import pytest
import torch

from refrain import runs
from refrain.errors import CheckpointError, UserError
from refrain.export import export, formats
from refrain.export.formats import compiler

needs_compiler = pytest.mark.skipif(compiler() is None, reason="there is no C compiler")


@pytest.fixture
def onnx():
    pytest.importorskip("onnxruntime", reason="ONNX files are run with onnxruntime")
    return pytest.importorskip("onnx", reason="ONNX files are written with onnx")


def test_an_onnx_file_is_proved_and_describes_itself(refrain, onnx, tiny_run, tmp_path):
    out = tmp_path / "tiny.onnx"
    found = refrain("export", tiny_run, "--out", out, "--proof-tokens", "1000", "--json").json
    assert found["files"] == {"tiny.onnx": out.stat().st_size}
    assert found["states"] == {"layer0_hidden": 8, "layer0_cell": 8}
    proof = found["proof"]
    assert proof["max_difference"] < 1e-5
    assert proof["perplexity"] == pytest.approx(proof["library_perplexity"], rel=1e-6)
    exact = refrain("evaluate", tiny_run, "--split", "valid", "--json").json
    if proof["tokens"] == exact["tokens"]:
        assert proof["library_perplexity"] == pytest.approx(exact["perplexity"], rel=1e-5)
    metadata = {each.key: each.value for each in onnx.load(out).metadata_props}
    lm = runs.load(tiny_run)
    assert json.loads(metadata["vocabulary"])["words"] == list(lm.vocabulary)
    assert json.loads(metadata["states"])["layer0_cell"] == {"size": 8, "initial": "zeros"}
    assert json.loads(metadata["line_end"]) == lm.vocabulary.line_end
    assert metadata["card"] == (tiny_run / "README.md").read_text(encoding="utf-8")
    assert {"refrain_version", "settings", "unknown", "weights"} < set(metadata)

    taken = refrain("export", tiny_run, "--out", out)
    assert (taken.status, taken.out) == (4, "")
    before = out.read_bytes()
    small = refrain("export", tiny_run, "--out", out, "--force", "--weights", "int8", "--proof-tokens", "1000")
    assert small.status == 0 and "perplexity of" in small.out
    assert out.read_bytes() != before


def metadata_of(onnx, path):
    return {each.key: each.value for each in onnx.load(path).metadata_props}


def test_a_checkpoint_is_exported_without_its_run_and_with_its_card_alone(
    refrain, onnx, run_copy, write, tmp_path, monkeypatch
):
    # the README of a project in which a copy of a checkpoint is kept is not the card of the model
    write("project/README.md", "A stranger's text.")
    copied = tmp_path / "project" / "models" / "copy"
    shutil.copytree(run_copy / "best", copied)
    out = tmp_path / "x.onnx"
    words = ["--out", out, "--no-proof", "--force"]
    assert refrain("export", copied, *words).status == 0
    assert "card" not in metadata_of(onnx, out)
    monkeypatch.chdir(copied.parent)
    assert refrain("export", "copy", *words).status == 0
    assert "card" not in metadata_of(onnx, out)
    assert refrain("export", "copy", "--out", tmp_path / "code", "--format", "c", "--no-proof").status == 0

    card = (run_copy / "README.md").read_text(encoding="utf-8")
    step = (run_copy / "best").resolve()
    for folder, given in ((step.parent, step.name), (step, "."), (run_copy, "best")):
        monkeypatch.chdir(folder)
        assert refrain("export", given, *words).status == 0
        assert metadata_of(onnx, out)["card"] == card


def test_a_file_that_disagrees_is_not_left(mistake, onnx, tiny_run, tmp_path, monkeypatch):
    monkeypatch.setattr("refrain.export.exporting.FLOAT32_TOLERANCE", 0.0)
    out = tmp_path / "tiny.onnx"
    mistake(4, ["export", tiny_run, "--out", out], "differ by", "nothing was written")
    assert not list(tmp_path.iterdir())
    out.write_text("precious")
    mistake(4, ["export", tiny_run, "--out", out, "--force"], "nothing was written")
    assert out.read_text() == "precious"


@needs_compiler
def test_c_code_is_proved_and_generates_text(refrain, mistake, tiny_run, tmp_path):
    out = tmp_path / "code"
    found = refrain("export", tiny_run, "--format", "c", "--out", out, "--proof-tokens", "1000", "--json").json
    assert sorted(found["files"]) == ["main.c", "model.c", "model.h"]
    assert found["proof"]["max_difference"] < 1e-5
    assert "State: 64 bytes" in (out / "model.h").read_text()
    flags = ["-std=c99", "-Wall", "-Wextra", "-Werror", "-O0"]
    build = [compiler(), *flags, "main.c", "model.c", "-o", "main", "-lm"]
    subprocess.run(build, cwd=out, check=True, capture_output=True, timeout=60)
    said = subprocess.run([out / "main", "30", "1"], check=True, capture_output=True, text=True, timeout=60).stdout
    words = set(runs.load(tiny_run).vocabulary)
    assert len(said.split()) > 10 and set(said.split()) <= words

    def printed(*words):
        done = subprocess.run([out / "main", *words], check=True, capture_output=True, text=True, timeout=60)
        return done.stdout

    assert printed("30", "1") == said
    # seeds that follow each other begin with other words
    assert len({printed("1", str(seed)) for seed in range(30)}) >= 3
    if os.path.exists("/dev/full"):
        with open("/dev/full", "w") as full:
            lost = subprocess.run([out / "main", "3"], stdout=full, stderr=subprocess.PIPE, text=True, timeout=60)
        assert (lost.returncode, lost.stderr) == (1, f"{out / 'main'}: the text cannot be written\n")
    for wrong in (["--help"], ["2024-03-05", "20"], ["20", "x"], [""], ["9" * 30], ["1", "2", "3"]):
        refused = subprocess.run([out / "main", *wrong], capture_output=True, text=True, timeout=60)
        assert (refused.returncode, refused.stdout) == (2, ""), wrong
        assert refused.stderr.startswith(f"usage: {out / 'main'} [TOKENS [SEED]]\n")
    (out / "model.c").write_text("precious")
    mistake(4, ["export", tiny_run, "--format", "c", "--out", out, "--no-proof"], "exists")
    assert (out / "model.c").read_text() == "precious"


@needs_compiler
def test_the_score_of_c_code_is_that_of_the_library(refrain, byte_run, tmp_path):
    import ctypes

    out = tmp_path / "code"
    words = ["--format", "c", "--out", out, "--weights", "int8", "--no-libm", "--proof-tokens", "1000"]
    assert refrain("export", byte_run, *words).status == 0
    build = [compiler(), "-std=c99", "-shared", "-fPIC", "model.c", "-o", "model.so"]
    subprocess.run(build, cwd=out, check=True, capture_output=True, timeout=60)
    library = ctypes.CDLL(str(out / "model.so"))
    library.model_score.restype = ctypes.c_double
    lm = runs.load(byte_run, weights="int8")
    ids = lm.vocabulary.encode("ant bee\n")
    state, scratch = (ctypes.c_float * 1000)(), (ctypes.c_float * 256)()
    library.model_begin(state)
    tokens = (ctypes.c_int32 * len(ids))(*ids)
    nats = library.model_score(state, lm.vocabulary.line_end, tokens, ctypes.c_size_t(len(ids)), scratch)
    read = torch.tensor([[lm.vocabulary.line_end, *ids[:-1]]]).T
    # by the stepper, which rounds weights alone; lines are scored with inputs that are rounded as well
    wanted, _ = lm.stepper.token_nats(read, torch.tensor([ids]).T, lm.initial_state(1))
    assert nats == pytest.approx(float(wanted.sum()), rel=1e-5)
    assert math.isfinite(nats)


def test_a_run_with_int8_weights_is_exported_in_int8(refrain, tiny_run, tmp_path):
    small = tmp_path / "small"
    refrain("compress", tiny_run, "--out", small, "--weights", "int8", "--max-loss", "900%")
    words = ["--format", "c", "--out", tmp_path / "code", "--no-proof", "--force", "--json"]
    assert refrain("export", small, *words).json["weights"] == "int8"
    assert refrain("export", small, *words, "--weights", "float32").json["weights"] == "float32"


def test_mistakes_are_named(mistake, tiny_run, tmp_path, monkeypatch):
    out = tmp_path / "x"
    mistake(
        2, ["export", tiny_run, "--out", out, "--format", "tflite"], "must be one of onnx, c, sherpa-online", "tflite"
    )
    mistake(2, ["export", tiny_run, "--out", out, "--format", "c", "--steps", "one"], "--steps cannot take effect")
    few = ["--format", "c", "--proof-tokens", "10"]
    mistake(2, ["export", tiny_run, "--out", out, *few], "--proof-tokens must be at least 1000 (got 10)")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if "onnx" in name else True)
    mistake(2, ["export", tiny_run, "--out", out], "pip install 'refrain-lm[export]'")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "onnxruntime" else True)
    mistake(2, ["export", tiny_run, "--out", out, "--no-libm"], "--no-libm cannot take effect")
    mistake(2, ["export", tiny_run, "--out", out], "pip install onnxruntime", "--no-proof")
    monkeypatch.setattr(formats.shutil, "which", lambda name: None)
    mistake(2, ["export", tiny_run, "--out", out, "--format", "c"], "no C compiler", "--no-proof")
    words = ["export", tiny_run, "--out", out, "--format", "c", "--no-proof"]
    mistake(2, [*words, "--proof-tokens", "1000"], "--proof-tokens cannot take effect with --no-proof")
    mistake(2, [*words, "--data", out], "--data cannot take effect with --no-proof")
    assert not out.exists()


ICEFALL = ("<blk>", "<sos/eos>")
SHERPA = ("sherpa-online", "sherpa-offline")


@pytest.fixture
def subword_run(refrain, train, write, onnx, tmp_path):
    """A model of the pieces of a recogniser, and the table of its tokens."""
    package = pytest.importorskip("sentencepiece")
    for split, count in {"train": 60, "valid": 150, "test": 12}.items():
        folder = write(f"text/{split}.txt", "the cat sat on the mat\n" * count).parent
    found = io.BytesIO()
    package.SentencePieceTrainer.train(
        sentence_iterator=iter(["the cat sat on the mat"] * 9),
        model_writer=found,
        vocab_size=24,
        model_type="bpe",
        unk_id=2,
        bos_id=-1,
        eos_id=-1,
        user_defined_symbols=[*ICEFALL],
        hard_vocab_limit=False,
        minloglevel=2,
    )
    model = write("lang/bpe.model", found.getvalue())
    pieces = package.SentencePieceProcessor(model_file=str(model))
    names = [pieces.id_to_piece(index) for index in range(pieces.get_piece_size())]
    assert names[:3] == [*ICEFALL, "<unk>"]
    words = train(folder, "training.epochs=1", "data.unit=subword", f"data.tokens={model}", "--quiet")
    assert refrain(*words).status == 0
    # the marks of a lexicon are no tokens
    return tmp_path / "run", [*names, "#0", "#1"]


def table(names):
    return "".join(f"{name} {index}\n" for index, name in enumerate(names))


@pytest.mark.parametrize("weights", ["float32", "int8"])
@pytest.mark.parametrize("format", SHERPA)
def test_files_for_a_recogniser(refrain, mistake, onnx, subword_run, write, tmp_path, format, weights):
    run, names = subword_run
    out = tmp_path / "lm.onnx"
    words = ["export", run, "--format", format, "--out", out, "--weights", weights, "--proof-tokens", "1000", "--json"]
    same = refrain(*words, "--tokens", write("tokens.txt", table(names)))
    proof = same.json["proof"]
    assert proof["max_difference"] < (1e-5 if weights == "float32" else 0.1)
    assert proof["perplexity"] == pytest.approx(proof["library_perplexity"], rel=1e-5 if weights == "float32" else 0.01)
    assert 900 < proof["tokens"] <= 1002
    told = {each.key: each.value for each in onnx.load(out).metadata_props}
    size = len(names) - 2
    assert (told["sos_id"], told["eos_id"], told["vocab_size"]) == ("1", "1", str(size))
    assert format != "sherpa-online" or (told["num_layers"], told["hidden_size"]) == ("1", "13")
    plain = out.read_bytes()
    report = refrain(*words[:-1], "--force", "--tokens", tmp_path / "tokens.txt").out
    how = "one at a time" if format == "sherpa-online" else "whole texts in one call"
    assert f"milliseconds per token, {how}: " in report
    found = refrain(*words, "--force")
    assert found.status == 0 and "--tokens tokens.txt" in found.err
    assert out.read_bytes() == plain

    # a recogniser whose tokens are in another order
    other = [names[0], *names[size - 1 : 0 : -1], "#0"]
    found = refrain(*words, "--force", "--tokens", write("tokens.txt", table(other)))
    again = found.json["proof"]
    assert again["perplexity"] == pytest.approx(proof["perplexity"], rel=1e-5 if weights == "float32" else 0.01)
    told = {each.key: each.value for each in onnx.load(out).metadata_props}
    assert told["sos_id"] == str(other.index("<sos/eos>"))

    changed = write("tokens.txt", table([*names[:size], "dog"]))
    parts = ["tokens.txt", f"token {size}, 'dog'", "data.tokens=bpe.model"]
    mistake(3, [*words, "--force", "--tokens", changed], *parts)
    mistake(
        3, [*words, "--force", "--tokens", write("tokens.txt", "a 0\nb 2\n")], "the ids of the tokens are not 0, 1, 2"
    )
    mistake(3, [*words, "--force", "--tokens", tmp_path / "no.txt"], "no.txt")


def test_models_of_words_need_the_tokens_of_the_recogniser(refrain, mistake, onnx, tiny_run, write, tmp_path):
    out = tmp_path / "lm.onnx"
    words = ["export", tiny_run, "--format", "sherpa-online", "--out", out, "--proof-tokens", "1000", "--json"]
    mistake(2, words, "a model of words", "--tokens tokens.txt")
    own = [word for word in runs.load(tiny_run).vocabulary if not word.startswith("<")]
    found = refrain(*words, "--tokens", write("tokens.txt", table(["<blk>", "<unk>", *own, "unheard"])))
    assert "1 of" in found.err and "'unheard'" in found.err
    assert found.json["proof"]["max_difference"] < 1e-5
    # the table has no token for the end of a text, and so gets one more
    told = {each.key: each.value for each in onnx.load(out).metadata_props}
    assert told["sos_id"] == told["vocab_size"] == str(len(own) + 3)
    few = write("tokens.txt", table(["<blk>", "x", "y", "z"]))
    mistake(3, [*words, "--force", "--tokens", few], "3 of 4 tokens are not in the model's vocabulary")
    mistake(
        2,
        ["export", tiny_run, "--out", tmp_path / "x", "--tokens", few],
        "--tokens cannot take effect with --format onnx",
    )


def test_a_run_without_its_corpus_asks_for_a_text(refrain, mistake, run_copy, tiny_corpus, tmp_path, monkeypatch):
    if compiler() is None:
        pytest.skip("there is no C compiler")
    path = next(run_copy.glob("checkpoints/*/config.json"), None)
    assert path is not None
    gone = str(tmp_path / "gone")
    monkeypatch.setattr(
        "refrain.export.exporting.locate",
        lambda corpus, log: __import__("refrain.assembly.corpus", fromlist=["locate"]).locate(
            gone if corpus == str(tiny_corpus) else corpus, log
        ),
    )
    out = tmp_path / "code"
    mistake(3, ["export", run_copy, "--out", out, "--format", "c"], "gone", "--data", "--no-proof")
    given = refrain("export", run_copy, "--out", out, "--format", "c", "--data", tiny_corpus / "valid.txt", "--json")
    assert given.json["proof"]["tokens"] > 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (formats.Options(weights="int4"), "options.weights: must be one of float32, int8 (got 'int4')"),
        (formats.Options(steps="two"), "options.steps: must be one of many, one (got 'two')"),
        (formats.Options(libm="no"), "options.libm: must be True or False (got 'no')"),
        ({"weights": "int8"}, "options: must be the Options of refrain.export (got {'weights': 'int8'})"),
        ({}, "options: must be the Options of refrain.export (got {})"),
    ],
)
def test_options_that_a_program_misspells(tiny_run, tmp_path, options, message):
    with pytest.raises(UserError) as raised:
        export(tiny_run, tmp_path / "x.onnx", options=options)
    assert str(raised.value) == message
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("format", "options", "message"),
    [
        ("onnx", {"metadata": ["a"]}, "options.metadata: must have names and texts (got ['a'])"),
        ("onnx", {"metadata": {"a": 1}}, "options.metadata: must have names and texts (got {'a': 1})"),
        ("c", {"metadata": {"a": "1"}}, "options.metadata cannot take effect with --format c; leave it out"),
        ("c", {"tokens": (b"a",)}, "options.tokens: is taken from the model; leave it out"),
        ("onnx", {"start": 3}, "options.start: is taken from the model; leave it out"),
        ("sherpa-online", {"ids": object()}, "options.ids: is taken from the model and `tokens`; leave it out"),
    ],
)
def test_options_that_would_have_no_effect(onnx, tiny_run, tmp_path, format, options, message):
    with pytest.raises(UserError) as raised:
        export(tiny_run, tmp_path / "x", format=format, options=formats.Options(**options), proof=False)
    assert str(raised.value) == message
    assert not list(tmp_path.iterdir())


def test_metadata_of_a_program_is_stored_beside_that_of_the_export(onnx, tiny_run, tmp_path):
    out = tmp_path / "x.onnx"
    export(tiny_run, out, options=formats.Options(metadata={"author": "A. Name"}), proof=False)
    found = metadata_of(onnx, out)
    assert found["author"] == "A. Name" and {"vocabulary", "card", "states"} < set(found)
    for name, format, tokens in (("states", "onnx", {}), ("sos_id", "sherpa-online", {"tokens": "t.txt"})):
        (tmp_path / "t.txt").write_text(table(["<blk>", "<unk>", *runs.load(tiny_run).vocabulary]))
        options = formats.Options(metadata={name: "1"})
        with pytest.raises(UserError, match=rf"^options.metadata: {name} is a name of the export itself; choose anoth"):
            export(
                tiny_run, tmp_path / "y", format=format, options=options, proof=False,
                **{key: tmp_path / value for key, value in tokens.items()},
            )  # fmt: skip


@pytest.mark.parametrize("format", ["c", "onnx", *SHERPA])
def test_weights_that_are_not_finite_are_refused(onnx, tiny_run, tmp_path, format):
    lm = runs.load(tiny_run)
    more = {}
    if format in SHERPA:
        (tmp_path / "t.txt").write_text(table(["<blk>", "<unk>", *lm.vocabulary]))
        more["tokens"] = tmp_path / "t.txt"
    for name, value in (("head.bias", float("-inf")), ("stack.layers.0.weight_hh", float("nan"))):
        with torch.no_grad():
            lm.model.get_parameter(name).view(-1)[1] = value
        for proof in (True, False):
            with pytest.raises(CheckpointError, match=rf"^{name} has values that are not finite in float32; "):
                export(lm, tmp_path / "out", format=format, proof=proof, **more)
        with torch.no_grad():
            lm.model.get_parameter(name).view(-1)[1] = 0
    assert not (tmp_path / "out").exists()


def test_a_network_without_its_vocabulary_is_not_exported(tiny_run, tmp_path):
    lm = runs.load(tiny_run)
    message = r"^model: must be a run folder, or a model that refrain\.load has returned \(got .* LanguageModel\)$"
    with pytest.raises(UserError, match=message):
        export(lm.model, tmp_path / "x.onnx")
    with pytest.raises(UserError, match=r"^out: must be a path \(got None\)$"):
        export(lm, None)
    with pytest.raises(UserError, match=r"^--proof-tokens: must be a whole number \(got 'many'\)$"):
        export(lm, tmp_path / "x", format="c", proof_tokens="many")
