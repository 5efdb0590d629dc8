"""Lines that share prefixes are scored as line by line, with each prefix read once, and scales are chosen by errors."""

import copy
import random

import numpy as np
import pytest
import torch
from test_score import Reading
from torch import nn

from refrain import runs
from refrain.errors import UserError
from refrain.evaluation import (
    Hypothesis,
    NBest,
    nbest,
    rescore,
    score_lines,
    score_prefix_tree,
    tune_scale,
    word_errors,
)  # fmt: skip
from refrain.evaluation import (
    prefixes as prefixes_module,
)
from refrain.models import NetworkStepper
from refrain.models.states import StateBatch

LINES = ["ant bee cat", "ant bee", "", "ant zebra cat", "ant bee cat dog", "ant bee cat", "dog"]


@pytest.fixture(scope="module", params=["tiny_run", "byte_run"])
def lm(request):
    """A model in float64, so that sums do not depend on the batch."""
    lm = runs.load(request.getfixturevalue(request.param))
    return type(lm)(copy.deepcopy(lm.model).double(), lm.vocabulary, lm.config, lm.folder)


def prefixes(lm, lines):
    """The different prefixes that are read: the line end before a line, and each token but the last."""
    end = lm.vocabulary.line_end
    encoded = [[end, *lm.vocabulary.encode(line + "\n")[:-1]] for line in lines]
    return {tuple(ids[: stop + 1]) for ids in encoded for stop in range(len(ids))}


@pytest.mark.parametrize("step_scores", [1, 600, 1 << 23])
def test_a_tree_scores_as_line_by_line_and_reads_each_prefix_once(lm, monkeypatch, step_scores):
    monkeypatch.setattr(prefixes_module, "STEP_SCORES", step_scores)
    draw = random.Random(2)
    many = [" ".join(draw.choices(["ant", "bee", "zebra"], k=draw.randint(0, 6))) for _ in range(60)]
    for lines in (LINES, many, []):
        reading = Reading(lm.model)
        found = score_prefix_tree(reading, lm.vocabulary, lines)
        wanted = list(score_lines(lm.model, lm.vocabulary, lines, batch_size=1))
        assert [score.text for score in found.lines] == lines
        assert [(score.figure.tokens, score.unknown) for score in found.lines] == [
            (score.figure.tokens, score.unknown) for score in wanted
        ]
        for score, other in zip(found.lines, wanted, strict=True):
            assert score.figure.nats == pytest.approx(other.figure.nats, abs=1e-6)
        assert found.evaluated == reading.alone == len(prefixes(lm, lines))


class SidewaysNetwork(nn.Module):
    """A network of one's own with batches along another axis of its state, and a part that is nested."""

    def __init__(self, size):
        super().__init__()
        self.embedding, self.size = nn.Embedding(size, 5), size
        self.head = nn.Linear(5, size)

    def initial_state(self, batch_size=1):
        zeros = torch.zeros(1, batch_size, 5, dtype=self.head.weight.dtype)
        return zeros, (zeros[0, :, 0],)

    def forward(self, inputs, targets, state):
        raise NotImplementedError

    def step(self, ids, state):
        hidden = torch.tanh(state[0] + self.embedding(ids))
        return torch.log_softmax(self.head(hidden[0]) + state[1][0][:, None], 1), (hidden, (state[1][0] + 1,))


def test_a_network_with_another_axis_of_the_batch(lm):
    torch.manual_seed(0)
    network = SidewaysNetwork(len(lm.vocabulary)).double()
    found = score_prefix_tree(network, lm.vocabulary, LINES)
    for line, score in zip(LINES, found.lines, strict=True):
        (alone,) = score_prefix_tree(network, lm.vocabulary, [line]).lines
        assert score.figure.nats == pytest.approx(alone.figure.nats, abs=1e-9)
    network.initial_state = lambda batch_size=1: torch.zeros(1, 5)
    with pytest.raises(UserError, match="without an axis for the sequences of a batch; let initial_state"):
        StateBatch(NetworkStepper(network))


def test_a_beam_search_reads_a_token_after_each_of_several_states(lm):
    end = lm.vocabulary.line_end
    first, second = lm.vocabulary.encode("ant b")[:2]
    log_probabilities, (after_end,) = lm.score_batch([lm.initial_state()], [end])
    torch.testing.assert_close(log_probabilities, lm.step(torch.tensor([end]), lm.initial_state())[0])
    states = [after_end, lm.initial_state(), after_end]
    found, after = lm.score_batch(states, torch.tensor([first, end, second]))
    for index, (state, token) in enumerate(zip(states, [first, end, second], strict=True)):
        alone, state_after = lm.step(torch.tensor([token]), state)
        torch.testing.assert_close(found[index : index + 1], alone)
        following = [lm.step(torch.tensor([end]), each)[0] for each in (after[index], state_after)]
        torch.testing.assert_close(*following)
    empty, none = lm.score_batch([], [])
    assert (tuple(empty.shape), none) == ((0, len(lm.vocabulary)), [])
    for ids in ([1], [1, 2, len(lm.vocabulary)], [-1, 0, 0]):
        with pytest.raises(UserError, match="ids: "):
            lm.score_batch(states, ids)
    # torch would cut fractions off and count True as 1
    for wrong in ([3.7], [True], ["a"], [None], torch.tensor([1.0])):
        with pytest.raises(UserError, match=r"^ids: each must be a whole number \(got .*\)$"):
            lm.score_batch([lm.initial_state()], wrong)
    for ids in (np.array([end], np.uint16), torch.tensor([end], dtype=torch.int32), [np.int64(end)]):
        torch.testing.assert_close(lm.score_batch([lm.initial_state()], ids)[0], log_probabilities)


