"""Both initialisations of a language model draw every parameter with the variance that they promise."""

import math

import pytest
import torch

from refrain.models import LanguageModel
from refrain.nn import (
    GRU,
    LSTM,
    Embedding,
    MixtureHead,
    MultiplicativeLSTM,
    RecurrentStack,
    SoftmaxHead,
    SparseLSTM,
    WeightNorm,
    plan_blocks,
)

# words, width of the embedding, of the layers, of an intermediate state, softmaxes of a mixture
V, D, H, M, K = 60, 40, 50, 30, 3
DRAWS = 20


def lstm():
    return LanguageModel(Embedding(V, D), RecurrentStack([LSTM(D, H), LSTM(H, M)]), SoftmaxHead(M, V))


def gru():
    words = Embedding(V, D)
    return LanguageModel(words, RecurrentStack([GRU(D, D)]), SoftmaxHead(D, V, weight=words.weight))


def multiplicative():
    rows = {"weight_im": M, "weight_hm": M, "weight_ih": 4 * H, "weight_mh": 4 * H}
    transforms = {name: WeightNorm(count) for name, count in rows.items()}
    layer = MultiplicativeLSTM(D, H, intermediate_size=M, transforms=transforms)
    return LanguageModel(Embedding(V, D), RecurrentStack([layer]), SoftmaxHead(H, V))


def mixture():
    layer = SparseLSTM(plan_blocks(D, H, blocks=2, density=0.5))
    return LanguageModel(Embedding(V, D), RecurrentStack([layer]), MixtureHead(H, D, V, components=K))


# inputs and outputs of each parameter, for each gate of a layer by itself; a recurrent bias is a matrix of one row, the
# gain of a weight norm and a bias of the head are square
FANS = {
    lstm: {
        "embedding.weight": (V, D),
        "stack.layers.0.weight_ih": (D, H),
        "stack.layers.0.weight_hh": (H, H),
        "stack.layers.0.bias": (1, H),
        "stack.layers.1.weight_ih": (H, M),
        "stack.layers.1.weight_hh": (M, M),
        "stack.layers.1.bias": (1, M),
        "head.weight": (M, V),
        "head.bias": (V, V),
    },
    gru: {
        "embedding.weight": (V, D),
        "stack.layers.0.weight_ih": (D, D),
        "stack.layers.0.weight_hh": (D, D),
        "stack.layers.0.bias": (1, D),
        "head.bias": (V, V),
    },
    multiplicative: {
        "embedding.weight": (V, D),
        "stack.layers.0.weight_im": (D, M),
        "stack.layers.0.weight_hm": (H, M),
        "stack.layers.0.weight_ih": (D, H),
        "stack.layers.0.weight_mh": (M, H),
        "stack.layers.0.bias": (1, H),
        "stack.layers.0.transforms.weight_im.gain": (M, M),
        "stack.layers.0.transforms.weight_hm.gain": (M, M),
        "stack.layers.0.transforms.weight_ih.gain": (H, H),
        "stack.layers.0.transforms.weight_mh.gain": (H, H),
        "head.weight": (H, V),
        "head.bias": (V, V),
    },
    mixture: {
        "embedding.weight": (V, D),
        "stack.layers.0.blocks.0.weight_ih": (D // 2, H // 2),
        "stack.layers.0.blocks.0.weight_hh": (H // 2, H // 2),
        "stack.layers.0.blocks.0.bias": (1, H // 2),
        "stack.layers.0.blocks.1.weight_ih": (D // 2, H // 2),
        "stack.layers.0.blocks.1.weight_hh": (H // 2, H // 2),
        "stack.layers.0.blocks.1.bias": (1, H // 2),
        "head.latent_weight": (H, D),
        "head.latent_bias": (D, D),
        "head.prior_weight": (H, K),
        "head.weight": (D, V),
        "head.bias": (V, V),
    },
}


def drawn(model, initialise):
    """The entries of each parameter in several draws, side by side."""
    torch.manual_seed(1)
    found = {name: [] for name, _ in model.named_parameters()}
    for _ in range(DRAWS):
        initialise()
        for name, parameter in model.named_parameters():
            found[name].append(parameter.detach().double().flatten())
    return {name: torch.cat(parts) for name, parts in found.items()}


def check_mean_and_variance(values, variance, kurtosis):
    """Both within five standard errors of a sample of this size."""
    error = 5 / math.sqrt(len(values))
    assert float(values.mean()) == pytest.approx(0, abs=error * math.sqrt(variance))
    assert float(values.square().mean()) == pytest.approx(variance, rel=error * math.sqrt(kurtosis - 1))


@pytest.mark.parametrize("build", FANS)
def test_glorot_draws_from_normal_distributions_of_two_over_inputs_and_outputs(build):
    model = build()
    found = drawn(model, model.init_glorot)
    assert found.keys() == FANS[build].keys()
    for name, values in found.items():
        check_mean_and_variance(values, 2 / sum(FANS[build][name]), kurtosis=3)
        # of a normal distribution 4.6 % are more than two standard deviations away, of a uniform one none
        outside = values.abs() > 2 * math.sqrt(2 / sum(FANS[build][name]))
        assert 0.02 < float(outside.double().mean()) < 0.08, name


@pytest.mark.parametrize("build", [lstm, gru, mixture])
def test_uniform_draws_everything_but_recurrent_biases_from_one_interval(build):
    model = build()
    found = drawn(model, lambda: model.init_uniform(0.03))
    for name, values in found.items():
        if FANS[build][name][0] == 1:
            assert values.count_nonzero() == 0, name
        else:
            assert float(values.abs().max()) <= 0.03
            check_mean_and_variance(values, 0.03**2 / 3, kurtosis=9 / 5)


@pytest.mark.parametrize("build", FANS)
def test_truncated_glorot_draws_nothing_beyond_two_standard_deviations(build):
    model = build()
    found = drawn(model, lambda: model.init_glorot(truncated=True))
    # variance of a standard normal distribution truncated at 2: 1 - 4 phi(2) / (2 Phi(2) - 1)
    inside = math.erf(math.sqrt(2))
    shrunk = 1 - 4 * math.exp(-2) / math.sqrt(2 * math.pi) / inside
    assert math.sqrt(shrunk) == pytest.approx(0.8796, abs=1e-4)
    for name, values in found.items():
        variance = 2 / sum(FANS[build][name])
        assert float(values.abs().max()) <= 2 * math.sqrt(variance) * (1 + 1e-6), name
        # a bound: the truncated distribution has lighter tails than a normal one
        check_mean_and_variance(values, variance * shrunk, kurtosis=3)
