"""Eight-bit weights on the command line, and the bench of single steps."""

import math

import pytest
import torch

from refrain import runs


def test_int8_weights_cost_little(refrain, tiny_run):
    whole = refrain("evaluate", tiny_run, "--json").json
    rounded = refrain("evaluate", tiny_run, "--weights", "int8", "--json").json
    assert rounded["tokens"] == whole["tokens"]
    assert rounded["perplexity"] != whole["perplexity"]
    assert rounded["perplexity"] == pytest.approx(whole["perplexity"], rel=0.01)


def test_every_command_reads_the_same_rounded_model(refrain, tiny_run, tiny_corpus, tmp_path):
    lm = runs.load(tiny_run, weights="int8")
    text = tmp_path / "line.txt"
    text.write_text("ant bee cat\n")
    scored = refrain("score", tiny_run, text, "--weights", "int8", "--json").json
    state, nats, before = lm.model.initial_state(1), 0.0, lm.vocabulary.line_end
    for index in lm.vocabulary.encode("ant bee cat\n"):
        # the model itself, whose matrices were rounded
        log_probabilities, state = lm.model.step(torch.tensor([before]), state)
        nats, before = nats - float(log_probabilities[0, index]), index
    assert math.isclose(scored["nats"], nats, rel_tol=1e-5)
    assert lm.score("ant bee cat").nats == pytest.approx(nats, rel=1e-5)

    words = ["generate", tiny_run, "--tokens", "12", "--temperature", "0", "--weights", "int8", "--json"]
    assert refrain(*words).json["samples"] == lm.generate(tokens=12, temperature=0)

    out = tmp_path / "states.safetensors"
    assert refrain("features", tiny_run, text, "--out", out, "--weights", "int8").status == 0
    assert out.is_file()


def test_a_model_whose_weights_change_is_made_ready_again(tiny_run):
    lm = runs.load(tiny_run)
    before, ready = lm.score("ant bee").nats, lm.stepper
    assert lm.stepper is ready
    with torch.no_grad():
        lm.model.head.bias.add_(torch.arange(len(lm.vocabulary)))
    assert lm.stepper is not ready
    assert abs(lm.score("ant bee").nats - before) > 0.1


def test_an_unknown_kind_of_weights(mistake, tiny_run):
    mistake(2, ["generate", tiny_run, "--weights", "int4"], "--weights", "int4")


def test_the_bench_of_single_steps(refrain):
    small = ["model.embedding_size=6", "model.hidden_sizes=[6,5]"]
    rows = refrain("bench", "step", *small, "--windows", "2", "--repeats", "1", "--json").json["rows"]
    names = [row["name"] for row in rows]
    assert len(set(names)) == len(names)
    whole = [name for name in names if name.startswith("batch 1: ")]
    assert whole[0] == "batch 1: torch's LSTM" and "batch 1: stepper, int8" in whole
    parts, kinds = ("batch 1", "batch 1, recurrent layers alone"), ("float32", "int8")
    for share in ("of_reading", "of_copy"):
        assert {row["name"] for row in rows if share in row} == {
            f"{part}: stepper, {kind}" for part in parts for kind in kinds
        }
    for part in parts:
        assert {f"{part}: {act} as many bytes, int8" for act in ("reading", "copying")} <= set(names)
    outcome = refrain("bench", "step", *small, "--windows", "2", "--repeats", "1")
    assert outcome.out.splitlines()[0].split()[-4:] == ["of", "reading", "of", "copying"]
