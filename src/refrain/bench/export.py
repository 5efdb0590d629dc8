"""The speed of exported models, one token at a time: ONNX Runtime and compiled C, compared with the stepper."""

from collections.abc import Callable
from typing import Any

import torch

from refrain.assembly import build_model
from refrain.config import Experiment
from refrain.errors import UserError
from refrain.export import c_format, onnx_format
from refrain.export.formats import Exported, Options, Steps, Weights, check_format, compiler
from refrain.export.proof import Runner, initial_states
from refrain.models import Stepper
from refrain.models.step_graph import step_graph
from refrain.nn.step_graph import StepGraph

from .timing import interleaved, rows_against
from .train import VOCABULARY

WEIGHTS: tuple[Weights, ...] = ("float32", "int8")
STEPS: dict[Steps, str] = {"many": "ONNX Runtime, windows", "one": "ONNX Runtime, single steps"}
MOST_C_WEIGHTS = {"float32": 25_000_000, "int8": 100_000_000}
"""The largest number of weights whose C code is compiled: some 400 MB of source, which takes minutes."""


def bench_export(
    experiment: Experiment,
    *,
    hidden_sizes: tuple[int, ...] | None,
    tokens: int,
    repeats: int,
    log: Callable[[str], None],
) -> list[dict[str, Any]]:
    """Measure the tokens per second of exported models at batch 1, one token at a time, with the head.

    The candidates are the stepper, ONNX files for windows and for single steps in ONNX Runtime, and C code, each with
    float32 and with int8 weights. ONNX Runtime has as many threads as torch, and C code has one. The weights are
    random, which does not change the speed.

    Args:
        experiment: its model settings are used.
        hidden_sizes: the hidden widths of a second, smaller model, as compaction leaves it, with the same embedding
            width; None for none.
        tokens: the number of tokens that a timed call reads.
        repeats: the number of timed calls of each candidate.
        log: called with a line of text for each step that takes time, and for what is left out.

    Returns:
        A row for each candidate, with `megabytes`, the size of its file or source. Rates are compared with those of
        the first row, the float32 stepper of the model.

    Raises:
        UserError: when `hidden_sizes` does not give a width for each layer, or a package is missing.
    """
    own = experiment.model.hidden_sizes
    if hidden_sizes is not None and len(hidden_sizes) != len(own):
        raise UserError(f"bench export needs a width for each of {len(own)} layers (got {len(hidden_sizes)})")
    check_format("onnx", Options(), proof=True)
    candidates: dict[str, Callable[[], None]] = {}
    megabytes: dict[str, float] = {}
    for sizes in (own,) if hidden_sizes is None else (own, hidden_sizes):
        torch.manual_seed(experiment.training.seed)
        model = build_model(experiment.model.model_copy(update={"hidden_sizes": sizes}), VOCABULARY).eval()
        graph = step_graph(model)
        weights = sum(parameter.numel() for parameter in model.parameters())
        name = "-".join(map(str, sizes))
        for kind in WEIGHTS:
            candidates[f"{name}, {kind}: stepper"] = _steps(Stepper(model, weights=kind), tokens)
            for words, exported in _exports(graph, kind, weights, log).items():
                candidates[f"{name}, {kind}: {words}"] = _runs(exported.runner(), graph, tokens)
                megabytes[f"{name}, {kind}: {words}"] = _megabytes(exported)
    seconds = interleaved(candidates, repeats=repeats)
    rows = rows_against(next(iter(candidates)), seconds, tokens, "tokens/s")
    return [{**row, "megabytes": megabytes.get(row["name"])} for row in rows]


def _exports(graph: StepGraph, kind: Weights, weights: int, log: Callable[[str], None]) -> dict[str, Exported]:
    found = {words: onnx_format.export(graph, Options(weights=kind, steps=steps)) for steps, words in STEPS.items()}
    if compiler() is None:
        log("C code is left out, as there is no C compiler")
        return found
    if weights > MOST_C_WEIGHTS[kind]:
        log(f"C code with {weights:,} {kind} weights is left out, as compilers need too much memory for it")
        return found
    log(f"compiling C code with {weights:,} {kind} weights")
    return {**found, "C": c_format.export(graph, Options(weights=kind, tokens=(b"",) * graph.vocabulary_size))}


def _megabytes(exported: Exported) -> float:
    return sum(map(len, exported.files.values())) / 1e6


def _steps(stepper: Stepper, tokens: int) -> Callable[[], None]:
    def run() -> None:
        state = stepper.initial_state(1)
        for index in range(tokens):
            _, state = stepper.step(torch.tensor([index % VOCABULARY]), state)

    return run


def _runs(runner: Runner, graph: StepGraph, tokens: int) -> Callable[[], None]:
    ids = torch.arange(tokens).remainder(VOCABULARY)[:, None, None].numpy()

    def run() -> None:
        states = initial_states(graph, 1)
        for token in ids:
            _, states = runner(token, states)

    return run
