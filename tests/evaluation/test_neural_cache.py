"""The neural cache against its definition, written out token by token with a one-hot history."""

import math

import pytest
import torch

from refrain.data import TokenFile, Windows
from refrain.evaluation import Cache, evaluate, evaluate_with_cache
from refrain.evaluation.neural_cache import model_chunks, stream_cached_nats
from refrain.models import LanguageModel
from refrain.nn import LSTM, Embedding, RecurrentStack, SoftmaxHead

V, N = 9, 60


@pytest.fixture
def model():
    torch.manual_seed(1)
    model = LanguageModel(Embedding(V, 5), RecurrentStack([LSTM(5, 6)]), SoftmaxHead(6, V)).double()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter)
    return model


@pytest.fixture
def source(tmp_path):
    import numpy as np

    ids = torch.randint(V, (N,), generator=torch.Generator().manual_seed(2)).numpy().astype(np.uint16)
    (tmp_path / "ids.bin").write_bytes(ids.tobytes())
    return TokenFile(tmp_path / "ids.bin", np.uint16)


def windows(source, steps):
    return Windows(source, batch_size=1, window_steps=steps, tail="keep")


def by_definition(model, source, cache):
    """p = (1 - lambda) p_vocabulary + lambda sum over the last W pairs of softmax(theta h_i h_t) [x_{i+1} = w]."""
    ids = torch.tensor(source.tokens.astype("int64"))
    with torch.no_grad():
        outputs, _ = model.hidden(ids[:-1, None], model.initial_state(1))
        hidden, vocabulary = outputs.raw[:, 0], model.head.log_probabilities(outputs.raw)[:, 0].exp()
    nats = []
    for t in range(N - 1):
        p = vocabulary[t]
        known = range(max(0, t - cache.window), t)
        if known:
            weights = torch.softmax(torch.stack([cache.flatness * hidden[i] @ hidden[t] for i in known]), 0)
            pointer = torch.zeros(V, dtype=torch.float64)
            for i, weight in zip(known, weights, strict=True):
                pointer[ids[i + 1]] += weight
            p = (1 - cache.share) * p + cache.share * pointer
            assert p.sum().item() == pytest.approx(1.0)
        nats.append(-math.log(p[ids[t + 1]]))
    return torch.tensor(nats, dtype=torch.float64)


@pytest.mark.parametrize("cache", [Cache(7, 0.5, 0.2), Cache(1, 2.0, 0.4), Cache(500, 0.0, 0.9), Cache(20, 1.0, 0.0)])
@pytest.mark.parametrize("steps", [1, 4, 13, 512])
def test_equals_its_definition_at_any_window_of_evaluation(model, source, cache, steps):
    got = torch.cat(list(stream_cached_nats(model_chunks(model, windows(source, steps)), cache)))
    torch.testing.assert_close(got, by_definition(model, source, cache))


def test_the_first_prediction_is_the_models_and_a_share_of_zero_changes_nothing(model, source):
    plain = torch.cat([nats for _, _, nats in model_chunks(model, windows(source, 10))])
    cached = torch.cat(list(stream_cached_nats(model_chunks(model, windows(source, 10)), Cache(1000, 1.0, 0.3))))
    assert cached[0] == plain[0] and not torch.equal(cached[1:], plain[1:])
    none = evaluate_with_cache(model, windows(source, 10), Cache(1000, 1.0, 0.0))
    assert none.nats == pytest.approx(evaluate(model, windows(source, 10)).nats, rel=1e-12)


def test_text_that_repeats_gets_cheaper(model, tmp_path):
    import numpy as np

    ids = np.tile(np.array([3, 1, 4, 1, 5], dtype=np.uint16), 40)
    (tmp_path / "r.bin").write_bytes(ids.tobytes())
    source = TokenFile(tmp_path / "r.bin", np.uint16)
    plain = evaluate(model, windows(source, 50))
    assert evaluate_with_cache(model, windows(source, 50), Cache(100, 1.0, 0.5)).nats < plain.nats


@pytest.mark.parametrize(
    "values", [(0, 1.0, 0.1), (10, -1.0, 0.1), (10, 1.0, 1.0), (10, 1.0, -0.1), (10, math.nan, 0.1)]
)
def test_settings_are_checked(values):
    with pytest.raises(ValueError, match="cache's"):
        Cache(*values)


def test_the_cache_reads_one_stream(model, source):
    with pytest.raises(ValueError, match="one stream"):
        evaluate_with_cache(model, Windows(source, batch_size=2, window_steps=5), Cache())
