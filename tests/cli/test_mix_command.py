"""`--mix` and `--mix-weight`: a network interpolated with an n-gram model."""

import json
import math

import pytest
from arpa import ARPA

from refrain import load
from refrain.errors import DataError


@pytest.fixture
def arpa(write):
    return write("two.arpa", ARPA)


def rows(outcome):
    return [json.loads(line) for line in outcome.out.splitlines()]


def test_lines_are_scored_by_the_mixture(refrain, tiny_run, write, arpa):
    text = write("text", "ant\n")
    alone, zero, mixed, much = (
        rows(refrain("score", tiny_run, text, "--json", *more))[0]["nats"]
        for more in ([], *(["--mix", arpa, "--mix-weight", weight] for weight in ("0", "0.5", "0.999999")))
    )
    assert zero == pytest.approx(alone, rel=1e-5)
    # by the n-gram model: ant after the beginning, and the line end after ant, which has no weight of its own
    assert much == pytest.approx(-math.log(10) * (-0.2 - 0.7), rel=1e-3)
    assert mixed < alone or mixed < much
    lists = write("nbest.tsv", "u1\t0\tant\n")
    (best,) = rows(refrain("score", tiny_run, lists, "--nbest", "--json", "--mix", arpa, "--mix-weight", "0.5"))
    assert best["nats"] == pytest.approx(mixed)
    (row,) = rows(refrain("surprisal", tiny_run, text, "--json", "--mix", arpa, "--mix-weight", "0.999999"))
    assert row["surprisal_bits"] == pytest.approx(0.2 * math.log2(10), rel=1e-3)


def test_the_weight_is_chosen_on_the_validation_text(refrain, tiny_run, arpa):
    outcome = refrain("evaluate", tiny_run, "--mix", arpa, "--split", "valid", "--json")
    found = outcome.json
    assert 0 < found["mix_weight"] < 1 and found["mix"] == str(arpa) and found["method"] == "static"
    alone = refrain("evaluate", tiny_run, "--split", "valid", "--json").json
    note = "note: the weight of --mix is chosen on the validation text, which is what is measured"
    assert note in outcome.err
    assert found["perplexity"] <= alone["perplexity"] * 1.00001 and found["tokens"] == alone["tokens"]
    assert f"--mix-weight {found['mix_weight']:.4f}: validation perplexity {found['perplexity']:,.2f}" in outcome.err
    again = refrain(
        "evaluate", tiny_run, "--mix", arpa, "--mix-weight", found["mix_weight"], "--split", "valid", "--json"
    )
    assert note not in again.err
    assert again.json["perplexity"] == pytest.approx(found["perplexity"], rel=1e-6)


@pytest.mark.parametrize(
    ("words", "status", "message"),
    [
        (["--mix-weight", "0.5"], 2, "--mix-weight cannot take effect without --mix"),
        (["--mix", "ARPA", "--mix-weight", "1"], 2, "must be auto, or at least 0 and less than 1 (got '1')"),
        (["--mix", "ARPA", "--mix-weight", "half"], 2, "must be auto, or at least 0 and less than 1 (got 'half')"),
        (["--mix", "nothing.arpa"], 3, "nothing.arpa: No such file or directory; give an ARPA file"),
        (["--mix", "DAMAGED", "--mix-weight", "0.5"], 3, ":5: 'ngram 3=' and a number are expected"),
    ],
)
def test_what_cannot_be_mixed_is_refused(mistake, tiny_run, write, arpa, words, status, message):
    damaged = write("damaged.arpa", ARPA.replace("ngram 2=2\n", "ngram 2=2\nngram\n"))
    words = [{"ARPA": arpa, "DAMAGED": damaged}.get(word, word) for word in words]
    text = write("text", "ant\n")
    for command in (["score", tiny_run, text], ["surprisal", tiny_run, text], ["evaluate", tiny_run]):
        mistake(status, [*command, *words], message)


def test_models_and_methods_that_have_no_words_or_no_tokens(mistake, tiny_run, byte_run, write, arpa):
    text = write("text", "ant\n")
    for command in (["score", byte_run, text], ["surprisal", byte_run, text], ["evaluate", byte_run]):
        mistake(2, [*command, "--mix", arpa], "--mix needs a model of words")
    for more in (["--method", "cache"], ["--protocol", "awd"], ["--per-token", "table.csv"]):
        mistake(2, ["evaluate", tiny_run, "--mix", arpa, *more], "--mix requires")


def test_a_run_whose_corpus_is_gone_needs_a_number(mistake, tiny_run, write, arpa, monkeypatch):
    def gone(corpus, log):
        raise DataError(f"{corpus}: No such file or directory")

    monkeypatch.setattr("refrain.assembly.corpus.locate", gone)
    mistake(3, ["score", tiny_run, write("text", "ant\n"), "--mix", arpa], "No such file", "or give a number")
    with pytest.raises(DataError, match=r"No such file.*; mix_weight=None reads .*, or give a number"):
        load(tiny_run).surprisal(["ant"], mix=arpa)
