"""Commands on texts as people have them: what fits no model is reported, and what can be read is read."""

import gzip
import io
import math
import sys

import pytest

UNKNOWN = "the zebra sees a yak .\n"


@pytest.fixture
def never(refrain, train, write, tmp_path):
    """A run whose training text has no `<unk>`, on the words of the tiny corpus in lower case."""
    for split, count in (("train", 120), ("valid", 60)):
        text = "".join(f"ant bee cat {'dog' if number % 3 else 'eel'} .\n" for number in range(count))
        folder = write(f"corpus/{split}.txt", text).parent
    write("corpus/test.txt", ("ant bee cat dog .\n" * 9 + "ant gnu cat dog .\n") * 6)
    return refrain(*train(folder, "--json")), tmp_path / "run"


def test_unknown_words_that_training_never_saw(refrain, never, write):
    trained, run = never
    summary = trained.json
    assert "note: <unk> does not occur in the training text" in trained.err
    (warning,) = summary["warnings"]
    assert "(test 6) is arbitrary; train with data.min_count=2" in warning
    assert summary["valid"]["unknown"] == 0
    assert summary["valid"]["perplexity_without_unknown"] == summary["valid"]["perplexity"]
    card = (run / "README.md").read_text()
    assert "| unknown | perplexity without unknown |" in card and "data.min_count=2" in card and "| 6 |" in card
    found = refrain("evaluate", run, "--json").json
    assert found["warnings"] == [warning.replace("test 6", "the text 6").split("; ")[0] + "; " + warning.split("; ")[1]]
    # the rest of the nats are those of the known words
    rest = found["nats_per_token"] * found["tokens"] - found["nats_per_token_without_unknown"] * (found["tokens"] - 6)
    assert found["unknown"] == found["unseen"] == 6 and rest / 6 > found["nats_per_token_without_unknown"]
    assert math.log(found["perplexity_without_unknown"]) == pytest.approx(found["nats_per_token_without_unknown"])
    printed = refrain("evaluate", run)
    assert "perplexity_without_unknown" in printed.out and "note: <unk> does not occur" in printed.err
    known = refrain("evaluate", run, "--data", write("known.txt", "ant bee cat dog .\n" * 9))
    assert "without_unknown" not in known.out and "note:" not in known.err


def test_a_figure_worse_than_equal_probabilities(refrain, never, write):
    _, run = never
    outcome = refrain("evaluate", run, "--data", write("strange.txt", "bee <unk> bee <unk> dog ant\n" * 9))
    assert "note: the perplexity of the text, method static (" in outcome.err
    assert "is above 8, that of equal probabilities for all tokens" in outcome.err


def test_every_method_has_both_figures(refrain, never, tmp_path):
    _, run = never
    figures = refrain("evaluate", run, "--method", "all", "--json").json
    assert len(figures["figures"]) == 6
    for figure in figures["figures"].values():
        assert figure["unknown"] == 6
        assert figure["perplexity_without_unknown"] < figure["perplexity"]
    table = refrain("evaluate", run, "--per-token", tmp_path / "table.tsv", "--json").json
    static = figures["figures"]["static"]
    for key in ("unknown", "perplexity_without_unknown", "nats_per_token_without_unknown"):
        assert table[key] == pytest.approx(static[key], rel=1e-5)


def test_many_unknown_words(refrain, never, write):
    _, run = never
    outcome = refrain("score", run, write("text.txt", UNKNOWN * 3))
    assert outcome.status == 0
    assert "note: unknown words, which are read as <unk>, are 71.4% of the text" in outcome.err
    assert "--lowercase or --tokenise" in outcome.err
    assert "note:" not in refrain("score", run, write("known.txt", "ant bee .\n")).err


def test_a_text_of_the_run_is_prepared_as_its_training_text_was(refrain, write, tiny_settings, tmp_path):
    for split, line in (("train", "ant bee cat\n" * 300), ("valid", "ant BEE\n" * 40), ("test", "Ant BEE, cat\n" * 40)):
        corpus = write(f"own/{split}.txt", line).parent
    run = tmp_path / "run"
    assert refrain("train", "zaremba-small", *tiny_settings, "--data", corpus, "--out", run, "--quiet").status == 0
    said = refrain("evaluate", run).err
    assert "unknown words, which are read as <unk>, are " in said and "or use a model with a larger vocabulary" in said
    assert "--lowercase" not in said
    assert "--lowercase or --tokenise" in refrain("evaluate", run, "--data", corpus).err


