"""What a language model has to offer: the library's own offers all of it, and what breaks it gets a line of its own."""

import inspect

import pytest
import torch
from torch import nn

from refrain.data import Windows
from refrain.errors import UserError
from refrain.evaluation import Cache, Dynamics, evaluate, evaluate_dynamically, evaluate_with_cache, gather_statistics
from refrain.evaluation.score import score_lines
from refrain.generation import Sampler, features, generate, hold_units
from refrain.models import CompleteNetwork, LanguageModel, Network, NetworkStepper, Stepper, stepper_of
from refrain.models.network_check import check_network
from refrain.models.protocol import PARTS
from refrain.nn import (
    LSTM,
    AdaptiveHead,
    Embedding,
    RecurrentStack,
    SoftmaxHead,
    SparseLSTM,
    WeightDropout,
    plan_blocks,
)

V, H = 11, 6


def members(protocol):
    """The names that a protocol asks for."""
    parts = [each for each in protocol.__mro__ if each.__module__ == protocol.__module__]
    names = {name for each in parts for name in (*vars(each), *inspect.get_annotations(each))}
    return {name for name in names if name[0] != "_" or name == "__call__"}


class Tokens:
    """Ids in the place of a corpus."""

    def __init__(self, count):
        self.ids = torch.randint(V, (count,), generator=torch.Generator().manual_seed(3)).numpy()

    def __len__(self):
        return len(self.ids)

    def read(self, start, stop):
        return self.ids[start:stop]

    def release(self):
        pass


class Least(nn.Module):
    """All that training and evaluation need, and nothing else: torch's own LSTM between two matrices."""

    def __init__(self, vocabulary_size=V):
        super().__init__()
        self.words = nn.Embedding(vocabulary_size, H)
        self.lstm = nn.LSTM(H, H)
        self.output = nn.Linear(H, vocabulary_size)

    def initial_state(self, batch_size):
        zeros = self.output.weight.new_zeros(1, batch_size, H)
        return zeros, zeros

    def logits(self, inputs, state):
        outputs, state = self.lstm(self.words(inputs), state)
        return self.output(outputs), state

    def forward(self, inputs, targets, state):
        logits, state = self.logits(inputs, state)
        return nn.functional.cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction="sum"), None, state


class Stepping(Least):
    """The least that also writes text."""

    def step(self, ids, state):
        logits, state = self.logits(ids[None], state)
        return logits[0].log_softmax(-1), state


def whole(vocabulary_size=V):
    return LanguageModel(
        Embedding(vocabulary_size, H), RecurrentStack([LSTM(H, H)]), SoftmaxHead(H, vocabulary_size)
    ).eval()


@pytest.fixture
def windows():
    return Windows(Tokens(90), batch_size=1, window_steps=7, tail="keep")


def test_the_library_s_model_offers_every_part_with_the_arguments_of_the_protocol():
    model = whole()
    for name in members(CompleteNetwork):
        assert hasattr(model, name), name
        written = getattr(CompleteNetwork, name, None)
        own = LanguageModel.forward if name == "__call__" else getattr(LanguageModel, name, None)
        if inspect.isfunction(written) and own is not getattr(nn.Module, name, None):
            assert list(inspect.signature(own).parameters) == list(inspect.signature(written).parameters), name


def test_the_optional_parts_are_those_that_the_protocols_differ_in():
    assert set(PARTS) == members(CompleteNetwork) - members(Network)
    for part in PARTS:
        assert f"`{part}`" in CompleteNetwork.__doc__, part


def test_what_the_protocol_requires_is_enough_for_evaluation(windows):
    torch.manual_seed(1)
    network = Least()
    ids = torch.from_numpy(Tokens(90).ids)
    with torch.no_grad():
        logits, _ = network.logits(ids[:-1, None], network.initial_state(1))
        expected = float(nn.functional.cross_entropy(logits[:, 0], ids[1:], reduction="sum"))
    figure = evaluate(network, windows)
    assert figure.tokens == 89 and figure.nats == pytest.approx(expected, rel=1e-5)
    assert network.training


def test_dynamic_evaluation_needs_no_more(windows):
    torch.manual_seed(1)
    network = Least()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    statistics = gather_statistics(network, windows)
    still = evaluate_dynamically(network, windows, statistics, Dynamics(learning_rate=0.0, decay=0.0))
    assert still.nats == pytest.approx(evaluate(network, windows).nats, rel=1e-5)
    moved = evaluate_dynamically(network, windows, statistics, Dynamics(learning_rate=1e-2))
    assert moved.nats != pytest.approx(still.nats, rel=1e-3)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    with pytest.raises(UserError, match=r"the neural cache needs a part that Least does not have; add hidden\("):
        evaluate_dynamically(network, windows, statistics, Dynamics(), cache=Cache())


