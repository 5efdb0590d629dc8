"""Training settings -> what each part of a model computes with."""

from typing import Any

import torch
from torch import nn

from refrain.config import TaggerTraining, Training
from refrain.errors import UserError
from refrain.nn import GRU, LSTM, Embedding, MultiplicativeLSTM, SparseLSTM
from refrain.nn.engine import Engine, has_fast_bf16
from refrain.nn.native import load
from refrain.nn.native.memory import keep_freed_memory


def build_engine(settings: Training | TaggerTraining, model: nn.Module) -> dict[str, str]:
    """Let each part of a model train with the engine and the precision of the settings; compiles what is wanted.

    Args:
        settings: their engine and precision.
        model: on its device; its parts are changed in place.

    Returns:
        Name of a part -> what it trains with, for the run's record.

    Raises:
        UserError: when the device cannot do what was asked for.
    """
    device = next(model.parameters()).device
    bf16 = _uses_bf16(settings.precision, device)
    if settings.engine == "scan" and device.type != "cpu":
        raise UserError(f"training.engine: 'scan' is for processors, not for {device.type}; use 'plain' or 'auto'")
    chosen = {}
    for name, part in model.named_modules():
        if isinstance(getattr(part, "engine", None), Engine):
            wanted = settings.engine == "scan" or (settings.engine == "auto" and _pays(part, bf16))
            kernels = wanted and device.type == "cpu" and load(str(part.kernels)) is not None
            part.engine = Engine(kernels, bf16)
            # layers have no way of their own to round products, heads have
            rounded = bf16 and (kernels or not hasattr(part, "hidden_size"))
            chosen[name] = f"{'kernels' if kernels else 'plain'}, {'bf16' if rounded else 'float32'}"
        elif isinstance(part, Embedding):
            part.sparse_gradient = settings.engine != "plain" and _takes_sparse(settings, model, part)
    if device.type == "cpu" and settings.engine != "plain":
        keep_freed_memory()
    return chosen


def describe_engine(chosen: dict[str, str]) -> str:
    """A line for the start of a run: what is used, and by how many parts.

    Args:
        chosen: as from `build_engine`.
    """
    counts = {words: list(chosen.values()).count(words) for words in chosen.values()}
    said = [f"{words} ({count} of {len(chosen)} parts)" for words, count in counts.items()]
    return "engine " + ("; ".join(said) or "plain")


def _uses_bf16(precision: str, device: torch.device) -> bool:
    able = device.type == "cpu" and has_fast_bf16()
    if precision == "bf16" and not able:
        what = "this processor has no instructions for it" if device.type == "cpu" else f"not for {device.type}"
        raise UserError(f"training.precision: 'bf16' is for processors that compute in it, {what}; use 'float32'")
    return able and precision != "float32"


def _takes_sparse(settings: Training | TaggerTraining, model: nn.Module, embedding: Embedding) -> bool:
    """Whether only looked-up rows need a gradient, and that saves more than it costs.

    Every row of a weight that a head shares, or that decays, has one. Updates by Adam or with momentum move rows
    without one, too.
    """
    shared = sum(weight is embedding.weight for part in model.modules() for weight in part.parameters(recurse=False))
    return (
        shared == 1
        and settings.optimizer != "adam"
        and not settings.weight_decay
        and not settings.momentum
        and embedding.weight.numel() >= 1_000_000
    )


def _pays(part: Any, bf16: bool) -> bool:
    """Whether kernels are faster than torch's operations, as `refrain bench train` and `bench cells` measure."""
    if isinstance(part, LSTM):
        # torch's own float32 kernel is as fast as long as the recurrent weight stays in the caches
        return int(part.hidden_size) >= (64 if bf16 else 512)
    if isinstance(part, SparseLSTM):
        return bf16 and int(part.hidden_size) // len(part.blocks) >= 64
    if isinstance(part, GRU | MultiplicativeLSTM):
        return int(part.hidden_size) >= 64
    # of a head: below, its time is nothing beside that of compiling
    return max(int(parameter.numel()) for parameter in part.parameters()) >= 500_000