def test_a_text_is_made_to_fit(refrain, never, write, mistake, byte_run):
    _, run = never
    text = write("text.txt", "Ant bee, CAT dog.\n" * 9)
    plain = refrain("evaluate", run, "--data", text, "--json").json
    # the comma is unknown in any case
    fitted = refrain("evaluate", run, "--data", text, "--lowercase", "--tokenise", "--json").json
    assert (plain["unseen"], fitted["unseen"]) == (4 * 9, 9)
    assert fitted["tokens"] == 9 * 7 - 1
    line = refrain("score", run, text, "--lowercase", "--tokenise").out.splitlines()[0].split("\t")
    assert line[1:] == ["7", "1", "Ant bee, CAT dog."]
    written = refrain("generate", run, "--prompt", "ANT", "--lowercase", "--tokens", "3", "--seed", "1")
    assert written.status == 0 and "not in the vocabulary" not in written.err
    assert "not in the vocabulary" in refrain("generate", run, "--prompt", "ANT", "--tokens", "3", "--seed", "1").err
    mistake(2, ["score", byte_run, text, "--tokenise"], "--tokenise cannot take effect with a model of bytes")
    mistake(2, ["evaluate", byte_run, "--lowercase"], "--lowercase cannot take effect with a model of bytes")


def test_a_run_keeps_how_it_reads(refrain, train, write, tmp_path, mistake):
    for split in ("train", "valid", "test"):
        folder = write(f"corpus/{split}.txt", "The Cat, the dog.\n" * 60).parent
    settings = ("data.lowercase=true", "data.tokenise=true", "data.normalise=nfc")
    assert refrain(*train(folder, *settings, "--quiet")).status == 0
    run = tmp_path / "run"
    assert (
        refrain("evaluate", run, "--data", write("text.txt", "THE DOG, the cat.\n" * 9), "--json").json["unseen"] == 0
    )
    assert refrain("score", run, write("line.txt", "CAT.\n")).out.split("\t")[1:3] == ["3", "0"]
    assert refrain("evaluate", run, "--json").json["unseen"] == 0
    checked = refrain("data", "check", folder, "--lowercase", "--tokenise", "--json").json
    assert checked["vocabulary"] == 7
    mistake(2, ["data", "check", folder, "--unit", "byte", "--lowercase"], "--lowercase cannot take effect with --unit")
    mistake(2, train(folder, "data.unit=byte", "data.tokenise=true"), "tokenise: cannot take effect with unit 'byte'")


def test_compressed_and_other_files_for_score(refrain, mistake, tiny_run, write, monkeypatch):
    plain = refrain("score", tiny_run, write("text.txt", "ant bee\ncat\n")).out
    packed = write("text.txt.gz", gzip.compress(b"ant bee\ncat\n"))
    assert refrain("score", tiny_run, packed).out == plain
    assert refrain("score", tiny_run, write("mac.txt", "ant bee\rcat\r")).out == plain
    assert refrain("score", tiny_run, write("marked.txt", "\ufeffant bee\n\ufeffcat\n")).out == plain
    utf16 = write("utf16.txt", "ant bee\n".encode("utf-16"))
    mistake(3, ["score", tiny_run, utf16, "--errors", "replace"], "is UTF-16 with a byte order mark", "iconv -f UTF-16")
    mistake(3, ["data", "check", utf16], "is UTF-16 with a byte order mark", f"iconv -f UTF-16 -t UTF-8 {utf16} > ")
    for content, message in ((packed.read_bytes(), "is gzip data; unpack it first"), (utf16.read_bytes(), "iconv -f")):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))
        mistake(3, ["score", tiny_run], "standard input: ", message)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"\xef\xbb\xbfant bee\rcat\r")))
    assert refrain("score", tiny_run).out == plain


def test_words_with_other_white_space_are_scored_whole(refrain, tiny_run, write):
    text = write("text.txt", "ant\u00a0bee cat\u2028dog\x85eel\n\u3000fox\vant\n")
    rows = [line.split("\t") for line in refrain("score", tiny_run, text).out.split("\n")[:-1]]
    assert [row[1:3] for row in rows] == [["3", "2"], ["2", "1"]]


def test_bits_per_character(refrain, byte_run, write):
    text = write("text.txt", "\u03b1\u03b2 \ud55c\n" * 20)
    found = refrain("evaluate", byte_run, "--data", text, "--json").json
    # 9 bytes, 5 characters, 2 words and a line end a line; the first byte is not scored and counts as the mean
    assert found["tokens"] == 179 and "unknown" not in found
    assert found["bits_per_byte"] == pytest.approx(found["bits_per_token"])
    assert found["bits_per_character"] == pytest.approx(found["bits_per_token"] * 180 / 100)
    assert found["perplexity_per_word"] == pytest.approx(2 ** (found["bits_per_token"] * 180 / 60), rel=1e-6)
    assert "bits_per_character" in refrain("evaluate", byte_run, "--data", text).out
