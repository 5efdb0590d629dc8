"""Lines are scored each on its own, whatever batch they share."""

import random

import pytest
import torch

from refrain import runs
from refrain.evaluation import score, score_lines
from refrain.models import stepper_of

# float32 sums of a line, in another order
CLOSE = {"rel": 1e-5}


@pytest.fixture(scope="module", params=["tiny_run", "byte_run"])
def lm(request):
    return runs.load(request.getfixturevalue(request.param))


@pytest.fixture(scope="module")
def lines():
    draw = random.Random(5)
    some = [" ".join(draw.choices(["ant", "bee", "cat", "zebra"], k=draw.randint(0, 9))) for _ in range(300)]
    return ["", *some, "ant " * 400]


def one_by_one(lm, line):
    """Nats of a line after a line end, a step at a time."""
    ids = lm.vocabulary.encode(line + "\n")
    state, nats = lm.initial_state(), 0.0
    for before, target in zip([lm.vocabulary.line_end, *ids], ids, strict=False):
        log_probabilities, state = lm.step(torch.tensor([before]), state)
        nats -= float(log_probabilities[0, target])
    return nats, len(ids)


def test_a_line_costs_what_it_costs_alone(lm, lines):
    few = [*lines[:8], "ant " * 40]
    for line, found in zip(few, score_lines(lm.model, lm.vocabulary, few), strict=True):
        nats, tokens = one_by_one(lm, line)
        assert found.text == line
        assert found.figure.tokens == tokens
        assert found.figure.nats == pytest.approx(nats, **CLOSE)


@pytest.mark.parametrize("batch_tokens", [1, 50, 1 << 20])
def test_a_score_does_not_depend_on_the_batch(lm, lines, monkeypatch, batch_tokens):
    wanted = list(score_lines(lm.model, lm.vocabulary, lines))
    monkeypatch.setattr(score, "BATCH_TOKENS", batch_tokens)
    found = list(score_lines(lm.model, lm.vocabulary, lines))
    assert [line.text for line in found] == lines
    assert [line.figure.tokens for line in found] == [line.figure.tokens for line in wanted]
    assert [line.figure.nats for line in found] == pytest.approx([line.figure.nats for line in wanted], **CLOSE)


def test_a_long_line_is_scored_in_windows_with_the_state_carried(lm, monkeypatch):
    stepper = stepper_of(lm.model)
    windows = []

    def token_nats(inputs, targets, state):
        windows.append(tuple(inputs.shape))
        return type(stepper).token_nats(stepper, inputs, targets, state)

    monkeypatch.setattr(stepper, "token_nats", token_nats, raising=False)
    monkeypatch.setattr(score, "BATCH_TOKENS", 50)
    line = "ant bee cat " * 40
    (found,) = score_lines(stepper, lm.vocabulary, [line])
    nats, tokens = one_by_one(lm, line)
    assert found.figure.nats == pytest.approx(nats, **CLOSE)
    assert [steps for steps, _ in windows] == [50] * (tokens // 50) + [tokens % 50]


def test_the_order_of_the_lines_does_not_matter(lm, lines):
    forth = [line.figure.nats for line in score_lines(lm.model, lm.vocabulary, lines)]
    back = [line.figure.nats for line in score_lines(lm.model, lm.vocabulary, lines[::-1])]
    assert back[::-1] == pytest.approx(forth, **CLOSE)


def test_unknown_words_are_counted_and_literal_unk_is_none(lm):
    (found,) = score_lines(lm.model, lm.vocabulary, ["ant zebra <unk> lion"])
    assert found.unknown == (2 if lm.vocabulary.unit == "word" else 0)


def test_lines_are_read_as_they_are_needed(lm):
    read = []

    def endless():
        while True:
            read.append(1)
            yield "ant"

    scores = score_lines(lm.model, lm.vocabulary, endless())
    for count in (1, 2, 3):
        next(scores)
        assert len(read) == count
    read.clear()
    next(score_lines(lm.model, lm.vocabulary, endless(), batch_size=7))
    assert len(read) == 7
    with pytest.raises(ValueError, match=r"batch_size must be at least 1 \(got 0\)"):
        next(score_lines(lm.model, lm.vocabulary, [], batch_size=0))


def test_no_lines(lm):
    assert list(score_lines(lm.model, lm.vocabulary, [])) == []


def test_the_model_is_left_as_it_was(lm):
    lm.model.train()
    try:
        list(score_lines(lm.model, lm.vocabulary, ["ant"]))
        assert lm.model.training
    finally:
        lm.model.eval()
