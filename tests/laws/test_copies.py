"""Whatever was used can be pickled and copied, and the copy computes the same, bit for bit."""

import copy
import pickle

import pytest
import torch
from table import HEADS, MODELS, RECURRENT, TAGGERS, B, H, I, T, V

from refrain.data import PADDING
from refrain.models import LanguageModel, NetworkStepper, Stepper, stepper_of
from refrain.models.packed_tagger import pack_tagger
from refrain.nn import LSTM, Embedding, RecurrentStack, SoftmaxHead

WAYS = {
    "pickle": lambda thing: pickle.loads(pickle.dumps(thing)),
    "deepcopy": copy.deepcopy,
    "pickle of a copy": lambda thing: pickle.loads(pickle.dumps(copy.deepcopy(thing))),
}


@pytest.fixture(params=WAYS)
def copied(request):
    return WAYS[request.param]


def tensors(tree):
    if isinstance(tree, torch.Tensor):
        yield tree
    elif isinstance(tree, tuple | list):
        for part in tree:
            yield from tensors(part)


def assert_same(one, other):
    found, wanted = list(tensors(one)), list(tensors(other))
    assert len(found) == len(wanted) > 0
    assert all(torch.equal(a, b) for a, b in zip(found, wanted, strict=True))


def trained(part, *arguments):
    """Run a part forwards and backwards, as training does."""
    outputs = list(tensors(part.train()(*arguments)))
    sum(output.sum() for output in outputs if output.requires_grad).backward()
    part.zero_grad()
    part.eval()


@pytest.mark.parametrize("name", RECURRENT)
def test_a_layer(name, copied):
    torch.manual_seed(3)
    layer = RECURRENT[name]()
    inputs, state = torch.randn(T, B, I), layer.initial_state(B)
    trained(layer, inputs, state)
    with torch.no_grad():
        assert_same(copied(layer)(inputs, state), layer(inputs, state))


@pytest.mark.parametrize("name", HEADS)
def test_a_head(name, copied):
    torch.manual_seed(3)
    head = HEADS[name]()
    hidden, targets = torch.randn(T * B, H), torch.randint(V, (T * B,))
    trained(head, hidden, targets)
    with torch.no_grad():
        assert_same(copied(head).token_nats(hidden, targets), head.token_nats(hidden, targets))


def windows():
    generator = torch.Generator().manual_seed(4)
    return [torch.randint(V, (T, B), generator=generator) for _ in range(2)]


@pytest.mark.parametrize("weights", ["float32", "int8"])
@pytest.mark.parametrize("name", MODELS)
def test_a_stepper(name, weights, copied):
    torch.manual_seed(3)
    model = MODELS[name]()
    inputs, targets = windows()
    trained(model, inputs, targets, model.initial_state(B))
    stepper = stepper_of(model, weights=weights)

    def use(stepper):
        one = stepper.step(inputs[0, :1], stepper.initial_state(1))
        many = stepper.step(inputs.flatten(), stepper.initial_state(T * B))
        return one, many, stepper.token_nats(inputs, targets, stepper.initial_state(B))

    wanted = use(stepper)
    other = copied(stepper)
    assert other.is_current
    assert_same(use(other), wanted)
    with torch.no_grad():
        next(iter(other.model.parameters())).add_(1.0)
    assert not other.is_current and stepper.is_current


def plain():
    stack = RecurrentStack([LSTM(5, 8), LSTM(8, 8)])
    return LanguageModel(Embedding(V, 5), stack, SoftmaxHead(8, V))


@pytest.mark.parametrize("weights", ["float32", "int8"])
def test_a_stepper_keeps_weights_that_its_model_has_no_more(weights, copied):
    torch.manual_seed(3)
    model = plain()
    stepper = Stepper(model, weights=weights)
    ids = windows()[0]
    wanted = stepper.hidden(ids, stepper.initial_state(B)), stepper.step(ids[0], stepper.initial_state(B))
    with torch.no_grad():
        next(iter(model.parameters())).add_(1.0)
    other = copied(stepper)
    assert not other.is_current
    assert_same((other.hidden(ids, other.initial_state(B)), other.step(ids[0], other.initial_state(B))), wanted)


def test_a_stepper_of_any_network(copied):
    torch.manual_seed(3)
    stepper = NetworkStepper(plain())
    ids = windows()[0]
    wanted = stepper.step(ids[0], stepper.initial_state(B))
    assert_same(copied(stepper).step(ids[0], stepper.initial_state(B)), wanted)


@pytest.mark.parametrize("weights", ["float32", "int8"])
@pytest.mark.parametrize("name", TAGGERS)
def test_a_packed_tagger(name, weights, copied):
    torch.manual_seed(3)
    packed = pack_tagger(TAGGERS[name](), weights=weights)
    generator = torch.Generator().manual_seed(4)
    inputs = torch.randint(V, (T, B, 3), generator=generator)
    inputs[3:, 1] = torch.tensor([PADDING, 0, 0])
    with torch.no_grad():
        wanted = packed.logits(inputs)
        assert_same(copied(packed).logits(inputs), wanted)
