"""Figures add up by hand: nats summed, tokens counted, divided once."""

import itertools
import math

import numpy as np
import pytest
import torch
from torch import nn

from refrain import assembly, runs
from refrain.config import Data
from refrain.data import TextSize, Windows, open_word_corpus
from refrain.data.text.files import whole
from refrain.errors import DataError, UserError
from refrain.evaluation import (
    Cache,
    Figure,
    evaluate,
    evaluate_with_cache,
    gather_statistics,
    protocol_windows,
    stream_nats,
)
from refrain.evaluation.perplexity import guessing_concerns

# sums of a few hundred float32 values, in another order
CLOSE = {"rel": 1e-5}


class Counting(nn.Module):
    """Costs `table[input, target]` nats, and one more for every token that its state has read before."""

    def __init__(self, table):
        super().__init__()
        self.table = nn.Parameter(torch.tensor(table, dtype=torch.float64))
        self.modes = []

    def initial_state(self, batch_size):
        return torch.zeros(batch_size, dtype=torch.float64)

    def token_nats(self, inputs, targets, state):
        self.modes.append(self.training)
        nats = []
        for x, y in zip(inputs, targets, strict=True):
            nats.append(self.table[x, y].detach() + state)
            state = state + 1
        return torch.stack(nats), state


class Memory:
    """Tokens in memory."""

    def __init__(self, tokens):
        self.tokens = np.array(tokens)

    def __len__(self):
        return len(self.tokens)

    def read(self, start, stop):
        return self.tokens[start:stop]

    def release(self):
        pass


@pytest.fixture(scope="module")
def trained(tiny_run):
    return runs.load(tiny_run)


@pytest.fixture(scope="module")
def valid(trained):
    corpus, name = assembly.build_text(
        Data.model_validate(trained.config["data"]),
        assembly.locate(trained.config["data"]["corpus"]),
        "valid",
        trained.vocabulary,
    )
    return corpus.splits[name].tokens


def test_a_figure():
    figure = Figure(nats=6 * math.log(2), tokens=3)
    assert figure.nats_per_token == pytest.approx(2 * math.log(2))
    assert figure.bits_per_token == pytest.approx(2)
    assert figure.perplexity == pytest.approx(4)
    assert figure.document() == {
        "tokens": 3,
        "nats_per_token": figure.nats_per_token,
        "bits_per_token": figure.bits_per_token,
        "perplexity": figure.perplexity,
    }
    # four tokens, of which the first is not scored
    found = figure.document(TextSize(tokens=4, bytes=16, characters=8, words=2))
    assert found == {
        **figure.document(),
        "bits_per_byte": pytest.approx(0.5),
        "bits_per_character": pytest.approx(1),
        "perplexity_per_word": pytest.approx(16),
    }


def test_a_perplexity_beyond_all_numbers():
    assert Figure(1e6, 1).perplexity == math.inf


def test_five_tokens_by_the_exact_protocol():
    # a b b a c: the first is given, the pairs ab bb ba ac cost 1 + 2 + 4 + 8 and the state 0 + 1 + 2 + 3
    model = Counting([[100, 1, 8], [4, 2, 100], [100, 100, 100]])
    windows = protocol_windows(Memory([0, 1, 1, 0, 2]), "exact", split="valid", window_steps=2)
    assert evaluate(model, windows) == Figure(nats=21.0, tokens=4)


@pytest.mark.parametrize("window_steps", [1, 2, 3, 4, 512])
def test_the_state_is_carried_over_the_windows_of_a_column(window_steps):
    model = Counting([[100, 1, 8], [4, 2, 100], [100, 100, 100]])
    source = Memory([0, 1, 1, 0, 2])
    windows = Windows(source, batch_size=1, window_steps=window_steps, tail="keep")
    assert evaluate(model, windows) == Figure(nats=21.0, tokens=4)


def test_columns_have_states_of_their_own():
    # columns 0 1 2 and 2 1 0 of tokens worth 1 each: states 0 + 1 in both
    windows = Windows(Memory([0, 1, 2, 2, 1, 0]), batch_size=2, window_steps=1)
    assert evaluate(Counting([[1, 1, 1]] * 3), windows) == Figure(nats=4 + 2, tokens=4)


@pytest.mark.parametrize("training", [True, False])
def test_the_model_is_evaluated_and_left_as_it_was(training):
    model = Counting([[1.0]])
    model.train(training)
    pieces = stream_nats(model, Windows(Memory([0] * 5), batch_size=1, window_steps=2))
    next(pieces)
    # also between two windows, while somebody may use the model for something else
    assert model.training is training
    assert len(list(pieces)) == 1
    assert model.training is training
    assert model.modes == [False, False]


@pytest.mark.parametrize("window_steps", [1, 7, 64, 1000])
def test_nats_do_not_depend_on_the_evaluation_window(trained, valid, window_steps):
    wanted = evaluate(trained.model, protocol_windows(valid, "exact", split="valid", window_steps=5))
    windows = Windows(valid, batch_size=1, window_steps=window_steps, tail="keep")
    found = evaluate(trained.model, windows)
    assert found.tokens == wanted.tokens == len(valid) - 1
    assert found.nats == pytest.approx(wanted.nats, **CLOSE)


