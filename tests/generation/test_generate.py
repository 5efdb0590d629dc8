"""Text is drawn a token at a time, every sample by itself, each from what came before it."""

import numpy as np
import pytest
import torch
from torch import nn

from refrain import runs
from refrain.errors import UserError
from refrain.generation import Sampler, generate
from refrain.models import LanguageModel
from refrain.nn import LSTM, Embedding, LockedDropout, RecurrentStack, SoftmaxHead
from refrain.trained import language_model

BATCH = 40


class Chain:
    """A stepper over four tokens; the next is certain: the sum, modulo 4, of all that were read."""

    device = torch.device("cpu")

    def initial_state(self, batch_size):
        return (torch.zeros(batch_size, dtype=torch.int64),)

    def read(self, inputs, state):
        return (state[0] + inputs.sum(dim=0),)

    def step(self, ids, state):
        total = state[0] + ids
        return torch.log_softmax(1e6 * nn.functional.one_hot(total % 4, 4).float(), dim=-1), (total,)


def drawn(model, context, sampler=None, **options):
    settings = {"tokens": 6, "generator": torch.Generator().manual_seed(1), **options}
    return list(generate(model, context, sampler or Sampler(), **settings))


@pytest.fixture(scope="module")
def lm(tiny_run):
    return runs.load(tiny_run)


def test_the_next_token_follows_from_all_before_it():
    # 1, then 1 = 1, 1 + 1 = 2, 2 + 2 = 4, and sums of multiples of four
    assert drawn(Chain(), [1]) == [[1], [2], [0], [0], [0], [0]]
    # 3 + 2 + 1 = 6, 12, ...
    assert drawn(Chain(), [3, 2, 1], tokens=4) == [[2], [0], [0], [0]]
    assert drawn(Chain(), [1, 2], tokens=3) == [[3], [2], [0]]


def test_a_sample_ends_before_the_token_that_ends_it():
    assert drawn(Chain(), [1], stop=0) == [[1], [2]]
    assert drawn(Chain(), [1], stop=3, tokens=4) == [[1], [2], [0], [0]]
    assert drawn(Chain(), [1], stop=1) == []


def test_samples_stop_each_by_itself():
    # the first sample is made to end at once, the second two steps later
    turns = iter([[0, 1], [1, 1], [1, 0], [1, 1]])

    def draw(log_probabilities, generator):
        return torch.tensor(next(turns))

    assert drawn(Chain(), [1], draw, samples=2, stop=0, tokens=4) == [[None, 1], [None, 1]]


def test_an_empty_context():
    with pytest.raises(ValueError, match="at least one token is needed"):
        drawn(Chain(), [])


@pytest.mark.parametrize("made", [torch.tensor, np.array, tuple, iter])
def test_a_context_of_any_form(made):
    assert drawn(Chain(), made([3, 2, 1]), tokens=4) == [[2], [0], [0], [0]]


@pytest.mark.parametrize(
    ("context", "message"),
    [
        ([1.5], "context: must be a whole number"),
        ([1, -1], r"context: an id must not be negative \(got -1\)"),
        (torch.tensor([[1, 2]]), "context: must be a whole number"),
        (torch.tensor([1.0]), "context: must be a whole number"),
        ("the", "context: must be a list of ids"),
        (torch.tensor(3), "context: must be a list of ids"),
        (np.array(3), "context: must be a list of ids"),
    ],
)
def test_a_context_that_is_none(context, message):
    with pytest.raises(UserError, match=message):
        drawn(Chain(), context)


def test_a_model_in_training_writes_without_dropout_and_is_left_in_training():
    dropout = LockedDropout(0.5)
    model = LanguageModel(
        Embedding(5, 4), RecurrentStack([LSTM(4, 6), LSTM(6, 4)], between=dropout), SoftmaxHead(4, 5),
        embedding_dropout=dropout, output_dropout=dropout,
    )  # fmt: skip
    wanted = drawn(model.eval(), [1, 2], tokens=30)
    model.train()
    stream = generate(model, [1, 2], Sampler(), tokens=30, generator=torch.Generator().manual_seed(1))
    found = [next(stream)]
    assert model.training
    assert found + list(stream) == wanted
    assert model.training


def test_many_samples_are_draws_of_their_own(lm):
    rows = drawn(lm.model, [0], samples=BATCH, tokens=30)
    assert {len(row) for row in rows} == {BATCH}
    texts = {tuple(row[column] for row in rows) for column in range(BATCH)}
    assert len(texts) == BATCH
    assert {index for row in rows for index in row} <= set(range(len(lm.vocabulary)))


