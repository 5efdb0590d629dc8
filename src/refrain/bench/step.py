"""The speed of one token at a time: the stepper, compared with torch's LSTM, the layers' steps and limits of memory.

The limits are the times to read and to copy as many bytes as the weights have, on the same threads and in turns with
the candidates; see `memory_limits`. Weights that fit into the processor's cache stay there for the stepper and for the
reading limit alike, while a copy always goes to memory.
"""

from collections.abc import Callable, Sequence
from itertools import pairwise
from statistics import median
from typing import Any

import torch
from torch import Tensor, nn

from refrain.assembly import build_model
from refrain.config import Experiment
from refrain.generation import Sampler, generate
from refrain.models import LanguageModel, Stepper
from refrain.nn.recurrent.packed import pack_layer

from .limits import matrix_entries
from .memory_limits import faster_pages, memory_limits
from .timing import interleaved, rows_against
from .train import VOCABULARY

BATCHES, LINE_TOKENS = (8, 16, 64, 256), 20
READ, COPY = "reading as many bytes", "copying as many bytes"
PLAIN, OWN, FLOAT32, INT8 = "torch's LSTM", "the layers' own step", "stepper, float32", "stepper, int8"
SAMPLERS: dict[str, dict[str, Any]] = {"": {}, ", top-k 40": {"top_k": 40}, ", top-p 0.9": {"top_p": 0.9}}
LIMITS = {FLOAT32: (f"{READ}, float32", f"{COPY}, float32"), INT8: (f"{READ}, int8", f"{COPY}, int8")}


def bench_step(experiment: Experiment, *, tokens: int, repeats: int) -> list[dict[str, Any]]:
    """Measure tokens per second, one token at a time: the model, its layers alone, larger batches, and applications.

    The weights are random, which does not change the speed. The rows of a group are compared with its first row; the
    stepper's rows also have their rates as fractions of the limits, `of_reading` and `of_copy`.

    Args:
        experiment: its model settings and its seed are used.
        tokens: the number of tokens in each sequence of a timed call.
        repeats: the number of timed calls of each candidate.

    Returns:
        A row for each candidate and each limit.
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
            rows += _with_shares(faster_pages(interleaved(candidates, repeats=repeats)), tokens, name)
        for batch_size in BATCHES:
            readers: dict[str, LanguageModel | Stepper] = {OWN: model, **steppers}
            candidates = {name: _steps(reader, tokens, batch_size) for name, reader in readers.items()}
            seconds = interleaved(candidates, repeats=repeats)
            rows += rows_against(OWN, seconds, tokens * batch_size, "tokens/s", prefix=f"{batch_size} streams: ")
        rows += _uses(model, steppers, tokens, repeats)
    return rows


def _with_shares(seconds: dict[str, list[float]], tokens: int, prefix: str) -> list[dict[str, Any]]:
    """Return the rows of a group; a stepper's fraction of a limit is the median over the rounds."""
    rows = rows_against(PLAIN, seconds, tokens, "tokens/s")
    for row in rows:
        own = row["name"]
        if own in LIMITS:
            for key, limit in zip(("of_reading", "of_copy"), LIMITS[own], strict=True):
                row[key] = median(most / s for most, s in zip(seconds[limit], seconds[own], strict=True))
        row["name"] = prefix + own
    return rows


def _whole(model: LanguageModel, steppers: dict[str, Stepper], tokens: int) -> dict[str, Callable[[], None]]:
    """Calls that pass one token after another through embedding, layers and head."""
    lstms = _torch_lstms(model)
    head = nn.Linear(_widths(model)[-1], VOCABULARY)

    def plain() -> None:
        states: list[Any] = [None] * len(lstms)
        for index in range(tokens):
            x = model.embedding(torch.tensor([[index % VOCABULARY]]))
            for layer, lstm in enumerate(lstms):
                x, states[layer] = lstm(x, states[layer])
            head(x).log_softmax(dim=-1)

    readers: dict[str, LanguageModel | Stepper] = {OWN: model, **steppers}
    size = matrix_entries(model.stack, model.head)
    return {
        PLAIN: plain,
        **{name: _steps(reader, tokens, 1) for name, reader in readers.items()},
        **_limits(size, tokens),
    }


def _layers(model: LanguageModel, tokens: int) -> dict[str, Callable[[], None]]:
    """Calls that pass one token after another through the recurrent layers, without embedding and head."""
    lstms = _torch_lstms(model)
    x = torch.randn(1, _widths(model)[0])

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
        FLOAT32: through([pack_layer(layer, "float32").step for layer in layers]),
        INT8: through([pack_layer(layer, "int8").step for layer in layers]),
        **_limits(matrix_entries(model.stack), tokens),
    }


def _limits(entries: int, times: int) -> dict[str, Callable[[], None]]:
    """Calls that read and copy as many bytes as the weights have, once for each token."""
    return memory_limits(*LIMITS[FLOAT32], 4 * entries, times) | memory_limits(*LIMITS[INT8], entries, times)


def _steps(reader: LanguageModel | Stepper, tokens: int, batch_size: int) -> Callable[[], None]:
    ids = torch.randint(VOCABULARY, (tokens, batch_size), generator=torch.Generator().manual_seed(1))

    def run() -> None:
        state = reader.initial_state(batch_size)
        for token in ids:
            _, state = reader.step(token, state)

    return run


def _uses(model: LanguageModel, steppers: dict[str, Stepper], tokens: int, repeats: int) -> list[dict[str, Any]]:
    """Measure two applications: sampling text by `generate`, and scoring lines of twenty tokens one by one."""
    rows = []
    for name, options in SAMPLERS.items():
        drawn = {name: _drawing(stepper, options, tokens) for name, stepper in steppers.items()}
        drawn[f"{INT8}, softmax over all words"] = _drawing(steppers[INT8], options, tokens, by_softmax=True)
        seconds = interleaved(drawn, repeats=repeats)
        rows += rows_against(FLOAT32, seconds, tokens, "tokens/s", prefix=f"generate{name}: ")
    line = torch.randint(VOCABULARY, (LINE_TOKENS + 1, 1), generator=torch.Generator().manual_seed(1))

    def scoring(reader: LanguageModel | Stepper) -> Callable[[], None]:
        def run() -> None:
            reader.token_nats(line[:-1], line[1:], reader.initial_state(1))

        return run

    scored = {OWN.replace("step", "window"): scoring(model), **{name: scoring(s) for name, s in steppers.items()}}
    seconds = interleaved(scored, repeats=repeats)
    return rows + rows_against(next(iter(scored)), seconds, LINE_TOKENS, "tokens/s", prefix="score a line of 20: ")


def _drawing(stepper: Stepper, options: dict[str, Any], tokens: int, *, by_softmax: bool = False) -> Callable[[], None]:
    """A call that generates a text, by the sampler's kernel or by torch's operations on all probabilities."""
    sampler = Sampler(**options)

    def slowly(log_probabilities: Tensor, generator: torch.Generator) -> Tensor:
        # in float64 there is no kernel
        return sampler(log_probabilities.double(), generator)

    def run() -> None:
        generator = torch.Generator().manual_seed(1)
        for _ in generate(stepper, [0], slowly if by_softmax else sampler, tokens=tokens, generator=generator):
            pass

    return run


def _torch_lstms(model: LanguageModel) -> list[nn.LSTM]:
    widths = _widths(model)
    return [nn.LSTM(below, above) for below, above in pairwise(widths)]


def _widths(model: LanguageModel) -> list[int]:
    layers: list[Any] = list(model.stack.layers)
    return [layers[0].input_size, *(layer.hidden_size for layer in layers)]
