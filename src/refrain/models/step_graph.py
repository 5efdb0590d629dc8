"""The step of a language model as a graph in plain data, which exporters translate."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import nn

from refrain.errors import UserError
from refrain.nn import Dropout, EmbeddingDropout, LockedDropout, RecurrentStack, VariationalDropout
from refrain.nn.dropout import HeldMask
from refrain.nn.step_graph import Cell, Describable, GraphBuilder, Operation, State, StepGraph
from refrain.nn.step_graph.builder import leaves, like
from refrain.nn.step_graph.graph import Array

from .language_model import LanguageModel
from .modes import evaluating

INERT = (nn.Identity, nn.Dropout, Dropout, LockedDropout, VariationalDropout, EmbeddingDropout, HeldMask)
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
            own, symbols = states_of(build, described, f"stack.layers.{index}", f"layer{index}")
            with build.part(f"stack.layers.{index}"):
                x, after = described.describe(build, x, symbols)
            states += [state._replace(after=end.name) for state, end in zip(own, leaves(after), strict=True)]
        body, build.items = tuple(build.items), []
        head: Any = model.head
        with build.part("head"):
            result = head.describe(build, x)
        head_items = tuple(build.items)
    return StepGraph(
        result.width, used_weights(build, body, head_items), tuple(states), body, head_items, x.name, result.name
    )


def used_weights(build: GraphBuilder, *items: Sequence[Operation | Cell]) -> dict[str, Array]:
    """The weights that operations read; a weight of which only parts are read is none itself."""
    used: set[str] = set()
    for item in (each for group in items for each in group):
        inner = item.operations if isinstance(item, Cell) else (item,)
        used |= {name for operation in inner for name in operation.inputs}
    return {name: array for name, array in build.weights.items() if name in used}


def states_of(build: GraphBuilder, layer: Any, part: str, prefix: str) -> tuple[list[State], Any]:
    """The states of a layer.

    Args:
        build: makes the symbols.
        layer: a recurrent layer.
        part: its name in the model.
        prefix: what the names of its states begin with.

    Returns:
        The states, whose values after the step are not known yet, and a state of symbols for those before it.

    Raises:
        UserError: when a state is no matrix (batch, size).
    """
    initial = layer.initial_state(1)
    tensors = leaves(initial)
    if any(tensor.ndim != 2 for tensor in tensors):
        shapes = ", ".join(str(("batch", *tensor.shape[1:])) for tensor in tensors)
        raise UserError(
            f"{part} ({type(layer).__name__}): cannot be exported, because its states have shapes "
            f"{shapes}; export needs states of shape (batch, size)"
        )
    fields = getattr(initial, "_fields", ())
    names = fields if len(fields) == len(tensors) else ["state"] if len(tensors) == 1 else range(len(tensors))
    states = [
        State(f"{prefix}_{name}", tensor.shape[1], tensor[0].cpu().numpy().copy(), "")
        for name, tensor in zip(names, tensors, strict=True)
    ]
    return states, like(initial, [build.value(state.name, state.size) for state in states])


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
    layers = {f"stack.layers.{index}": layer for index, layer in enumerate(model.stack.layers)}
    between = {
        "embedding.word_dropout": getattr(model.embedding, "word_dropout", None),
        "embedding_dropout": model.embedding_dropout,
        "stack.between": model.stack.between,
        "output_dropout": model.output_dropout,
        "head.latent_dropout": getattr(model.head, "latent_dropout", None),
    }
    problems = [*part_problems({"embedding": model.embedding, **layers, "head": model.head}), *inert_problems(between)]
    if type(model.stack) is not RecurrentStack:
        problems.append(f"stack ({type(model.stack).__name__}): cannot be exported, because it is not a RecurrentStack")
    if problems:
        raise UserError(*problems)


def part_problems(parts: Mapping[str, Any]) -> Iterator[str]:
    """Why parts of a model, name -> part, cannot be described."""
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


def inert_problems(between: Mapping[str, Any]) -> Iterator[str]:
    """Why a model cannot be described that has modules, name -> module or None, between its parts."""
    for name, module in between.items():
        inner = [] if module is None else [each for each in module.modules() if type(each) is not nn.Sequential]
        if any(type(each) not in INERT for each in inner):
            yield f"{name} ({type(module).__name__}): cannot be exported, because only dropout is known there"