@pytest.mark.parametrize(
    ("reference", "hypothesis", "errors"),
    [
        ("", "", 0), ("a b c", "a b c", 0), ("a b c", "", 3), ("", "a b", 2), ("a b c", "a x c", 1),
        ("a b c", "b c", 1), ("b c", "a b c", 1), ("a b c d", "x a c d d", 3), ("k i t t e n", "s i t t i n g", 3),
    ],
)  # fmt: skip
def test_word_errors(reference, hypothesis, errors):
    assert word_errors(reference.split(), hypothesis.split()) == errors
    assert word_errors(hypothesis.split(), reference.split()) == errors


def test_a_text_is_one_line(lm):
    wanted = list(score_lines(lm.model, lm.vocabulary, ["ant bee"]))
    assert list(score_lines(lm.model, lm.vocabulary, "ant bee")) == wanted
    assert [line.text for line in score_prefix_tree(lm.model, lm.vocabulary, "ant bee").lines] == ["ant bee"]
    with pytest.raises(UserError, match=r"^each line: must be a text \(got 3\)$"):
        list(score_lines(lm.model, lm.vocabulary, ["ant", 3]))
    with pytest.raises(UserError, match=r"^lines: each must be a text \(got 3\)$"):
        score_prefix_tree(lm.model, lm.vocabulary, ["ant", 3])


def test_what_was_loaded_is_no_network(lm):
    for score in (
        lambda: list(rescore(lm, lm.vocabulary, [NBest("u", [Hypothesis("ant", 1.0)])])),
        lambda: list(score_lines(lm, lm.vocabulary, ["ant"])),
        lambda: score_prefix_tree(lm, lm.vocabulary, ["ant"]),
    ):
        with pytest.raises(UserError, match=r"^model: must be a network, such as lm\.model .* TrainedLanguageModel\)$"):
            score()


def test_lists_are_rescored_in_batches_and_in_order(lm, monkeypatch):
    lists = [NBest(f"u{number}", [Hypothesis(line, -number) for line in LINES[number:]]) for number in range(5)]
    for size in (1, 7, 2048):
        monkeypatch.setattr(nbest, "BATCH_HYPOTHESES", size)
        found = list(rescore(lm.model, lm.vocabulary, lists))
        assert [(each.utterance, each.hypotheses) for each in found] == lists
        for each in found:
            texts = [hypothesis.text for hypothesis in each.hypotheses]
            wanted = [score.figure.nats for score in score_lines(lm.model, lm.vocabulary, texts)]
            assert [line.figure.nats for line in each.lines] == pytest.approx(wanted, abs=1e-6)
            assert each.total(0, 2.0) == pytest.approx(each.hypotheses[0].score - 2 * wanted[0])


def test_the_scale_with_the_fewest_errors_is_chosen(lm):
    cheap, dear = sorted(["ant bee", "zebra zebra dog dog"], key=lambda text: lm.score(text).nats)
    gap = lm.score(dear).nats - lm.score(cheap).nats
    # the recogniser prefers the wrong one by as much as the language model does the right one at scale 3
    lists = list(rescore(lm.model, lm.vocabulary, [NBest("u", [Hypothesis(cheap, 0), Hypothesis(dear, 3 * gap)])]))
    tuned = tune_scale(lists, {"u": cheap})
    assert (tuned.errors, tuned.errors_at_zero) == (0, word_errors(cheap.split(), dear.split()))
    assert (tuned.least_errors, tuned.words) == (0, len(cheap.split()))
    assert tuned.scale == min(scale for scale in nbest.SCALES if scale > 3)
    assert (lists[0].best(tuned.scale), lists[0].best(0)) == (0, 1)
    # of equal scales the smallest
    assert tune_scale(lists, {"u": dear}).scale == 0
    with pytest.raises(UserError, match=r"^the utterance 'w' has no hypotheses; give at least one$"):
        list(rescore(lm.model, lm.vocabulary, [NBest("w", [])]))
    with pytest.raises(UserError, match=r"^the utterance 'w' has no hypotheses; give at least one$"):
        tune_scale([lists[0]._replace(utterance="w", hypotheses=[], lines=[])], {"w": cheap})
    with pytest.raises(UserError, match=r"^references: the utterance 'u' has none; give the words of each$"):
        tune_scale(lists, {"v": cheap})