def test_a_step_is_enough_to_write_and_to_score(windows):
    torch.manual_seed(1)
    network = Stepping()
    stepper = stepper_of(network)
    assert isinstance(stepper, NetworkStepper) and stepper_of(stepper) is stepper
    ids = torch.randint(V, (5, 3))
    nats, after = stepper.token_nats(ids[:-1], ids[1:], stepper.initial_state(3))
    with torch.no_grad():
        total, _, state = network(ids[:-1], ids[1:], network.initial_state(3))
    assert float(nats.sum()) == pytest.approx(float(total), rel=1e-5)
    torch.testing.assert_close(after, state)
    drawn = list(generate(network, [1, 2, 3], Sampler(), tokens=4, generator=torch.Generator().manual_seed(1)))
    assert len(drawn) == 4 and network.training


@pytest.mark.parametrize(
    ("use", "part"),
    [
        (lambda n, w: next(generate(n, [1], Sampler(), tokens=1, generator=torch.Generator())), "step"),
        (lambda n, w: evaluate_with_cache(n, w, Cache()), "hidden"),
        (lambda n, w: features(n, [[1, 2]]), "stack"),
        (lambda n, w: hold_units(n, {0: 1.0}), "stack"),
        (lambda n, w: next(score_lines(n, Lines(), ["a"])), "token_nats"),
    ],
)
def test_a_missing_part_is_named_with_its_signature(use, part, windows):
    with pytest.raises(UserError) as raised:
        use(Least(), windows)
    said = str(raised.value)
    assert "needs a part that Least does not have" in said and PARTS[part] in said and "\n" not in said


class Lines:
    line_end = 0
    unknown = None

    def __len__(self):
        return 9

    def encode(self, text):
        return [1, 0]

    def count_unseen(self, line, ids):
        return 0


def test_networks_that_keep_the_protocol_pass_and_are_left_as_they_were():
    torch.manual_seed(1)
    adaptive = LanguageModel(
        Embedding(V, H), RecurrentStack([LSTM(H, H)]), AdaptiveHead(H, V, cutoffs=[4], division=2.0)
    )
    for network in (Least(), Stepping(), whole(), adaptive.train()):
        before = {name: value.clone() for name, value in network.state_dict().items()}
        mode, generator = network.training, torch.get_rng_state()
        check_network(network, V)
        assert network.training == mode and torch.equal(generator, torch.get_rng_state())
        assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert check_network(whole(), V).raw.shape[-1] == H and check_network(Least(), V) is None


class Mean(Least):
    def forward(self, inputs, targets, state):
        nats, outputs, state = super().forward(inputs, targets, state)
        return nats / targets.numel(), outputs, state


class PerToken(Least):
    def forward(self, inputs, targets, state):
        logits, state = self.logits(inputs, state)
        return nn.functional.cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction="none"), None, state


class Two(Least):
    def forward(self, inputs, targets, state):
        return super().forward(inputs, targets, state)[::2]


class Listed(Least):
    def initial_state(self, batch_size):
        return list(super().initial_state(batch_size))


class Growing(Least):
    def forward(self, inputs, targets, state):
        nats, outputs, state = super().forward(inputs, targets, state)
        return nats, outputs, (*state, nats)


class Logits(Stepping):
    def step(self, ids, state):
        logits, state = self.logits(ids[None], state)
        return logits[0], state


class OtherStep(Stepping):
    def step(self, ids, state):
        return super().step((ids + 1) % V, state)


class Costs(Least):
    scale = 2.0

    def token_nats(self, inputs, targets, state):
        logits, state = self.logits(inputs, state)
        nats = nn.functional.cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction="none")
        return self.scale * nats.view(targets.shape), state


class WholeCosts(Costs):
    scale = 1.0


class FlatCosts(WholeCosts):
    def token_nats(self, inputs, targets, state):
        nats, state = super().token_nats(inputs, targets, state)
        return nats.flatten(), state


class Mixing(Least):
    """Sequences of a batch that influence each other."""

    def logits(self, inputs, state):
        logits, state = super().logits(inputs, state)
        return logits - 3 * logits.mean(dim=1, keepdim=True), state


