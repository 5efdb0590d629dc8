"""A tagger as a graph in plain data, which exporters translate."""

from typing import Any

import torch
from torch import nn

from refrain.errors import UserError
from refrain.nn import Bidirectional, ConditionalRandomField
from refrain.nn.step_graph import GraphBuilder, State, TaggerGraph, Value

from .modes import evaluating
from .step_graph import inert_problems, part_problems, states_of, used_weights
from .tagger import Tagger


@torch.no_grad()
def tagger_graph(model: nn.Module, num_features: int = 0) -> TaggerGraph:
    """The function from the ids of sentences to the log-probabilities of their tags and the predicted tags.

    The weights are copied, with weight norm resolved and dropout left out.

    Args:
        model: a `Tagger`; its mode is not changed.
        num_features: the number of features of each word, without the word itself.

    Raises:
        UserError: when a part of the model has no description; the message names the part.
        ValueError: when a model without features is described with some, or the reverse.
    """
    check_tagger(model)
    assert isinstance(model, Tagger)
    if bool(num_features) != (model.features is not None):
        raise ValueError(f"num_features must fit the model, which has features or none (got {num_features})")
    build = GraphBuilder()
    columns = ["words", *(f"feature{index}" for index in range(num_features))]
    words, *features = [build.value(name, 1) for name in columns]
    states: list[State] = []
    with evaluating(model):
        x = _part(build, "embedding", model.embedding, words)
        if model.features is not None:
            x = x + _part(build, "features", model.features, *features)
        vectors = x
        for index, layer in enumerate(model.layers):
            symbols = []
            for direction in ("ahead", "back"):
                part = f"layers.{index}.{direction}"
                own, symbol = states_of(build, getattr(layer, direction), part, f"layer{index}_{direction}")
                states += own
                symbols.append(symbol)
            x = _part(build, f"layers.{index}", layer, x, tuple(symbols))
        if model.projection is not None:
            x = _linear(build, "projection", model.projection, x).tanh()
        scores = _linear(build, "output", model.output, x)
        if model.skip is not None:
            with build.part("skip"):
                scores = scores + vectors @ build.weight("weight", model.skip.weight).T
        body, crf = tuple(build.items), None
        weights = used_weights(build, body)
        if model.crf is not None:
            with build.part("crf"):
                names = ("start", "transitions", "end")
                start, transitions, end = (build.weight(name, getattr(model.crf, name)).name for name in names)
            crf = start, transitions, end
            weights |= {name: build.weights[name] for name in crf}
    return TaggerGraph(scores.width, weights, tuple(columns), tuple(states), body, scores.name, crf)


def _part(build: GraphBuilder, name: str, part: Any, *values: Any) -> Value:
    with build.part(name):
        found: Value = part.describe(build, *values)
    return found


def _linear(build: GraphBuilder, name: str, linear: nn.Linear, x: Value) -> Value:
    with build.part(name):
        return x @ build.weight("weight", linear.weight).T + build.weight("bias", linear.bias)


def check_tagger(model: nn.Module) -> None:
    """Check that a tagger can be described, without describing it.

    Raises:
        UserError: when it cannot; the message names each part and the reason.
    """
    plain = ("hidden", "logits", "predict", "_read", "_scores", "_marginals")
    if not isinstance(model, Tagger):
        raise UserError(f"{type(model).__name__}: cannot be exported, because it is no Tagger")
    if any(getattr(type(model), name) is not getattr(Tagger, name) for name in plain):
        raise UserError(f"{type(model).__name__}: cannot be exported, because it overrides methods of Tagger")
    parts: dict[str, Any] = {"embedding": model.embedding}
    if model.features is not None:
        parts["features"] = model.features
    for index, layer in enumerate(model.layers):
        parts[f"layers.{index}"] = layer
        if type(layer) is Bidirectional:
            parts |= {f"layers.{index}.{direction}": getattr(layer, direction) for direction in ("ahead", "back")}
    between = {
        "embedding.word_dropout": getattr(model.embedding, "word_dropout", None),
        "embedding_dropout": model.embedding_dropout,
        "between": model.between,
        "output_dropout": model.output_dropout,
    }
    problems = [*part_problems(parts), *inert_problems(between)]
    exact = {name: (getattr(model, name), nn.Linear) for name in ("projection", "output", "skip")}
    for name, (part, known) in {**exact, "crf": (model.crf, ConditionalRandomField)}.items():
        if part is not None and type(part) is not known:
            problems.append(f"{name} ({type(part).__name__}): cannot be exported, because it is no {known.__name__}")
    if problems:
        raise UserError(*problems)
