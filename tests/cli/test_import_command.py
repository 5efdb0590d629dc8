"""`refrain import`, and an imported run in the commands that take one."""

import io
import json
import shlex

import pytest
import torch
from torch import nn

from refrain.cli.app import main

TRAINING = ["training.epochs=1", "training.batch_size=4", "training.window_steps=6", "training.sample_tokens=0"]
WORDS = ["the", "cat", "sat", "<eos>", "dog", "<unk>", "ran"]


class RNNModel(nn.Module):
    """A model in the layout of word_language_model, with a tied decoder."""

    def __init__(self):
        super().__init__()
        self.encoder = nn.Embedding(len(WORDS), 6)
        self.rnn = nn.LSTM(6, 6, 2)
        self.decoder = nn.Linear(6, len(WORDS))
        self.decoder.weight = self.encoder.weight


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with a saved model, its vocabulary, its text and the run that was imported from them."""
    folder = tmp_path_factory.mktemp("place")
    (folder / "text").mkdir()
    for split, lines in (("train", 40), ("valid", 10), ("test", 10)):
        (folder / "text" / f"{split}.txt").write_text("the cat sat\nthe dog <unk> ran\n" * lines)
    (folder / "vocab.txt").write_text("\n".join(WORDS) + "\n")
    torch.manual_seed(1)
    file = io.BytesIO()
    torch.save(RNNModel(), file)
    (folder / "model.pt").write_bytes(file.getvalue())
    words = ["import", "word-language-model", folder / "model.pt", folder / "text", "--out", folder / "run"]
    assert main([str(word) for word in words]) == 0
    return folder


def test_the_report(refrain, place, tmp_path):
    words = ["import", "word-language-model", place / "model.pt", place / "vocab.txt"]
    outcome = refrain(*words, "--out", tmp_path / "a run")
    assert (outcome.status, outcome.err) == (0, f"wrote {tmp_path / 'a run'}\n")
    parameters = 7 * 6 + 7 + 2 * (4 * 6 * 12 + 4 * 6)
    assert outcome.out.splitlines()[0] == f"lstm 6-6-6, {parameters} parameters, vocabulary 7"
    run = shlex.quote(str(tmp_path / "a run"))
    assert outcome.out.endswith(
        f"next:  refrain evaluate {run} --data PATH/TO/TEXT\n       refrain generate {run} --tokens 50\n"
    )
    known = refrain(*words, "--out", tmp_path / "known", "--data", place / "text").out
    assert f"next:  refrain evaluate {tmp_path / 'known'}\n" in known
    found = refrain(*words, "--out", tmp_path / "more", "--lowercase", "--data", place / "text", "--json").json
    assert found["parameters"] == parameters and found["format"] == "word-language-model" and found["notes"] == []
    data = json.loads((tmp_path / "more" / "config.json").read_text())["experiment"]["data"]
    assert (data["lowercase"], data["corpus"]) == (True, str(place / "text"))


def test_an_imported_run_is_one_like_any_other(refrain, place, tmp_path):
    run = place / "run"
    (tmp_path / "lines.txt").write_text("the cat sat\nthe dog ran\n")
    figures = refrain("evaluate", run, "--split", "valid", "--json").json
    assert figures["tokens"] == 89 and 4 < figures["perplexity"] < 12 and figures["corpus"] == "text"
    assert refrain("generate", run, "--prompt", "the", "--tokens", "3", "--seed", "1").status == 0
    assert len(refrain("score", run, tmp_path / "lines.txt").out.splitlines()) >= 2
    assert refrain("sparsity", run, "--json").json["widths"]
    assert refrain("features", run, tmp_path / "lines.txt", "--out", tmp_path / "states.npz").status == 0
    small = refrain(
        "compress", run, "--to", "parameters=70%", "--max-loss", "90%", "--out", tmp_path / "small", "--json"
    )
    assert small.json["after"]["parameters"] < 0.7 * small.json["before"]["parameters"]


def test_training_goes_on_from_an_imported_run(refrain, place, tmp_path):
    words = ["train", "quickstart", "--from", place / "run", "--data", place / "text", *TRAINING]
    outcome = refrain(*words, "training.device=cpu", "--out", tmp_path / "more", "--quiet", "--json")
    assert outcome.json["valid"]["perplexity"] < refrain("evaluate", place / "run", "--json").json["perplexity"]
    vocabularies = [path / "best" / "vocabulary.json" for path in (place / "run", tmp_path / "more")]
    assert [json.loads(path.read_text())["words"][:7] for path in vocabularies] == [
        ["the", "cat", "sat", "<eos>", "dog", "<unk>", "ran"]
    ] * 2


def test_a_probe_reads_an_imported_run(refrain, place, tmp_path, write):
    pytest.importorskip("sklearn")
    for split in ("train", "dev", "test"):
        write(f"reviews/{split}.tsv", "0\tthe cat sat\n1\tthe dog ran\n" * 6)
    found = refrain("probe", place / "run", "--data", tmp_path / "reviews", "--json").json
    assert found["accuracy"] >= 0.5 and 0 <= found["best_unit"] < 6


def test_a_run_whose_text_is_not_known(mistake, refrain, place, tmp_path):
    words = ["import", "word-language-model", place / "model.pt", place / "vocab.txt", "--out", tmp_path / "run"]
    assert refrain(*words).status == 0
    mistake(
        3,
        ["evaluate", tmp_path / "run"],
        "the text on which this imported model was trained is not known; give a text with --data",
    )
    assert refrain("evaluate", tmp_path / "run", "--data", place / "text", "--json").json["split"] == "test"


def test_mistakes_have_their_status_and_write_nothing(mistake, place, tmp_path):
    start, end = ["import"], ["--out", tmp_path / "run"]
    model, words = place / "model.pt", place / "vocab.txt"
    mistake(2, [*start, "word-model", model, words, *end], "unknown format 'word-model'", "known: awd-lstm, icefall-")
    mistake(2, [*start, "awd-lstm", model, *end], "two files are needed")
    mistake(2, [*start, "awd-lstm", model, tmp_path / "gone", *end], "gone: no such file")
    mistake(4, [*start, "awd-lstm", model, words, *end], "model.pt: has no rnns.0.weight_hh_l0")
    mistake(4, [*start, "word-language-model", words, words, *end], "neither a zip file nor a pickle")
    (tmp_path / "words.txt").write_text("a b c <eos>")
    mistake(3, [*start, "word-language-model", model, tmp_path / "words.txt", *end], "has 4 words, but the weights are")
    mistake(3, [*start, "word-language-model", model, words, *end, "--data", tmp_path / "gone"], "gone: no such file")
    mistake(4, [*start, "word-language-model", model, words, "--out", place / "run"], "run: exists already")
    mistake(2, [*start, "word-language-model", model, words], "refrain import --help")
    assert not (tmp_path / "run").exists()


def test_an_imported_run_has_no_training_to_continue(mistake, place):
    run = place / "run"
    for words in ([], ["training.epochs=3"]):
        mistake(
            4, ["train", "--resume", "--out", run, *words], "was imported, so that there is no training to continue"
        )


def test_a_model_without_unknown_words_goes_on_with_a_text_that_has_them(refrain, place, write, tmp_path):
    """An added <unk> has a probability of zero until the model is trained on."""
    vocabulary = write("vocab.txt", "\n".join(["cow" if word == "<unk>" else word for word in WORDS]))
    run = tmp_path / "run"
    assert refrain("import", "word-language-model", place / "model.pt", vocabulary, "--out", run).status == 0
    for split in ("train", "valid", "test"):
        write(f"text/{split}.txt", "the <unk> sat the bird dog\n" * 40)
    found = refrain("evaluate", run, "--data", tmp_path / "text")
    assert found.status == 0 and "unknown words cost that much" in found.err and "diverged" not in found.err, found
    start = ["train", "zaremba-small", "--from", run, "--data", tmp_path / "text", *TRAINING]
    for out, more, known, new, left_out in (
        ("own-words", [], 4, 2, 3),
        ("its-words", [f"data.vocabulary={run}"], 7, 1, 0),
    ):
        found = refrain(*start, "--out", tmp_path / out, *more)
        assert found.status == 0, found.err
        units = json.loads((tmp_path / out / "manifest.json").read_text())["start"]["units"]["words"]
        assert (units["known"], units["new"], units["left_out"]) == (known, new, left_out), units
        assert json.loads((tmp_path / out / "summary.json").read_text())["test"]["perplexity"] < 100