class MeanState(Least):
    """The first window is that of each sequence alone; the state after it is the mean of the batch."""

    def forward(self, inputs, targets, state):
        nats, outputs, state = super().forward(inputs, targets, state)
        return nats, outputs, tuple(part.mean(1, keepdim=True).expand_as(part).contiguous() for part in state)


class SecondWindow(Least):
    """The first window and the state after it are those of each sequence alone; the loss of the next window is not."""

    def logits(self, inputs, state):
        logits, after = super().logits(inputs, state)
        return logits * (1 + 9 * state[0].mean(dim=(0, 1)).abs().sum()), after


@pytest.mark.parametrize(
    ("network", "said"),
    [
        (lambda: object(), r"builtins\.object is not a torch\.nn\.Module"),
        (lambda: nn.Linear(2, 2), r"Linear has no initial_state\(batch_size\)"),
        (lambda: Least().requires_grad_(False), "has no parameters to train"),
        (lambda: Least(V - 1), f"ids below {V}, the size of the vocabulary \\(IndexError"),
        (lambda: Stepping(V + 1), rf"probabilities of shape \(2, {V + 1}\), expected \(2, {V}\)"),
        (lambda: whole(V + 1), rf"probabilities of shape \(2, {V + 1}\), expected \(2, {V}\)"),
        (Mean, "nats must be the sum over all targets, not the mean"),
        (PerToken, "returned nats that are not a scalar tensor with a gradient"),
        (Two, r"returned tuple of 2, expected \(nats, outputs, state\)"),
        (Listed, "has a list in its state"),
        (Growing, "has a state of shapes"),
        (Logits, "has probabilities that sum to"),
        (OtherStep, "when read step by step"),
        (Costs, "when read token by token"),
        (FlatCosts, r"token_nats of shape \(6,\), expected \(3, 2\)"),
        (Mixing, "nats for a window and .* when read each sequence of a batch alone; .*must not influence each other"),
        (MeanState, "another state after a window when read each sequence of a batch alone"),
        (SecondWindow, "nats for a second window and .* when read each sequence of a batch alone"),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_what_breaks_the_protocol_is_reported_in_one_line(network, said):
    torch.manual_seed(1)
    with pytest.raises(UserError, match=said) as raised:
        check_network(network(), V)
    assert str(raised.value).startswith("model: ") and "\n" not in str(raised.value)


@pytest.mark.parametrize("make", [Least, Stepping, WholeCosts, whole])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_what_rounding_causes_is_no_mistake(make, dtype):
    for seed in range(5):
        torch.manual_seed(seed)
        check_network(make(1000).to(dtype), 1000)
    torch.manual_seed(1)
    with pytest.raises(UserError, match="nats must be the sum over all targets, not the mean"):
        check_network(Mean().to(dtype), V)


class Residual(LanguageModel):
    """A subclass that computes something else than its class."""

    def hidden(self, inputs, state):
        outputs, state = super().hidden(inputs, state)
        return outputs._replace(dropped=outputs.dropped + self.embedding(inputs)), state

    def step(self, ids, state):
        outputs, state = self.hidden(ids[None], state)
        return self.head.log_probabilities(outputs.dropped[0]), state


class Named(LanguageModel):
    """A subclass that computes what its class does."""

    def describe(self):
        return "named"


def test_a_subclass_is_read_by_its_own_methods_where_it_has_some():
    torch.manual_seed(1)
    network = Residual(Embedding(V, H), RecurrentStack([LSTM(H, H)]), SoftmaxHead(H, V))
    check_network(network, V)
    reader = stepper_of(network)
    ids = torch.randint(V, (4, 2))
    expected, _ = network.eval().token_nats(ids[:-1], ids[1:], network.initial_state(2))
    torch.testing.assert_close(reader.token_nats(ids[:-1], ids[1:], reader.initial_state(2))[0], expected)
    named = Named(Embedding(V, H), RecurrentStack([LSTM(H, H)]), SoftmaxHead(H, V))
    assert isinstance(reader, NetworkStepper) and isinstance(stepper_of(named), Stepper)


def test_modules_in_the_places_of_dropout_act_in_a_stepper_too():
    torch.manual_seed(1)
    network = LanguageModel(
        Embedding(V, H),
        RecurrentStack([LSTM(H, H), LSTM(H, H)], between=nn.Linear(H, H)),
        SoftmaxHead(H, V),
        embedding_dropout=nn.LayerNorm(H),
        output_dropout=nn.Sequential(nn.Linear(H, H), nn.Dropout(0.5)),
    ).eval()
    stepper = Stepper(network)
    ids = torch.randint(V, (4, 2))
    expected, after = network.token_nats(ids[:-1], ids[1:], network.initial_state(2))
    found, state = stepper.token_nats(ids[:-1], ids[1:], stepper.initial_state(2))
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)
    one, _ = network.step(ids[-1], after)
    torch.testing.assert_close(stepper.step(ids[-1], state)[0], one, atol=1e-5, rtol=0)


def test_a_transform_of_weights_that_acts_in_evaluation_acts_in_a_stepper_too():
    class Halved(nn.Module):
        def forward(self, weight):
            return weight / 2

    torch.manual_seed(1)
    network = LanguageModel(
        Embedding(V, H), RecurrentStack([LSTM(H, H, recurrent_transform=Halved())]), SoftmaxHead(H, V)
    ).eval()
    ids = torch.randint(V, (4, 2))
    state = network.initial_state(2)
    expected, _ = network.token_nats(ids[:-1], ids[1:], state)
    torch.testing.assert_close(Stepper(network).token_nats(ids[:-1], ids[1:], state)[0], expected, atol=1e-5, rtol=0)


def test_a_subclass_of_a_layer_is_not_read_as_its_class():
    class Doubled(LSTM):
        def step(self, x, state):
            y, state = super().step(x, state)
            return 2 * y, state

        def forward(self, inputs, state):
            outputs, state = super().forward(inputs, state)
            return 2 * outputs, state

    torch.manual_seed(1)
    network = LanguageModel(Embedding(V, H), RecurrentStack([Doubled(H, H)]), SoftmaxHead(H, V)).eval()
    ids = torch.randint(V, (4, 2))
    state = network.initial_state(2)
    expected, _ = network.token_nats(ids[:-1], ids[1:], state)
    torch.testing.assert_close(Stepper(network).token_nats(ids[:-1], ids[1:], state)[0], expected, atol=1e-5, rtol=0)


class Halved(LSTM):
    """Computes with weights that are not those of an LSTM."""

    def window_weights(self):
        return tuple(weight / 2 for weight in super().window_weights())


def replaced():
    layer = LSTM(H, H)
    step, window = layer.step, layer.forward
    layer.step = lambda x, state: (-x, step(x, state)[1])
    layer.forward = lambda inputs, state: (-inputs, window(inputs, state)[1])
    return layer


@pytest.mark.parametrize(
    "make",
    [
        lambda: Halved(H, H),
        lambda: SparseLSTM(plan_blocks(H, H, blocks=2, density=0.5), block=Halved),
        replaced,
    ],
    ids=["other weights", "blocks with other weights", "replaced methods"],
)
def test_a_stepper_computes_what_a_changed_layer_does(make):
    torch.manual_seed(1)
    network = LanguageModel(Embedding(V, H), RecurrentStack([make()]), SoftmaxHead(H, V)).eval()
    ids = torch.randint(V, (4, 2))
    state = network.initial_state(2)
    expected, _ = network.token_nats(ids[:-1], ids[1:], state)
    torch.testing.assert_close(Stepper(network).token_nats(ids[:-1], ids[1:], state)[0], expected, atol=1e-5, rtol=0)


def test_a_subclass_of_dropout_acts_in_a_stepper_too():
    class Noisy(nn.Dropout):
        def forward(self, inputs):
            return super().forward(inputs) + 1

    class HalvedWeights(WeightDropout):
        def forward(self, weight):
            return super().forward(weight) / 2

    torch.manual_seed(1)
    layer = LSTM(H, H, recurrent_transform=HalvedWeights(0.5))
    network = LanguageModel(Embedding(V, H), RecurrentStack([layer]), SoftmaxHead(H, V), output_dropout=Noisy(0.5))
    ids = torch.randint(V, (4, 2))
    state = network.eval().initial_state(2)
    expected, _ = network.token_nats(ids[:-1], ids[1:], state)
    torch.testing.assert_close(Stepper(network).token_nats(ids[:-1], ids[1:], state)[0], expected, atol=1e-5, rtol=0)


def test_what_a_layer_of_ones_own_calls_transforms_is_left_alone():
    layer = LSTM(H, H)
    network = LanguageModel(Embedding(V, H), RecurrentStack([layer]), SoftmaxHead(H, V), output_dropout=nn.Identity())
    network.output_dropout.transforms = nn.ModuleList([nn.Linear(H, H)])
    assert Stepper(network).is_current
