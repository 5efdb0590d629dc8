"""A tagger as plain data, and its reference in NumPy.

Its layers read a sentence from both ends, so that the function is one of whole sentences and has no step.

T words in the longest sentence, B sentences, F features of a word, K tags.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from .graph import Array, Cell, Operation, State
from .interpreter import FUNCTIONS


@dataclass(frozen=True)
class TaggerGraph:
    """The function ids -> (natural log-probabilities of the tags, predicted tags).

    Attributes:
        num_tags: K.
        weights: name -> array. Matrices are (outputs, inputs), embeddings (ids, width).
        columns: names of the ids of the words (T, B) and of each feature.
        states: of each direction of each layer; the reading of every sentence begins with `initial`.
        body: from the columns to the scores. Values are (T, B, width).
        scores: name of the scores of the tags (T, B, K).
        crf: names of the weights of a conditional random field: start (K,), transitions (K, K) from row to column, and
            end (K,). None where the tags of a sentence are independent: their log-probabilities are the logarithm of
            the softmax of the scores.
    """

    num_tags: int
    weights: Mapping[str, Array]
    columns: tuple[str, ...]
    states: tuple[State, ...]
    body: tuple[Operation | Cell, ...]
    scores: str
    crf: tuple[str, str, str] | None = None


def run_tagger(graph: TaggerGraph, ids: Any) -> tuple[Array, Any]:
    """Tag sentences.

    Args:
        graph: the tagger.
        ids: (T, B, 1 + F), the id of each word and of its features; ids of words are negative after the end of a
            sentence.

    Returns:
        Log-probabilities (T, B, K), the marginal ones with a conditional random field, and the predicted tags (T, B).
        Both have no meaning after the end of a sentence.
    """
    lengths = (ids[..., 0] >= 0).sum(0)
    values: dict[str, Any] = {**graph.weights}
    values |= {name: np.maximum(ids[..., index], 0) for index, name in enumerate(graph.columns)}
    values |= {state.name: np.tile(state.initial, (ids.shape[1], 1)) for state in graph.states}
    for item in graph.body:
        if isinstance(item, Cell):
            _run_cell(item, values)
        elif item.kind == "reverse":
            values[item.outputs[0]] = _reversed(values[item.inputs[0]], lengths)
        else:
            results = FUNCTIONS[item.kind]([values[name] for name in item.inputs], item)
            values |= dict(zip(item.outputs, results, strict=True))
    scores = values[graph.scores]
    if graph.crf is None:
        return scores - np.logaddexp.reduce(scores, axis=-1, keepdims=True), scores.argmax(-1)
    return _field(scores, lengths, *(values[name] for name in graph.crf))


def _run_cell(cell: Cell, values: dict[str, Any]) -> None:
    """Run a cell over a window, and set its output and the states after it."""
    outputs = []
    states = [values[name] for name in cell.before]
    for row in zip(*(values[name] for name in cell.inputs), strict=True):
        own = {**values, **dict(zip(cell.inputs, row, strict=True)), **dict(zip(cell.before, states, strict=True))}
        for operation in cell.operations:
            results = FUNCTIONS[operation.kind]([own[name] for name in operation.inputs], operation)
            own |= dict(zip(operation.outputs, results, strict=True))
        output, *states = (own[name] for name in cell.results)
        outputs.append(output)
    values[cell.output] = np.stack(outputs)
    values |= dict(zip(cell.after, states, strict=True))


def _reversed(x: Array, lengths: Any) -> Array:
    found = x.copy()
    for column, length in enumerate(lengths):
        found[:length, column] = x[:length, column][::-1]
    return found


def _field(scores: Array, lengths: Any, start: Array, transitions: Array, end: Array) -> tuple[Array, Any]:
    """The marginal log-probabilities and the best tags; `ConditionalRandomField` has the score of a sequence."""
    found, tags = np.zeros_like(scores), np.zeros(scores.shape[:2], np.int64)
    for column, length in enumerate(lengths):
        own = scores[:length, column]
        before, after, best, origins = [start + own[0]], [end], start + own[0], []
        for step in range(1, length):
            before.append(np.logaddexp.reduce(before[-1][:, None] + transitions, axis=0) + own[step])
            origins.append((best[:, None] + transitions).argmax(0))
            best = (best[:, None] + transitions).max(0) + own[step]
        for step in range(length - 1, 0, -1):
            after.append(np.logaddexp.reduce(transitions + own[step] + after[-1], axis=1))
        marginal = np.stack(before) + np.stack(after[::-1])
        found[:length, column] = marginal - np.logaddexp.reduce(marginal, axis=-1, keepdims=True)
        tags[length - 1, column] = (best + end).argmax()
        for step in range(length - 1, 0, -1):
            tags[step - 1, column] = origins[step - 1][tags[step, column]]
    return found, tags
