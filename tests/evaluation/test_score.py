"""Lines are scored each on its own, whatever batch they share."""

import random

import pytest
import torch

from refrain import runs
from refrain.evaluation import score, score_lines
from refrain.models import NetworkStepper, stepper_of
from refrain.nn.kernels.integer import lanes

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


class Reading:
    """A stepper that records how many tokens it reads with shared prefixes, and in windows."""

    def __init__(self, model):
        self.stepper, self.alone, self.windows = stepper_of(model), 0, 0

    def __getattr__(self, name):
        return getattr(self.stepper, name)

    @property
    def scorer(self):
        return self

    def following_nats(self, ids, *others):
        self.alone += len(ids)
        return self.stepper.following_nats(ids, *others)

    def token_nats(self, inputs, *others):
        self.windows += inputs.numel()
        return self.stepper.token_nats(inputs, *others)


ALIKE = [f"ant bee cat {end} ant" for end in ("bee", "dog", "cat", "ant")] * 3 + ["ant bee cat", "ant bee cat", "dog"]


def test_prefixes_that_many_lines_share_are_read_once(lm, monkeypatch):
    monkeypatch.setattr(score, "LEAST_SAVED", 3)
    draw = random.Random(3)
    lines = draw.sample(ALIKE, len(ALIKE))
    reading = Reading(lm.model)
    found = list(score_lines(reading, lm.vocabulary, lines))
    assert [line.text for line in found] == lines
    assert [line.figure.nats for line in found] == pytest.approx([one_by_one(lm, line)[0] for line in lines], **CLOSE)
    tokens = sum(line.figure.tokens for line in found)
    assert reading.alone
    assert reading.alone + reading.windows < 0.7 * tokens
    # few lines share too little for another step
    monkeypatch.setattr(score, "LEAST_SAVED", 32)
    reading = Reading(lm.model)
    list(score_lines(reading, lm.vocabulary, lines))
    assert not reading.alone


def test_a_line_that_is_the_beginning_of_another_and_lines_that_are_equal(lm, monkeypatch):
    """The literal end of a line inside a line makes one the beginning of another."""
    monkeypatch.setattr(score, "LEAST_SAVED", 0)
    monkeypatch.setattr(score, "LEAST_SHARE", 0)
    lines = ["ant", "ant <eos> bee", "ant <eos> bee", "ant <eos> cat", "ant", "", "", "bee"]
    found = [line.figure.nats for line in score_lines(lm.model, lm.vocabulary, lines)]
    assert found == pytest.approx([one_by_one(lm, line)[0] for line in lines], **CLOSE)


@pytest.mark.parametrize("values", [1, 1000])
def test_the_memory_for_states_divides_the_lines_and_changes_no_score(lm, lines, monkeypatch, values):
    wanted = [line.figure.nats for line in score_lines(lm.model, lm.vocabulary, lines)]
    monkeypatch.setattr(score, "STATE_VALUES", values)
    monkeypatch.setattr(score, "BATCH_LINES", 40)
    monkeypatch.setattr(score, "LEAST_SAVED", 3)
    reading = Reading(lm.model)
    found = [line.figure.nats for line in score_lines(reading, lm.vocabulary, lines)]
    assert reading.alone
    assert found == pytest.approx(wanted, **CLOSE)


def test_a_network_without_shared_prefixes_reads_windows(lm, lines):
    wanted = [line.figure.nats for line in score_lines(lm.model, lm.vocabulary, lines)]
    reading = Reading(lm.model)
    reading.shares_prefixes = False
    assert [line.figure.nats for line in score_lines(reading, lm.vocabulary, lines)] == pytest.approx(wanted, **CLOSE)
    assert not reading.alone
    assert not NetworkStepper(lm.model).shares_prefixes


def test_integer_scores_of_lines_together_are_those_of_each_alone(tiny_run, lines):
    lm = runs.load(tiny_run, weights="int8")
    if not lanes():
        pytest.skip("no compiler, or a processor without fast products of integers")
    together = [line.figure.nats for line in score_lines(lm.stepper, lm.vocabulary, lines)]
    alone = [line.figure.nats for line in score_lines(lm.stepper, lm.vocabulary, lines, batch_size=1)]
    # sums in float64, in another order
    assert together == pytest.approx(alone, rel=1e-13)


def test_a_line_that_occurs_again_is_read_once(lm):
    words = ["ant", "bee", "cat", "dog"]
    # too few for prefixes to be shared
    lines = [" ".join(words[place:] + words[:place]) for place in range(4)]
    once, often = Reading(lm.model), Reading(lm.model)
    expected = [line.figure.nats for line in score_lines(once, lm.vocabulary, lines)]
    found = [line.figure.nats for line in score_lines(often, lm.vocabulary, lines * 3)]
    assert found == expected * 3
    assert not once.alone and (often.alone, often.windows) == (0, once.windows)