def test_nats_are_those_of_one_step_after_another(trained, valid):
    ids = torch.from_numpy(valid.tokens.astype(np.int64))
    state, nats = trained.initial_state(), 0.0
    for x, y in itertools.pairwise(ids):
        log_probabilities, state = trained.step(x[None], state)
        nats -= float(log_probabilities[0, y])
    figure = evaluate(trained.model, protocol_windows(valid, "exact", split="valid", window_steps=5))
    assert figure.nats == pytest.approx(nats, **CLOSE)


@pytest.mark.parametrize(
    ("protocol", "split", "columns", "tokens"),
    [
        # 1007 tokens: all but the first
        ("exact", "train", 1, 1006),
        ("exact", "test", 1, 1006),
        ("zaremba", "test", 1, 1006),
        ("awd", "test", 1, 1006),
        # 20 columns of 50, 49 predicted, 7 windows of 7
        ("zaremba", "valid", 20, 20 * 49),
        ("zaremba", "train", 20, 20 * 49),
        ("zaremba", "all", 20, 20 * 49),
        # 10 columns of 100, 99 predicted, the last window of one step kept
        ("awd", "valid", 10, 10 * 99),
        ("awd", "train", 10, 10 * 99),
    ],
)
def test_the_protocols_count_their_tokens(protocol, split, columns, tokens):
    windows = protocol_windows(Memory([0] * 1007), protocol, split=split, window_steps=7)
    assert windows.batch_size == columns
    assert windows.predicted == tokens
    assert evaluate(Counting([[1.0]]), windows).tokens == tokens
    assert sum(targets.numel() for targets, _ in stream_nats(Counting([[1.0]]), windows)) == tokens


def test_zaremba_leaves_a_partial_window_out():
    # 20 columns of 50, 49 predicted: 6 windows of 8
    assert protocol_windows(Memory([0] * 1007), "zaremba", split="valid", window_steps=8).predicted == 20 * 48


@pytest.mark.parametrize(
    ("protocol", "needed", "found"),
    [("exact", 2, "1 token"), ("zaremba", 160, "159 tokens"), ("awd", 20, "19 tokens")],
)
def test_a_text_too_short_for_its_protocol(protocol, needed, found):
    with pytest.raises(DataError, match=rf"^mine: has {found}, too few.* {needed}( tokens)?\b"):
        protocol_windows(Memory([0] * (needed - 1)), protocol, split="valid", window_steps=7, name="mine")
    assert len(protocol_windows(Memory([0] * needed), protocol, split="valid", window_steps=7)) == 1


@pytest.mark.parametrize(
    ("protocol", "split", "steps", "message"),
    [
        ("Exact", "valid", 7, "protocol: must be one of exact, zaremba, awd (got 'Exact')"),
        ("foo", "test", 7, "protocol: must be one of exact, zaremba, awd (got 'foo')"),
        (None, "valid", 7, "protocol: must be one of exact, zaremba, awd (got None)"),
        ("awd", "Test", 7, "split: must be one of train, valid, test, all (got 'Test')"),
        ("awd", "valid", 0, "window_steps must be at least 1 (got 0)"),
        ("zaremba", "valid", -5, "window_steps must be at least 1 (got -5)"),
        ("zaremba", "valid", 7.5, "window_steps: must be a whole number (got 7.5)"),
    ],
)
def test_a_protocol_that_does_not_exist(protocol, split, steps, message):
    with pytest.raises(UserError) as raised:
        protocol_windows(Memory([0] * 1007), protocol, split=split, window_steps=steps)
    assert str(raised.value) == message


def test_what_was_loaded_is_no_network(trained):
    """The loaded object has other methods than its network, and failed at whichever was missing first."""
    windows = protocol_windows(Memory([0, 1, 1, 0, 2]), "exact", split="valid", window_steps=2)
    lm = runs.load(trained.folder)
    for measure in (
        lambda: evaluate(lm, windows),
        lambda: list(stream_nats(lm, windows)),
        lambda: evaluate_with_cache(lm, windows, Cache()),
        lambda: gather_statistics(lm, windows),
    ):
        with pytest.raises(UserError, match=r"^model: must be a network, such as lm\.model .* TrainedLanguageModel\)$"):
            measure()


def test_unseen_words_cost_what_unk_costs(trained, write):
    def nats(name, text):
        corpus = open_word_corpus(name, {"all": whole(write(name, text))}, vocabulary=trained.vocabulary)
        return evaluate(
            trained.model, protocol_windows(corpus.splits["all"].tokens, "exact", split="all", window_steps=5)
        )

    assert nats("unseen", "ant zebra bee\n") == nats("literal", "ant <unk> bee\n")


def figures(**perplexities):
    return {f"the {split} text": {"perplexity": value} for split, value in perplexities.items()}


def test_a_perplexity_that_unknown_words_alone_make_large_is_no_divergence():
    figure = {"perplexity": math.inf, "perplexity_without_unknown": 5.0}
    (line,) = guessing_concerns({"the text": figure}, 10_000)
    assert "unknown words cost that much" in line and "diverged" not in line
    (line,) = guessing_concerns({"the text": {**figure, "perplexity_without_unknown": math.inf}}, 10_000)
    assert "diverged" in line


def test_a_perplexity_above_that_of_equal_probabilities_is_told():
    (line,) = guessing_concerns(figures(valid=100.0, test=20_784.4), 10_000)
    assert line.startswith("the perplexity of the test text (20,784.4) is above 10,000, that of equal probabilities")
    assert guessing_concerns(figures(test=10_000.0), 10_000) == []
    assert len(guessing_concerns(figures(test=math.inf), 10_000)) == 1
