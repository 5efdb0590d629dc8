"""The comparison that an exported model has to pass, and the C code that it is made of."""

import math

import numpy as np
import pytest
import torch

from refrain.errors import CheckpointError
from refrain.export.c_code import identifiers, literal, number
from refrain.export.c_memory import _first_fit, plan
from refrain.export.proof import TIMED, Reference, compare
from refrain.export.proof_of_scores import compare_scores, library_scorer
from refrain.export.recogniser_tokens import same_ids
from refrain.models import LanguageModel
from refrain.models.step_graph import step_graph
from refrain.nn import LSTM, Embedding, MixtureHead, RecurrentStack

V, H = 7, 6


class Text:
    """Ids that repeat."""

    def __len__(self):
        return 1200

    def read(self, start, stop):
        return np.arange(start, stop) * 3 % V


@pytest.fixture
def model():
    torch.manual_seed(1)
    return LanguageModel(Embedding(V, H), RecurrentStack([LSTM(H, H)]), MixtureHead(H, 3, V, components=4)).eval()


def proved(model, run, weights="float32", tolerance=1e-4):
    return compare(run, model, step_graph(model), Text(), weights=weights, tolerance=tolerance, tokens=1000)


def test_a_model_that_computes_the_same_passes(model):
    found = proved(model, Reference(model, "float32"))
    assert found.max_difference == 0
    assert found.tokens == 1000
    state, nats = model.initial_state(1), 0.0
    for now, after in zip(Text().read(0, 1000), Text().read(1, 1001), strict=True):
        log_probabilities, state = model.step(torch.tensor([now]), state)
        nats -= float(log_probabilities[0, after])
    assert found.perplexity == found.library_perplexity == pytest.approx(math.exp(nats / 1000), rel=1e-5)


def test_a_scorer_of_whole_texts_is_timed_beside_the_library_in_one_call_as_well(model, monkeypatch):
    timed = []
    monkeypatch.setattr("refrain.export.proof_of_scores.milliseconds", lambda *given: timed.append(given) or (1.0, 2.0))
    graph = step_graph(model)
    score = library_scorer(Reference(model, "float32"), graph, same_ids(V, 0))
    found = compare_scores(score, model, graph, Text(), weights="float32", tolerance=1e-4, tokens=1000)
    assert (found.ms_per_token, found.library_ms_per_token) == (1.0, 2.0)
    ((own, library, count),) = timed
    # the nats of one text of so many tokens, its end included
    assert own().shape == library().shape == (1,) and own() == library()
    assert count == TIMED + 2


def changed(model, change):
    """A runner whose results are changed."""
    same = Reference(model, "float32")
    return lambda ids, states: change(*same(ids, states), ids)


WRONG = {
    "log-probabilities": lambda a, states, ids: (a + 2e-4, states),
    "states": lambda a, states, ids: (a, [states[0] + 2e-4, states[1]]),
    "not a number": lambda a, states, ids: (a * np.float32("nan"), states),
    "long windows": lambda a, states, ids: (a + 2e-4 * (ids.shape[1] > 20), states),
    "large batches": lambda a, states, ids: (a + 2e-4 * (len(ids) > 4), states),
    "another shape": lambda a, states, ids: (a[:, :, 1:], states),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_model_that_computes_something_else_is_refused(model, case):
    with pytest.raises(CheckpointError, match=r"differ by .*nothing was written"):
        proved(model, changed(model, WRONG[case]))


def test_a_state_that_is_lost_between_windows_is_noticed(model):
    same = Reference(model, "float32")
    zeros = [np.zeros((1, H), np.float32)] * 2
    with pytest.raises(CheckpointError, match="differ"):
        proved(model, lambda ids, states: same(ids, [np.repeat(part, len(ids), 0) for part in zeros]))


def test_int8_may_cost_one_percent_of_perplexity(model):
    def worse(factor):
        return changed(model, lambda a, states, ids: (a - np.float32(math.log(factor)), states))

    found = proved(model, worse(1.009), weights="int8", tolerance=None)
    assert found.perplexity / found.library_perplexity == pytest.approx(1.009, abs=1e-4)
    with pytest.raises(CheckpointError, match=r"in int8 and .* in float32"):
        proved(model, worse(1.02), weights="int8", tolerance=None)


def test_values_in_use_at_the_same_time_are_apart_in_memory(model):
    graph = step_graph(model)
    made = plan(graph)
    size = {name: width for each in made.operations for name, width in zip(each.outputs, each.widths, strict=True)}
    # a value is in use from the operation that makes it to the last that reads it
    results = (*made.after, graph.flat().log_probabilities)
    last = {name: index for index, each in enumerate(made.operations) for name in each.inputs}
    last |= dict.fromkeys(results, len(made.operations))
    wholes = {name: each.inputs[0] for each in made.operations if each.kind == "split" for name in each.outputs}
    first = {name: index for index, each in enumerate(made.operations) for name in each.outputs}
    for name, begin in first.items():
        for other, start in first.items():
            together = start < begin < last.get(other, -1) and name not in wholes
            one, two = made.places[name], made.places[other]
            if together and one.array == two.array:
                apart = one.offset + size[name] <= two.offset or two.offset + size[other] <= one.offset
                assert apart, (name, other)
    # the mixture is summed in the caller's memory, component by component
    assert made.places[graph.flat().log_probabilities] == ("out", 0)
    assert made.work < 4 * H * 2 + 3 * 4 + 2 * V + 20


def test_buffers_take_the_first_place_that_is_free():
    buffers = [[4, 0, 2], [2, 1, 1], [3, 2, 5], [2, 3, 4]]
    assert _first_fit(buffers) == ([0, 4, 4, 0], 7)


def test_c_is_written_so_that_a_compiler_reads_the_same():
    assert literal(b'a"\\?\n1 \xff') == '"a\\042\\134\\077\\0121 \\377"'
    assert [number(value) for value in (1.0, -0.1, 1e-30)] == ["1.0f", "-0.1f", "1e-30f"]
    assert float(np.float32(number(float(np.float32(1 / 3)))[:-1])) == float(np.float32(1 / 3))
    assert identifiers(["a.b", "a-b", "a_b"], "w_") == {"a.b": "w_a_b", "a-b": "w_a_b_2", "a_b": "w_a_b_3"}
