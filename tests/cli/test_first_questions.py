"""What a command says of itself, and of what it did."""

import io
import sys
from itertools import pairwise

import pytest

from refrain.cli.app import COMMANDS, main


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("score", "Each line is scored independently, after a line end"),
        ("tag", "A file of CoNLL-U, recognised by its ending"),
        ("probe", "A logistic regression with an L1 penalty predicts"),
    ],
)
def test_the_help_of_a_command_describes_it(refrain, monkeypatch, command, words):
    monkeypatch.setenv("COLUMNS", "80")
    found = refrain(command, "--help").out
    assert words in " ".join(found.split()) and COMMANDS[command] in found
    # no paragraph is broken where its source is
    (paragraph,) = [part for part in found.split("\n\n") if words[:20] in part]
    lines = paragraph.splitlines()
    shortest = min((len(line) + len(after.split()[0]) for line, after in pairwise(lines)))
    assert shortest >= 79 and "[default: False]" not in found


def test_a_protocol_is_explained(refrain, tiny_run):
    assert "exact: one stream, every token except the first" in refrain("evaluate", tiny_run).out
    found = refrain("evaluate", tiny_run, "--split", "valid", "--protocol", "zaremba")
    assert "zaremba: 20 streams side by side" in found.out
    assert refrain("evaluate", tiny_run, "--json").json["protocol"] == "exact"


def test_how_often_unk_was_drawn(refrain, tiny_run):
    words = ["generate", tiny_run, "--tokens", "400", "--temperature", "9", "--prompt", "zebra ant", "--seed", "3"]
    alone = refrain(*words)
    drawn = alone.out.split().count("<unk>")  # the prompt is printed as it was given
    assert drawn > 1 and f"<unk> was drawn {drawn} times; --no-unk never draws it" in alone.err
    several = refrain(*words, "--samples", "2", "--json")
    drawn = sum(text.split().count("<unk>") for text in several.json["samples"])
    assert f"<unk> was drawn {drawn} times" in several.err
    assert "was drawn" not in refrain(*words, "--no-unk").err


def test_the_prompt_is_printed_as_it_was_given(refrain, tiny_run):
    words = ["generate", tiny_run, "--tokens", "3", "--prompt", "xyzzy  ant", "--seed", "3"]
    alone = refrain(*words)
    assert alone.out.startswith("xyzzy  ant")
    assert "1 word of the prompt is not in the vocabulary and read as <unk>" in alone.err
    assert refrain(*words, "--json").json["samples"] == [alone.out.removesuffix("\n")]
    several = refrain(*words, "--samples", "2")
    assert several.out.startswith("--- 1\nxyzzy  ant") and "\n--- 2\nxyzzy  ant" in several.out
    assert refrain("generate", tiny_run, "--tokens", "0", "--prompt", "xyzzy").out == "xyzzy\n"


def test_the_line_of_the_text_ends_before_the_notes(tiny_run, monkeypatch):
    both = io.BytesIO()
    streams = [io.TextIOWrapper(both), io.TextIOWrapper(both, write_through=True)]
    monkeypatch.setattr(sys, "stdout", streams[0])
    monkeypatch.setattr(sys, "stderr", streams[1])
    assert main(["generate", str(tiny_run), "--tokens", "400", "--temperature", "9", "--seed", "3"]) == 0
    text = both.getvalue().decode()
    assert "\n<unk> was drawn " in text and text.endswith("--no-unk never draws it\n")


def test_tokens_are_joined(refrain, tiny_run, byte_run, mistake):
    words = ["generate", tiny_run, "--tokens", "9", "--seed", "3", "--no-unk", "--prompt", "ant is n't bee ,"]
    plain = refrain(*words).out
    assert refrain(*words, "--detokenise").out == plain.replace(" n't", "n't").replace(" ,", ",")
    (sample,) = refrain(*words, "--detokenise", "--json").json["samples"]
    assert sample + "\n" == refrain(*words, "--detokenise").out
    mistake(2, ["generate", byte_run, "--detokenise"], "--detokenise cannot take effect with a model of bytes")


def test_int8_weights_without_kernels_are_reported(refrain, tiny_run, write, monkeypatch):
    text = write("a.txt", "ant bee\n")
    monkeypatch.setattr("refrain.models.stepper.Stepper.unpacked", ["MyLayer"])
    monkeypatch.setattr("refrain.trained.rounding.has_stepper", lambda weight: True)
    note = "int8 weights: the weights are rounded, but MyLayer computes in float32, because there are no int8 kernels"
    assert note in refrain("score", tiny_run, text, "--weights", "int8").err
    assert "int8" not in refrain("score", tiny_run, text).err
    monkeypatch.setattr("refrain.trained.rounding.has_stepper", lambda weight: False)
    assert (
        "all is computed in float32, because int8 kernels need a C++ compiler"
        in refrain("generate", tiny_run, "--tokens", "1", "--weights", "int8").err
    )
    assert "this command computes in float32" in refrain("evaluate", tiny_run, "--weights", "int8").err


def test_a_text_is_prepared_once(refrain, train, write, tmp_path, monkeypatch):
    monkeypatch.setenv("REFRAIN_CACHE", str(tmp_path / "cache"))
    for split, lines in (("train", 60), ("valid", 20), ("test", 20)):
        write(f"corpus/{split}.txt", "ant bee cat <unk>\ndog eel\n" * lines)
    trained = refrain(*train(tmp_path / "corpus", "training.epochs=1"))
    assert trained.err.count("preparing") == 1
    for words in ([], ["--split", "valid"], ["--data", tmp_path / "corpus"], ["--method", "dynamic"]):
        assert "preparing" not in refrain("evaluate", tmp_path / "run", *words).err
    # the same text in small letters is another one
    assert "preparing" in refrain("evaluate", tmp_path / "run", "--lowercase").err
    write("corpus/test.txt", "ant bee\n" * 20)
    assert "preparing" in refrain("evaluate", tmp_path / "run").err


def test_tables_that_are_read_as_text(refrain, tiny_run, write):
    table = write("a.csv", "label,text\n1,ant bee\n" * 20)
    for words in (["score", tiny_run, table], ["data", "check", table]):
        assert f"{table}: is read as plain text, with its header, its labels and its commas" in refrain(*words).err
    assert "is read as plain text" not in refrain("score", tiny_run, write("a.txt", "ant\n")).err


def test_many_unknown_words_of_features(refrain, tiny_run, write, tmp_path):
    words = ["features", tiny_run, write("a.txt", "ANT Bee\n"), "--out", tmp_path / "a.npz"]
    noted = refrain(*words).err
    assert "note: unknown words, which are read as <unk>, are 100.0% of the texts, so that states after them" in noted
    assert noted.count("note: ") == 1
    assert "unknown words" not in refrain(*words, "--lowercase", "--force").err
