"""The step of a language model as a graph in plain data, which exporters translate."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from refrain.errors import UserError
from refrain.nn import EmbeddingDropout, LockedDropout, RecurrentStack, VariationalDropout
from refrain.nn.dropout import HeldMask
from refrain.nn.step_graph import Describable, GraphBuilder, State, StepGraph
from refrain.nn.step_graph.builder import leaves, like

from .language_model import LanguageModel
from .modes import evaluating

INERT = (nn.Identity, nn.Dropout, LockedDropout, VariationalDropout, EmbeddingDropout, HeldMask)
"""Modules that do nothing in evaluation mode. A subclass may do something."""

COMPUTED = {"step", "forward", "window_weights", "log_probabilities"}
"""Methods that a description stands for."""


@torch.no_grad()
def step_graph(model: nn.Module) -> StepGraph:
    """The function (ids, states) -> (log-probabilities, states) of a model in evaluation mode, as plain data.

    The weights are copied, with weight norm resolved and dropout left out.

    Args:
        model: a `LanguageModel`; its mode is not changed.

    Raises:
        UserError: when a part of the model has no description; the message names the part.
    """
    check_describable(model)
    assert isinstance(model, LanguageModel)
    build = GraphBuilder()
    with evaluating(model):
        ids = build.value("ids", 1)
        if model.reset_before is not None:
            build.kept = build.differs(ids, model.reset_before)
        embedding: Any = model.embedding
        with build.part("embedding"):
            x = embedding.describe(build, ids)
        states: list[State] = []
        for index, layer in enumerate(model.stack.layers):
            described: Any = layer
            names, initial = _states(index, described)
            symbols = [build.value(name, len(start)) for name, start in zip(names, leaves(initial), strict=True)]
            with build.part(f"stack.layers.{index}"):
                x, after = described.describe(build, x, like(initial, symbols))
            ends = zip(names, leaves(initial), leaves(after), strict=True)
            states += [State(name, len(start), start.cpu().numpy().copy(), end.name) for name, start, end in ends]
        body, build.items = tuple(build.items), []
        head: Any = model.head
        with build.part("head"):
            result = head.describe(build, x)
        graph = StepGraph(result.width, build.weights, tuple(states), body, tuple(build.items), x.name, result.name)
    # a weight of which only parts are read is none itself
    used = {name for operation in graph.flat().operations for name in operation.inputs}
    return replace(graph, weights={name: array for name, array in graph.weights.items() if name in used})


def _states(index: int, layer: Any) -> tuple[list[str], Any]:
    """The names of a layer's states, and their values before the first token without a batch."""
    initial = layer.initial_state(1)
    tensors = leaves(initial)
    if any(tensor.ndim != 2 for tensor in tensors):
        shapes = ", ".join(str(("batch", *tensor.shape[1:])) for tensor in tensors)
        raise UserError(
            f"stack.layers.{index} ({type(layer).__name__}): cannot be exported, because its states have shapes "
            f"{shapes}; export needs states of shape (batch, size)"
        )
    fields = getattr(initial, "_fields", ())
    names = fields if len(fields) == len(tensors) else ["state"] if len(tensors) == 1 else range(len(tensors))
    return [f"layer{index}_{name}" for name in names], like(initial, [tensor[0] for tensor in tensors])


def check_describable(model: nn.Module) -> None:
    """Check that a model can be described, without describing it.

    Raises:
        UserError: when it cannot; the message names each part and the reason.
    """
    plain = ("hidden", "step", "token_nats", "initial_state")
    if not isinstance(model, LanguageModel):
        raise UserError(f"{type(model).__name__}: cannot be exported, because only a LanguageModel describes its step")
    if any(getattr(type(model), name) is not getattr(LanguageModel, name) for name in plain):
        raise UserError(f"{type(model).__name__}: cannot be exported, because it overrides methods of LanguageModel")
    if problems := list(_problems(model)):
        raise UserError(*problems)


def _problems(model: LanguageModel) -> Iterator[str]:
    layers = {f"stack.layers.{index}": layer for index, layer in enumerate(model.stack.layers)}
    parts: dict[str, Any] = {"embedding": model.embedding, **layers, "head": model.head}
    for name, part in parts.items():
        if not isinstance(part, Describable):
            yield (
                f"{name} ({type(part).__name__}): cannot be exported, because it has no method describe; see "
                "docs/export.md"
            )
        elif "describe" not in vars(type(part)) or COMPUTED & vars(part).keys():
            # a subclass, or a layer of which methods were replaced, may compute something else
            yield (
                f"{name} ({type(part).__name__}): cannot be exported, because it changes what it inherits without a "
                "method describe of its own"
            )
    between: dict[str, Any] = {
        "embedding.word_dropout": getattr(model.embedding, "word_dropout", None),
        "embedding_dropout": model.embedding_dropout,
        "stack.between": model.stack.between,
        "output_dropout": model.output_dropout,
        "head.latent_dropout": getattr(model.head, "latent_dropout", None),
    }
    for name, module in between.items():
        inner = [] if module is None else [each for each in module.modules() if type(each) is not nn.Sequential]
        if any(type(each) not in INERT for each in inner):
            yield f"{name} ({type(module).__name__}): cannot be exported, because only dropout is known there"
    if type(model.stack) is not RecurrentStack:
        yield f"stack ({type(model.stack).__name__}): cannot be exported, because it is not a RecurrentStack"
