"""One process against several that train the same model, and what more of them would do on a network, on paper.

N ranks, B batch size.
"""

import statistics
import time
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from refrain.assembly.backend import choose_backends, native_in
from refrain.assembly.choosing import choose_measured, window_shape
from refrain.assembly.model import build_model
from refrain.assembly.task import build_optimizer
from refrain.config import Experiment
from refrain.nn import Embedding
from refrain.nn.columns import Columns
from refrain.parallel import ALONE, Ranks
from refrain.training import Hooks, train_round

from .limits import precisions
from .timing import row, rows_against
from .train import VOCABULARY, random_windows

RANKS = (8, 64)
NETWORKS = {"10 Gbit/s": 10e9 / 8, "100 Gbit/s": 100e9 / 8}
LATENCY = 50e-6
"""Seconds that a message takes at least, of the model on paper."""


def bench_parallel(experiment: Experiment, ranks: Ranks, *, windows: int, repeats: int) -> list[dict[str, Any]]:
    """Measure rank 0 alone, all ranks together, and all ranks at once that send nothing, in turns.

    The other ranks wait while rank 0 trains alone. Ranks that send nothing train a model each, on as many columns as
    they have of the model that they train together: that is the limit of the machine. The text is random tokens, drawn
    by Zipf's law from 10,000 words.

    Args:
        experiment: its model and training settings.
        ranks: the ranks of this machine.
        windows: the number of windows that a timed call trains on.
        repeats: the number of timed calls of each candidate.

    Returns:
        For rank 0, a row for each candidate in each precision, with the share of the time in which rank 0 waited for
        others as `waiting`, and rows for `RANKS` and `NETWORKS` that were computed by `on_paper`.
    """
    settings = experiment.training
    torch.manual_seed(settings.seed)
    text = random_windows(windows, settings.window_steps, settings.batch_size, torch.device("cpu"))
    tokens = windows * settings.window_steps * settings.batch_size
    rows = []
    for precision in precisions(torch.device("cpu")):
        train = _Trainer(experiment, precision, text, ranks)
        found: dict[str, list[float]] = {"alone": [], "apart": [], "together": [], "waiting": []}
        for run in range(repeats + 1):
            ranks.wait()
            alone = train(ALONE) if ranks.first else 0.0
            ranks.wait()
            apart = ranks.largest(round(1e9 * train(ALONE, ranks.columns(settings.batch_size))))[0] / 1e9
            before = getattr(ranks, "seconds", 0.0)
            together = train(ranks)
            waiting = getattr(ranks, "seconds", 0.0) - before
            if run:
                for name, seconds in zip(found, (alone, apart, together, waiting), strict=True):
                    found[name].append(seconds)
        if not ranks.first:
            continue
        rows += _rows(found, tokens, ranks.size, precision)
        step = statistics.median(found["alone"]) / windows
        rows += paper_rows(train.model, experiment, step, precision)
    return rows


class _Trainer:
    """Trains a model on all windows, by one rank or by all."""

    def __init__(self, experiment: Experiment, precision: str, text: Any, ranks: Ranks) -> None:
        settings = experiment.training.model_copy(update={"precision": precision})
        torch.manual_seed(settings.seed)
        self.model = build_model(experiment.model, VOCABULARY)
        # a process with all columns may choose other backends than one with a part of them
        self.native = {
            size: native_in(choose_measured(settings, self.model, shape, ranks).backends)
            for size in {1, ranks.size}
            for shape in [window_shape(settings, experiment.model, VOCABULARY, ranks=size)]
        }
        self.settings, self.text, self.size = settings, text, ranks.size
        self.optimizer = build_optimizer(settings, self.model)

    def __call__(self, ranks: Ranks, some: Columns | None = None) -> float:
        """Return the seconds that it took.

        Args:
            ranks: the ranks that train.
            some: the columns to train on; None for all.
        """
        text = self.text if some is None else [(some.of(inputs), some.of(targets)) for inputs, targets in self.text]
        columns = ranks.columns(self.settings.batch_size) or some
        state = self.model.initial_state(self.settings.batch_size if columns is None else columns.number)
        choose_backends(self.settings, self.model, native=self.native[1 if columns is None else self.size])
        started = time.perf_counter()
        train_round(
            self.model,
            text,
            state,
            self.optimizer,
            loss_scale=self.settings.loss_scale,
            max_norm=self.settings.max_norm,
            hooks=Hooks(),
            ranks=ranks,
        )
        return time.perf_counter() - started


def _rows(found: Mapping[str, list[float]], tokens: int, size: int, precision: str) -> list[dict[str, Any]]:
    names = {"alone": "1 process", "together": f"{size} processes", "apart": f"{size} processes that send nothing"}
    times = {f"{text}, {precision}": found[name] for name, text in names.items()}
    rows = rows_against(f"1 process, {precision}", times, tokens, "tokens/s")
    shares = [waited / spent for waited, spent in zip(found["waiting"], found["together"], strict=True)]
    rows[1]["waiting"] = statistics.median(shares)
    return rows


def paper_rows(model: nn.Module, experiment: Experiment, step: float, precision: str) -> list[dict[str, Any]]:
    """What more ranks would do on a network, computed by `on_paper`; none of it was measured but the time of a step.

    Args:
        model: the model.
        experiment: its settings.
        step: the seconds of a step of one process.
        precision: what the step was measured in.
    """
    settings = experiment.training
    sparse = [part for part in model.modules() if isinstance(part, Embedding) and part.sparse_gradient]
    rows = min(VOCABULARY, settings.window_steps * settings.batch_size)
    sent = sum(rows * (4 * part.embedding_size + 8) for part in sparse)
    dense = 4 * (sum(each.numel() for each in model.parameters()) - sum(part.weight.numel() for part in sparse))
    tokens = settings.window_steps * settings.batch_size
    found = []
    for network, bandwidth in NETWORKS.items():
        for count in RANKS:
            seconds = on_paper(step, dense, sent, count, bandwidth)
            name = f"on paper: {count} processes, {network}, {precision}"
            found.append(row(name, [count * tokens / seconds], "tokens/s", ratios=[count * step / seconds]))
    return found


def on_paper(step: float, dense: float, rows: float, ranks: int, bandwidth: float) -> float:
    """Return the seconds of a step of ranks on different machines, each with the batch of one process.

    Gradients go around a ring: each rank sends and receives 2 (N - 1) / N of their bytes in 2 (N - 1) messages. Rows of
    sparse gradients go to every other rank. Nothing of it overlaps with the backward pass, as some does in truth.

    Args:
        step: the seconds of a step of one process.
        dense: the bytes of all dense gradients.
        rows: the bytes of the rows of sparse gradients of one rank.
        ranks: N.
        bandwidth: of the network, in bytes per second and direction.
    """
    sent = 2 * (ranks - 1) / ranks * dense + (ranks - 1) * rows
    return step + sent / bandwidth + 2 * (ranks - 1) * LATENCY