def test_samples_side_by_side_are_those_one_at_a_time(lm):
    greedy = Sampler(temperature=0)
    alone = [row[0] for row in drawn(lm.model, [2, 3], greedy, tokens=12)]
    together = drawn(lm.model, [2, 3], greedy, tokens=12, samples=5)
    assert together == [[index] * 5 for index in alone]


def test_a_prompt_is_read_as_if_step_by_step(lm):
    greedy, prompt = Sampler(temperature=0), [lm.vocabulary.line_end, 2, 3, 4]
    state = lm.initial_state()
    for index in prompt:
        log_probabilities, state = lm.step(torch.tensor([index]), state)
    assert drawn(lm.model, prompt, greedy, tokens=1) == [[int(log_probabilities.argmax())]]


def test_a_prompt_may_be_read_without_a_line_end_before_it(lm, monkeypatch):
    contexts = []
    monkeypatch.setattr(language_model, "generate", lambda stepper, context, *_, **options: contexts.append(context))
    text = lm.vocabulary.decode([2, 3, 4])
    for options in ({}, {"start": "line-end"}, {"start": "none"}):
        lm.stream(text, **options)
    assert contexts == [[lm.vocabulary.line_end, 2, 3, 4]] * 2 + [[2, 3, 4]]
    with pytest.raises(ValueError, match="start: 'none' needs a prompt"):
        lm.stream(start="none")
    with pytest.raises(ValueError, match=r"start: must be one of line-end, none \(got 'newline'\)"):
        lm.stream("x", start="newline")


def test_a_seed_decides(lm):
    first, again, other = (lm.generate(tokens=30, samples=3, seed=seed) for seed in (1, 1, 2))
    assert first == again
    assert first != other
    assert lm.generate(tokens=30) != lm.generate(tokens=30)


def test_drawing_leaves_the_global_generator_alone(lm):
    before = torch.get_rng_state()
    lm.generate(tokens=5)
    assert torch.equal(before, torch.get_rng_state())


def test_texts_begin_with_the_prompt(lm):
    for text in lm.generate("ant bee", tokens=4, samples=3, seed=1):
        assert text.startswith("ant bee")
        assert len(lm.vocabulary.encode(text)) == 2 + 4
    # also with one that the vocabulary lacks, and with blanks that separate no words
    for prompt in ("zebra", "  ant  bee ", "ant\nbee\n"):
        (text,) = lm.generate(prompt, tokens=1, seed=1, allow_unknown=False)
        assert text.startswith(prompt) and "<unk>" not in text and len(text) > len(prompt)


def test_unk_can_be_left_out(lm):
    probable = Sampler(banned=[index for index in range(len(lm.vocabulary)) if index != lm.vocabulary.unknown])
    assert drawn(lm.model, [0], probable, tokens=2) == [[lm.vocabulary.unknown]] * 2
    # at a high temperature one in eight would be <unk>
    texts = lm.generate(tokens=200, temperature=1e6, seed=1, allow_unknown=False)
    assert "<unk>" not in texts[0]
    assert "<unk>" in lm.generate(tokens=200, temperature=1e6, seed=1)[0]


def test_stopping_at_the_line_end(lm):
    stopped = lm.generate(tokens=200, samples=5, seed=1, stop_at_line_end=True)
    whole = lm.generate(tokens=200, samples=5, seed=1)
    assert stopped == [text.split("\n")[0] for text in whole]
    assert any(stopped)


def test_bytes(byte_run):
    lm = runs.load(byte_run)
    texts = lm.generate("é", tokens=20, samples=2, seed=3)
    assert all(text.startswith("é") for text in texts)
    assert texts == lm.generate("é", tokens=20, samples=2, seed=3)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tokens": True}, "tokens: must be a whole number"),
        ({"tokens": torch.tensor(2)}, "tokens: must be a whole number"),
        ({"tokens": 2, "samples": True}, "samples: must be a whole number"),
        ({"tokens": -1}, "tokens must be at least 0"),
        ({"tokens": 1, "samples": 0}, "samples must be at least 1"),
    ],
)
def test_mistakes_are_found_before_the_first_token_is_drawn(options, message):
    with pytest.raises(UserError, match=message):
        generate(None, [1], Sampler(), generator=torch.Generator(), **options)
