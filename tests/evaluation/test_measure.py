"""The search takes the best on validation, and dynamic statistics are of the model's own ids."""

import pytest

from refrain import assembly, runs
from refrain.evaluation import Cache
from refrain.evaluation.measure import Method, measure, search


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


def test_a_dynamic_method_needs_statistics(tiny_run):
    from refrain.evaluation import Dynamics

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
