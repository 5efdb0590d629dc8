"""Text that is missing, empty, broken or too small: status 3, the file, the cause and the remedy."""

import io
import json
import shutil
import sys

import pytest


def missing(write):
    return write("x", "").parent / "gone", "no such file or folder; known corpora: python-docs, "


def misspelled(write):
    return "python-doc", "did you mean 'python-docs'?"


def not_fetched(write):
    return "wikitext-103", "has not been fetched; give its folder with --data PATH/TO/wikitext-103, or get it"


def empty_file(write):
    return write("empty.txt", ""), "empty.txt: the file is empty; give a file with text"


def empty_split(write):
    write("corpus/train.txt", "a b\n" * 99)
    return write("corpus/valid.txt", "").parent, "valid.txt: the file is empty"


def no_splits(write):
    return write("corpus/table.csv", "x").parent, "no train text; expected a file such as ptb.train.txt"


def two_trains(write):
    write("corpus/train.txt", "a\n")
    return write(
        "corpus/train.tokens", "a\n"
    ).parent, "2 files or folders could be the train text, such as train.tokens and train.txt; move those that"


def invalid_utf8(write):
    write("corpus/train.txt", b"good line\nbad \xe9 line\n")
    return write("corpus/valid.txt", "a\n").parent, "invalid UTF-8 at byte 14 (0xe9); correct the file"


def invalid_plain_file(write):
    return write("plain.txt", b"line\n" * 99 + b"\xff\n"), "plain.txt: invalid UTF-8 at byte 495 (0xff)"


def one_line(write):
    return write("plain.txt", "one line"), "1 line of 2 words cannot be split in 3; give more text"


def one_token(write):
    for split in ("train", "valid", "test"):
        folder = write(f"corpus/{split}.txt", "\n").parent
    return folder, "split 'train': has 1 token, too few for batch_size=4 and window_steps=5, which need 24; lower"


def too_small(write):
    write("corpus/train.txt", "a b\n" * 7)
    return write("corpus/valid.txt", "a\n" * 999).parent, "split 'train': has 21 tokens, too few for batch_size=4"


def valid_too_small(write):
    write("corpus/train.txt", "a b\n" * 99)
    # 20 columns of 5 steps and one
    return write(
        "corpus/valid.txt", "a\n" * 59
    ).parent, "split 'valid': has 118 tokens, too few for the protocol 'zaremba'"


BAD_CORPORA = [
    missing,
    misspelled,
    not_fetched,
    empty_file,
    empty_split,
    no_splits,
    two_trains,
    invalid_utf8,
    invalid_plain_file,
    one_line,
    one_token,
    too_small,
    valid_too_small,
]


@pytest.mark.parametrize("make", BAD_CORPORA)
def test_a_bad_corpus(mistake, train, write, make, tmp_path, tiny_settings):
    corpus, message = make(write)
    mistake(3, train(corpus), message)
    # nothing was begun
    assert not (tmp_path / "run").exists()
    mistake(3, ["check", "zaremba-small", *tiny_settings, "--data", corpus], message)
    if make not in (one_token, too_small, valid_too_small):
        mistake(3, ["data", "check", corpus], message)


def test_invalid_utf8_continues_where_asked(refrain, train, write, tmp_path):
    for split in ("train", "valid", "test"):
        folder = write(f"corpus/{split}.txt", b"good line\nbad \xe9 line\n" * 40).parent
    assert refrain(*train(folder, "--errors", "replace", "--quiet")).status == 0
    run = tmp_path / "run"
    assert json.loads((run / "config.json").read_text())["experiment"]["data"]["errors"] == "replace"
    checked = refrain("data", "check", folder, "--errors", "replace", "--json")
    found = checked.json
    assert "train: reads 40 invalid sequences of bytes as U+FFFD" in checked.err
    # good bad line <eos> U+FFFD <unk>
    assert found["vocabulary"] == 6
    # asked for anew at every command
    assert refrain("evaluate", run).status == 3
    assert refrain("evaluate", run, "--errors", "replace", "--json").json["unseen"] == 0


