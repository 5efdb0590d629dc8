"""One token at a time: the stepper against torch's LSTM, the layers' own steps, and reading the weights once.

The limit is one pass over as many bytes as the weights have, the sum of a buffer by torch on the same threads, in turns
with the rest. What fits into the processor's cache is read from there by all of them alike.
"""

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from refrain.build import build_model
from refrain.config import Experiment
from refrain.evaluation.timing import interleaved, rows_against
from refrain.generation import Sampler, generate
from refrain.models import LanguageModel, Stepper
from refrain.nn.recurrent.prepared import prepare_layer

from .train import VOCABULARY

STREAMS, LINE_TOKENS = (8, 64), 20
READ, READ_BYTES = "reading the weights, float32", "reading the weights, int8"
PLAIN, OWN, FLOAT32, INT8 = "torch's LSTM", "the layers' own step", "stepper, float32", "stepper, int8"


def bench_step(experiment: Experiment, *, tokens: int, repeats: int) -> list[dict[str, Any]]:
    """Tokens per second, one token at a time: the whole model and its layers alone, more streams, and what uses it.

    Random weights, which cost the same. Rows of a group are compared with its first one; those of the stepper have
    their share of the rate of reading as `of_limit`.

    Args:
        experiment: its model settings and seed.
        tokens: of each stream in a timed call.
        repeats: timed calls of each candidate.
    """
    torch.manual_seed(experiment.training.seed)
    model = build_model(experiment.model, VOCABULARY).eval()
    steppers = {FLOAT32: Stepper(model), INT8: Stepper(model, weights="int8")}
    rows = []
    with torch.no_grad():
        for name, candidates in (
            ("batch 1: ", _whole(model, steppers, tokens)),
            ("batch 1, recurrent layers alone: ", _layers(model, tokens)),
        ):
            rows += _with_limits(
                rows_against(PLAIN, interleaved(candidates, repeats=repeats), tokens, "tokens/s"), name
            )
        for streams in STREAMS:
            readers: dict[str, LanguageModel | Stepper] = {OWN: model, **steppers}
            candidates = {name: _steps(reader, tokens, streams) for name, reader in readers.items()}
            seconds = interleaved(candidates, repeats=repeats)
            rows += rows_against(OWN, seconds, tokens * streams, "tokens/s", prefix=f"{streams} streams: ")
        rows += _uses(model, steppers, tokens, repeats)
    return rows


def _with_limits(rows: list[dict[str, Any]], prefix: str) -> list[dict[str, Any]]:
    rates = {row["name"]: row["median"] for row in rows}
    for row in rows:
        if row["name"] in (FLOAT32, INT8):
            row["of_limit"] = row["median"] / rates[READ if row["name"] == FLOAT32 else READ_BYTES]
        row["name"] = prefix + row["name"]
    return rows


def _whole(model: LanguageModel, steppers: dict[str, Stepper], tokens: int) -> dict[str, Callable[[], None]]:
    """A token after another through embedding, layers and head."""
    lstms, head = _torch_lstms(model), nn.Linear(_widths(model)[-1], VOCABULARY)

    def plain() -> None:
        states: list[Any] = [None] * len(lstms)
        for index in range(tokens):
            x = model.embedding(torch.tensor([[index % VOCABULARY]]))
            for layer, lstm in enumerate(lstms):
                x, states[layer] = lstm(x, states[layer])
            head(x).log_softmax(dim=-1)

    readers: dict[str, LanguageModel | Stepper] = {OWN: model, **steppers}
    size = _matrix_entries(model.stack) + _matrix_entries(model.head)
    return {
        PLAIN: plain,
        **{name: _steps(reader, tokens, 1) for name, reader in readers.items()},
        **_reading(size, tokens),
    }


def _layers(model: LanguageModel, tokens: int) -> dict[str, Callable[[], None]]:
    """The recurrent layers without embedding and head."""
    lstms, x = _torch_lstms(model), torch.randn(1, _widths(model)[0])

    def plain() -> None:
        states: list[Any] = [None] * len(lstms)
        for _ in range(tokens):
            y = x[None]
            for layer, lstm in enumerate(lstms):
                y, states[layer] = lstm(y, states[layer])

    def through(step: Sequence[Callable[..., Any]]) -> Callable[[], None]:
        def run() -> None:
            states = list(model.initial_state(1))
            for _ in range(tokens):
                y = x
                for layer, advance in enumerate(step):
                    y, states[layer] = advance(y, states[layer])

        return run

    layers: list[Any] = list(model.stack.layers)
    return {
        PLAIN: plain,
        OWN: through([layer.step for layer in layers]),
        FLOAT32: through([prepare_layer(layer, "float32").step for layer in layers]),
        INT8: through([prepare_layer(layer, "int8").step for layer in layers]),
        **_reading(_matrix_entries(model.stack), tokens),
    }


def _reading(entries: int, times: int) -> dict[str, Callable[[], None]]:
    """A pass over so many weights, as often as tokens are read."""
    float32, int8 = torch.ones(entries), torch.ones(entries // 4)

    def reading(buffer: Tensor) -> Callable[[], None]:
        def run() -> None:
            for _ in range(times):
                buffer.sum()

        return run

    return {READ: reading(float32), READ_BYTES: reading(int8)}


def _steps(reader: LanguageModel | Stepper, tokens: int, streams: int) -> Callable[[], None]:
    ids = torch.randint(VOCABULARY, (tokens, streams), generator=torch.Generator().manual_seed(1))

    def run() -> None:
        state = reader.initial_state(streams)
        for token in ids:
            _, state = reader.step(token, state)

    return run


def _uses(model: LanguageModel, steppers: dict[str, Stepper], tokens: int, repeats: int) -> list[dict[str, Any]]:
    """Text drawn by `generate`, and lines of twenty tokens scored one by one."""

    def drawing(stepper: Stepper) -> Callable[[], None]:
        def run() -> None:
            generator = torch.Generator().manual_seed(1)
            for _ in generate(stepper, [0], Sampler(), tokens=tokens, generator=generator):
                pass

        return run

    line = torch.randint(VOCABULARY, (LINE_TOKENS + 1, 1), generator=torch.Generator().manual_seed(1))

    def scoring(reader: LanguageModel | Stepper) -> Callable[[], None]:
        def run() -> None:
            reader.token_nats(line[:-1], line[1:], reader.initial_state(1))

        return run

    seconds = interleaved({name: drawing(stepper) for name, stepper in steppers.items()}, repeats=repeats)
    rows = rows_against(FLOAT32, seconds, tokens, "tokens/s", prefix="generate: ")
    scored = {OWN.replace("step", "window"): scoring(model), **{name: scoring(s) for name, s in steppers.items()}}
    seconds = interleaved(scored, repeats=repeats)
    return rows + rows_against(next(iter(scored)), seconds, LINE_TOKENS, "tokens/s", prefix="score a line of 20: ")


def _torch_lstms(model: LanguageModel) -> list[nn.LSTM]:
    widths = _widths(model)
    return [nn.LSTM(below, above) for below, above in pairwise(widths)]


def _widths(model: LanguageModel) -> list[int]:
    layers: list[Any] = list(model.stack.layers)
    return [layers[0].input_size, *(layer.hidden_size for layer in layers)]


def _matrix_entries(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters() if parameter.ndim >= 2)
