"""Weight drop under torch.compile: the masks of the plain layer, drawn anew for each window and never shared."""

import pytest
import torch

from refrain.models import LanguageModel
from refrain.nn import (
    GRU,
    LSTM,
    Embedding,
    EmbeddingDropout,
    LockedDropout,
    LSTMCell,
    RecurrentStack,
    SoftmaxHead,
    WeightDropout,
)

T, B, H, V = 7, 3, 20, 30
LAYERS = [LSTM, GRU, LSTMCell]

# the compiler touches tensors and makes objects in ways that torch warns of
pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(scope="module", autouse=True)
def compiled_code(tmp_path_factory):
    """Compiled code is kept in a folder of these tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path_factory.mktemp("inductor")))
        yield


@pytest.fixture(autouse=True)
def fresh():
    """A seed, and no graph of another test."""
    torch.compiler.reset()
    torch.manual_seed(1)
    yield
    torch.compiler.reset()


def compiled(module, backend="aot_eager"):
    """The module, compiled; a cell as one graph, where a layer has a kernel of the library in its middle."""
    return torch.compile(module, backend=backend, fullgraph=isinstance(module, LSTMCell))


def window(layer):
    """Inputs and a state that is not zero."""
    state = layer.initial_state(B)
    inputs = torch.randn((B, H) if isinstance(layer, LSTMCell) else (T, B, H))
    return inputs, type(state)(*(torch.randn_like(part) for part in state))


def two_windows(call, layer, inputs, state):
    """Outputs of two windows and the gradients of all weights, by a fixed seed."""
    torch.manual_seed(7)
    layer.zero_grad()
    outputs = [call(inputs, state)[0] for _ in range(2)]
    sum(part.square().sum() for part in outputs).backward()
    return outputs, [parameter.grad.clone() for parameter in layer.parameters()]


@pytest.mark.parametrize(
    ("layer_type", "backend"),
    [*((kind, "aot_eager") for kind in LAYERS), pytest.param(LSTMCell, "inductor", marks=pytest.mark.compiler)],
)
def test_a_compiled_layer_draws_the_masks_of_the_plain_one(layer_type, backend):
    """So they change with each window and are the same at all its steps, as test_dropout.py shows for the plain one.

    The two weights are of one size, and their masks are still two.
    """
    layer = layer_type(H, H, input_transform=WeightDropout(0.5), recurrent_transform=WeightDropout(0.5))
    inputs, state = window(layer)
    wanted, wanted_gradients = two_windows(layer, layer, inputs, state)
    got, gradients = two_windows(compiled(layer, backend), layer, inputs, state)
    torch.testing.assert_close(got, wanted)
    torch.testing.assert_close(gradients, wanted_gradients)
    assert not torch.equal(*got)


@pytest.mark.parametrize("layer_type", LAYERS)
def test_off_in_evaluation_and_back_again(layer_type):
    layer, plain = layer_type(H, H, recurrent_transform=WeightDropout(0.5)), layer_type(H, H)
    plain.load_state_dict(layer.state_dict())
    call, (inputs, state) = compiled(layer), window(layer)
    for _ in range(2):
        call.train()
        assert not torch.equal(call(inputs, state)[0], call(inputs, state)[0])
        call.eval()
        torch.testing.assert_close(call(inputs, state)[0], plain(inputs, state)[0])


@pytest.mark.parametrize("layer_type", LAYERS)
def test_a_held_mask_stays_until_resampled_and_gradients_pass_kept_entries_only(layer_type):
    layer = layer_type(H, H, recurrent_transform=WeightDropout(0.5, held=True))
    call, (inputs, state) = compiled(layer), window(layer)
    for _ in range(2):
        first = call(inputs, state)[0]
        mask = layer.recurrent_transform.held.mask
        assert torch.equal(call(inputs, state)[0], first) and layer.recurrent_transform.held.mask is mask
        layer.zero_grad()
        first.square().sum().backward()
        assert (layer.weight_hh.grad[mask == 0] == 0).all()
        assert (layer.weight_hh.grad[mask != 0] != 0).all()
        layer.recurrent_transform.resample()
        assert not torch.equal(call(inputs, state)[0], first)


@pytest.mark.compiler
@pytest.mark.parametrize("size", [5, 50])
def test_masks_whose_number_of_hashes_is_no_multiple_of_a_vector(size):
    """The loop that the compiler makes of the hashes has a rest, in which their overflow was taken for impossible."""
    drop, weight = WeightDropout(0.5), torch.ones(size, size)
    torch.manual_seed(3)
    wanted = drop(weight)
    torch.manual_seed(3)
    assert torch.equal(torch.compile(drop, fullgraph=True)(weight), wanted)


def test_masks_of_one_size_in_one_graph_are_not_taken_for_the_same():
    """The compiler merges calls that look alike; it does so where gradients are needed."""
    one, other = WeightDropout(0.5), WeightDropout(0.5)
    weight = torch.ones(H, H, requires_grad=True)
    first, second = torch.compile(lambda w: (one(w), other(w)), backend="aot_eager", fullgraph=True)(weight)
    # of 400 entries each half is kept, so half agree; deviation 10
    assert 150 < (first == second).sum() < 250
    (2 * first + 3 * second).sum().backward()
    assert torch.equal(weight.grad, (2 * first + 3 * second).detach())


def test_a_compiled_model_has_the_loss_and_gradients_of_the_plain_one():
    words = Embedding(V, H, word_dropout=EmbeddingDropout(0.1))
    layers = [LSTM(H, H, recurrent_transform=WeightDropout(0.5)) for _ in range(2)]
    stack = RecurrentStack(layers, between=LockedDropout(0.3))
    model = LanguageModel(words, stack, SoftmaxHead(H, V, weight=words.weight), output_dropout=LockedDropout(0.4))
    ids, state = torch.randint(V, (T + 1, B)), model.initial_state(B)

    def loss_and_gradients(call):
        torch.manual_seed(7)
        model.zero_grad()
        loss = call(ids[:-1], ids[1:], state).nats
        loss.backward()
        return loss.detach(), [parameter.grad.clone() for parameter in model.parameters()]

    wanted = loss_and_gradients(model)
    torch.testing.assert_close(loss_and_gradients(compiled(model)), wanted)


def test_the_inner_module_saves_under_the_plain_names():
    layer = LSTM(H, H, recurrent_transform=WeightDropout(0.5))
    names = ["weight_ih", "weight_hh", "bias"]
    call = compiled(layer)
    call(*window(layer))
    assert list(layer.state_dict()) == names
    assert list(call.state_dict()) == [f"_orig_mod.{name}" for name in names]
