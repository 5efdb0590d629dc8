"""What `step` and a stack do not take is refused in one line."""

import pytest
import torch

from refrain.models import LanguageModel, Stepper
from refrain.nn import GRU, LSTM, AdaptiveHead, Embedding, RecurrentStack, SoftmaxHead

V = 7


@pytest.fixture(params=[LSTM, GRU])
def stepper(request):
    torch.manual_seed(1)
    return Stepper(LanguageModel(Embedding(V, 4), RecurrentStack([request.param(4, 5)]), SoftmaxHead(5, V)))


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        (torch.tensor([[1], [2], [3]]), r"ids must be a tensor \(B,\) of integers, got torch.int64 of shape \(3, 1\)"),
        (torch.tensor(1), r"of shape \(\)"),
        (torch.tensor([1.0]), "got torch.float32 of shape"),
        ([1], "got list"),
    ],
)
def test_ids_of_a_step(stepper, ids, message):
    with pytest.raises(ValueError, match=message):
        stepper.step(ids, stepper.initial_state(1))


@pytest.mark.parametrize("bad", [-1, V])
def test_ids_outside_of_the_vocabulary(stepper, bad):
    with pytest.raises(IndexError):
        stepper.step(torch.tensor([bad]), stepper.initial_state(1))


@pytest.mark.parametrize("state", [None, (), [1, 2]])
def test_the_state_of_a_step(stepper, state):
    with pytest.raises(ValueError, match=r"the state must be one of initial_state\(batch_size\)"):
        stepper.step(torch.tensor([1]), state)
    with pytest.raises(ValueError, match="shape"):
        stepper.step(torch.tensor([1, 2, 3]), stepper.initial_state(2))


@pytest.mark.parametrize("state", [(), (None, None, None)])
def test_a_stack_needs_a_state_for_each_layer(state):
    stack = RecurrentStack([LSTM(4, 5), LSTM(5, 6)])
    for call, inputs in ((stack, torch.randn(3, 2, 4)), (stack.step, torch.randn(2, 4))):
        with pytest.raises(ValueError, match=r"a state for each of its 2 layers \(got (0|3)\); see initial_state"):
            call(inputs, state)


@pytest.mark.parametrize("bad", [-1, 20])
def test_the_targets_of_clusters_are_named_by_their_range(bad):
    head = AdaptiveHead(6, 20, cutoffs=[5, 10], division=2.0)
    with pytest.raises(IndexError, match=r"targets must be in \[0, 20\)"):
        head(torch.randn(2, 6), torch.tensor([1, bad]))