def test_invalid_utf8_elsewhere(mistake, refrain, tiny_run, byte_run, write, monkeypatch):
    text = write("text.txt", b"ant\n\xff bee\n")
    mistake(3, ["evaluate", tiny_run, "--data", text], "text.txt: invalid UTF-8 at byte 4 (0xff)")
    outcome = refrain("score", tiny_run, text)
    # the lines before it are answered
    assert outcome.status == 3 and outcome.out.endswith("\tant\n") and outcome.out.count("\n") == 1
    assert "text.txt: invalid UTF-8 at byte 4 (0xff)" in outcome.err
    assert refrain("evaluate", tiny_run, "--data", text, "--errors", "replace", "--json").json["unseen"] == 1
    assert len(refrain("score", tiny_run, text, "--errors", "replace").out.splitlines()) == 2
    # to a model of bytes every file is text
    assert refrain("evaluate", byte_run, "--data", text, "--json").json["tokens"] == 9
    mistake(
        2, ["evaluate", byte_run, "--data", text, "--errors", "replace"], "--errors cannot take effect with a model"
    )
    with text.open("rb") as file:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(file))
        outcome = refrain("score", tiny_run)
    # the lines before it are answered
    assert outcome.status == 3 and outcome.out.endswith("\tant\n") and outcome.out.count("\n") == 1
    (line,) = outcome.complaints
    assert line.startswith("refrain: standard input: invalid UTF-8 at byte 4; correct the file, or if it is in Latin-1")
    assert line.endswith("iconv -f LATIN1 -t UTF-8, or use --errors replace to read on")


def test_invalid_utf8_names_what_the_command_has(mistake, train, tiny_run, tiny_settings, write, tmp_path):
    for split in ("train", "valid", "test"):
        folder = write(f"corpus/{split}.txt", b"good line\nbad \xe9 line\n" * 40).parent
    cause = "invalid UTF-8 at byte 14 (0xe9); correct the file"
    latin = "; correct the file, or if it is in Latin-1 convert it: iconv -f LATIN1 -t UTF-8 "
    names = {split: f"{latin}{folder}/{split}.txt > {folder}/{split}.utf8.txt" for split in ("train", "valid", "test")}
    setting = f"{names['train']}, or continue with data.errors=replace"
    option = f"{names['train']}, or continue with --errors replace"
    place = ["--data", folder]
    for words, ending in (
        (train(folder), option),
        (["data", "check", folder], option),
        (["evaluate", tiny_run, *place], option.replace("train", "test")),
        (["check", "zaremba-small", *tiny_settings, *place], setting),
        (["compress", tiny_run, "--threshold", "0.1", *place, "--out", tmp_path / "small"], names["valid"]),
        (["export", tiny_run, *place, "--out", tmp_path / "m.onnx"], names["valid"]),
    ):
        assert mistake(3, words, cause).endswith(ending)


def test_a_binary_file_is_read_as_bytes_where_the_command_can(mistake, train, tiny_run, tiny_settings, write):
    file = write("corpus.txt", b"\0\1\2\3" * 99)
    cause = "zero); give a text file"
    for words, ending in (
        (train(file), f"{cause}, or read bytes with data.unit=byte"),
        (["check", "zaremba-small", *tiny_settings, "--data", file], f"{cause}, or read bytes with data.unit=byte"),
        (["data", "check", file], f"{cause}, or read bytes with --unit byte"),
        (["score", tiny_run, file], cause),
        (["evaluate", tiny_run, "--data", file], cause),
        (["train", "pos-default", "--data", file], cause),
    ):
        assert mistake(3, words, cause).endswith(ending)


