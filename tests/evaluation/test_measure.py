"""The search takes the best on validation, and dynamic statistics are of the model's own ids."""

import math
from itertools import pairwise

import numpy as np
import pytest
import torch

from refrain import assembly, runs
from refrain.data import Windows
from refrain.evaluation import Cache, Dynamics, Figure
from refrain.evaluation import measure as measure_module
from refrain.evaluation.measure import Method, measure, search, statistics_of
from refrain.models import LanguageModel
from refrain.nn import LSTM, Embedding, RecurrentStack, SoftmaxHead
from refrain.nn.recurrent.protocol import detached


def test_the_search_takes_the_best_of_its_budget(tiny_run):
    lm = runs.load(tiny_run)
    valid = assembly.build_corpus(_data(lm)).splits["valid"].tokens
    tried = []
    best = search(lm.model, valid, Method("cache", Cache(window=50)), None, budget=6, log=tried.append)
    assert len(tried) == 6
    figures = {}
    for flatness in (0.1, 0.2, 0.3, 0.5, 0.7, 1.0):
        for share in (0.05, 0.1, 0.15, 0.2, 0.3):
            cache = Cache(50, flatness, share)
            line = f"cache_flatness {flatness:g}  cache_share {share:g}"
            if any(line in said for said in tried):
                figures[cache] = measure(lm.model, valid, Method("cache", cache), None, name="valid").nats
    assert best.cache == min(figures, key=figures.get)
    assert len(set(figures.values())) > 1


def test_the_search_does_not_keep_settings_that_diverge(tiny_run, monkeypatch):
    lm = runs.load(tiny_run)
    figures = iter([math.nan, 20.0, 10.0, math.nan, 30.0])
    found = []

    def fake(model, source, method, *arguments, **more):
        found.append(method)
        return Figure(next(figures), 5)

    monkeypatch.setattr(measure_module, "measure", fake)
    valid = assembly.build_corpus(_data(lm)).splits["valid"].tokens
    best = search(lm.model, valid, Method("dynamic", None, Dynamics()), None, budget=5, log=lambda line: None)
    assert best == found[2]


class Ids:
    """A training text of so many tokens."""

    def __init__(self, count):
        self.count = count

    def __len__(self):
        return self.count

    def read(self, first, last):
        return np.arange(first, last, dtype=np.int64) % 5

    def release(self):
        pass


@pytest.mark.parametrize(
    ("tokens", "windows"),
    [
        # 100 parts of 16 tokens have three windows of 5 steps; with one token more, one of a single step is left out
        (1600, 3),
        (1700, 3),
        (1800, 4),
        (2000, 4),
        # a text too short for 100 parts
        (7, 1),
        (8, 2),
        (2, 1),
    ],
)
def test_the_last_window_of_the_statistics_may_be_shorter(tokens, windows):
    torch.manual_seed(1)
    model = LanguageModel(Embedding(5, 3), RecurrentStack([LSTM(3, 2)]), SoftmaxHead(2, 5)).double()
    found = statistics_of(model, Ids(tokens), 5)
    assert found.windows == windows
    # each window counts alike, by the mean loss of its tokens
    batch = max(1, min(100, tokens // 6))
    part = tokens // batch
    edges = [min(5 * index, part - 1) for index in range(windows + 1)]
    ids = torch.tensor([[(row * part + step) % 5 for row in range(batch)] for step in range(part)])
    squares, state = torch.zeros(5, dtype=torch.float64), model.initial_state(batch)
    for first, last in pairwise(edges):
        nats, _, state = model(ids[first:last], ids[first + 1 : last + 1], detached(state))
        (gradient,) = torch.autograd.grad(nats / (batch * (last - first)), [model.head.bias])
        squares += gradient.square()
    name = [name for name, _ in model.named_parameters()].index("head.bias")
    torch.testing.assert_close(found.root_mean_squares[name], (squares / windows).sqrt())


def test_the_statistics_of_ptb_have_the_windows_of_the_authors():
    # 929,589 tokens, 100 parts, 5 steps
    assert len(Windows(Ids(929_589), batch_size=100, window_steps=5, tail="keep")) == 1859


def test_a_dynamic_method_needs_statistics(tiny_run):
    lm = runs.load(tiny_run)
    with pytest.raises(ValueError, match="statistics"):
        measure(
            lm.model,
            assembly.build_corpus(_data(lm)).splits["valid"].tokens,
            Method("dynamic", None, Dynamics()),
            None,
            name="x",
        )


def _data(lm):
    from refrain.config import Data

    return Data.model_validate(lm.config["data"])