@pytest.mark.parametrize(
    ("words", "remedy"),
    [
        (["train", "quickstart"], "lower model.hidden_sizes or training.batch_size"),
        (["bench", "train"], "lower model.hidden_sizes or training.batch_size"),
        (["bench", "sizes"], "use a machine with more memory or a smaller model"),
        (["generate", "RUN"], "lower --samples, or use a machine with more memory or a smaller model"),
        (["probe", "RUN"], "lower --batch-size, or use a machine with more memory or a smaller model"),
        (["evaluate", "RUN"], "use a machine with more memory or a smaller model"),
    ],
)
def test_too_little_memory_names_what_the_command_has(mistake, monkeypatch, words, remedy):
    def app(described):
        raise MemoryError

    monkeypatch.setattr("refrain.cli.app.app", app)
    assert mistake(2, words, "not enough memory").endswith(f"not enough memory; {remedy}")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "text.txt: the file is empty"),
        ("\n", "has 1 token, too few; give a text of at least 2 tokens"),
        (None, "no such file or folder"),
    ],
)
def test_bad_text_to_evaluate(mistake, tiny_run, write, tmp_path, text, message):
    path = tmp_path / "text.txt" if text is None else write("text.txt", text)
    mistake(3, ["evaluate", tiny_run, "--data", path, "--per-token", tmp_path / "table"], message)
    assert not (tmp_path / "table").exists()


def test_bad_text_to_score(mistake, tiny_run, tmp_path, write):
    remedy = "; give a text file, or - for standard input"
    mistake(3, ["score", tiny_run, tmp_path / "gone"], f"gone: No such file or directory{remedy}")
    mistake(3, ["score", tiny_run, tmp_path], f"is a folder, not a file{remedy}")
    mistake(3, ["score", tiny_run, write("empty", "")], f"empty: the file is empty{remedy}")


def test_a_corpus_without_test(refrain, mistake, train, tiny_corpus, tmp_path):
    folder = tmp_path / "two"
    folder.mkdir()
    for split in ("train", "valid"):
        shutil.copy(tiny_corpus / f"{split}.txt", folder)
    found = refrain(*train(folder, "--json")).json
    assert found["test"] is None
    assert found["valid"]["tokens"] > 0
    mistake(3, ["evaluate", tmp_path / "run"], "two: no test text")
    assert refrain("evaluate", tmp_path / "run", "--split", "valid").status == 0


def test_a_corpus_that_has_changed_since(mistake, refrain, train, tiny_corpus, tmp_path, tree):
    folder = shutil.copytree(tiny_corpus, tmp_path / "mine")
    assert refrain(*train(folder, "--quiet")).status == 0
    before = tree(tmp_path / "run")
    with (folder / "train.txt").open("a") as file:
        file.write("ant\n")
    mistake(
        3, ["train", "--resume", "--out", tmp_path / "run"], "the train text has changed since", "restore the old text"
    )
    assert tree(tmp_path / "run") == before
    shutil.rmtree(folder)
    mistake(3, ["evaluate", tmp_path / "run"], "mine: the text on which", "is no longer here")


def test_a_text_that_is_gone_or_new_since_the_start(mistake, refrain, train, tiny_corpus, tmp_path):
    folder = shutil.copytree(tiny_corpus, tmp_path / "mine")
    words = ["train", "--resume", "--out", tmp_path / "run", "training.epochs=2"]
    assert refrain(*train(folder, "--quiet")).status == 0
    (folder / "test.txt").rename(folder / "kept")
    mistake(3, words, f"{tmp_path / 'run'}: was started with a test text, which is no longer here; restore it")
    shutil.rmtree(tmp_path / "run")
    assert refrain(*train(folder, "--quiet")).status == 0
    (folder / "kept").rename(folder / "test.txt")
    mistake(3, words, "was started without a test text; move it away, or start a new run")


def test_fetching_what_is_not_known(mistake):
    mistake(3, ["data", "fetch", "wikitext-1"], "unknown corpus 'wikitext-1'; known: ptb, wikitext-2, ")
