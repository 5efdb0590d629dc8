"""Training settings -> what each part of a model computes with."""

from collections.abc import Callable
from typing import Any

from torch import nn

from refrain.config import SGD, TaggerTraining, Training
from refrain.errors import UserError
from refrain.nn import GRU, LSTM, Embedding, MultiplicativeLSTM, SparseLSTM
from refrain.nn.kernels.allocator import keep_freed_memory
from refrain.nn.kernels.backend import Engine, has_fast_bf16
from refrain.nn.kernels.compile import is_compiled, load
from refrain.nn.kernels.launch import has_triton


def build_engine(
    settings: Training | TaggerTraining, model: nn.Module, say: Callable[[str], None] | None = None
) -> dict[str, str]:
    """Let each part of a model train with the engine and the precision of the settings; compiles what is wanted.

    Args:
        settings: their backend and precision.
        model: on its device; its parts are changed in place.
        say: is told before anything is compiled.

    Returns:
        Name of a part -> what it trains with, for the run's record.

    Raises:
        UserError: when the device cannot do what was asked for.
    """
    device = next(model.parameters()).device.type
    bf16 = _uses_bf16(settings.precision, device)
    if settings.backend == "native":
        _check_native(device)
    parts = [part for _, part in model.named_modules() if isinstance(getattr(part, "engine", None), Engine)]
    if device == "cpu" and say is not None:
        wanted = {str(part.kernels) for part in parts if _wants_kernels(part, settings.backend, device, bf16)}
        if missing := sorted(name for name in wanted if not is_compiled(name)):
            say(f"compiling kernels for this processor, some seconds, once: {', '.join(missing)}")
    chosen = {}
    for name, part in model.named_modules():
        if isinstance(getattr(part, "engine", None), Engine):
            part.engine = engine_for(part, settings.backend, device, bf16)
            chosen[name] = _said(part, device)
        elif isinstance(part, Embedding):
            part.sparse_gradient = settings.backend != "torch" and _takes_sparse(settings, model, part)
    if device == "cpu" and settings.backend != "torch":
        keep_freed_memory()
    return chosen


def engine_for(part: nn.Module, setting: str, device: str, bf16: bool) -> Engine:
    """What a part trains with.

    Args:
        part: a layer or a head.
        setting: auto, torch or native.
        device: its kind, such as cpu or cuda.
        bf16: whether products are to be rounded.
    """
    return Engine(_wants_kernels(part, setting, device, bf16) and _has_kernels(part, device), bf16)


def describe_engine(chosen: dict[str, str]) -> str:
    """A line for the start of a run: what is used, and by how many parts.

    Args:
        chosen: as from `build_engine`.
    """
    counts = {words: list(chosen.values()).count(words) for words in chosen.values()}
    said = [f"{words} ({count} of {len(chosen)} parts)" for words, count in counts.items()]
    return "engine " + ("; ".join(said) or "plain")


def _uses_bf16(precision: str, device: str) -> bool:
    able = has_fast_bf16(device)
    if precision == "bf16" and not able:
        kinds = {"cpu": "this processor has", "cuda": "this GPU has"}
        what = f"{kinds.get(device, f'{device} has')} no instructions for it"
        raise UserError(f"training.precision: 'bf16' is for devices that compute in it, {what}; use 'float32'")
    return able and precision != "float32"


def _check_native(device: str) -> None:
    if device == "cuda" and not has_triton():
        raise UserError(
            "training.backend: 'native' on a GPU needs Triton; pip install triton, or use 'torch' or 'auto'"
        )
    if device not in ("cpu", "cuda"):
        raise UserError(f"training.backend: 'native' is for CPUs and GPUs, not for {device}; use 'torch' or 'auto'")


def _wants_kernels(part: nn.Module, setting: str, device: str, bf16: bool) -> bool:
    return setting == "native" or (setting == "auto" and _pays(part, device, bf16))


def _has_kernels(part: Any, device: str) -> bool:
    if device == "cuda":
        # of layers; a head's large products are torch's, and what is between them is few passes
        return hasattr(part, "hidden_size") and has_triton()
    return device == "cpu" and load(str(part.kernels)) is not None


def _said(part: Any, device: str) -> str:
    """By what a part trains, for the record."""
    kernels, bf16 = part.engine
    if device == "cuda" and hasattr(part, "hidden_size"):
        # layers round in their own scan, and torch's kernel for a whole window is cuDNN's
        by_torch = "torch" if bf16 or isinstance(part, MultiplicativeLSTM) else "cuDNN"
        return f"{'Triton' if kernels else by_torch}, {'bf16' if bf16 else 'float32'}"
    # on a processor, layers have no way of their own to round products, heads have
    rounded = bf16 and (kernels or not hasattr(part, "hidden_size"))
    return f"{'kernels' if kernels else 'plain'}, {'bf16' if rounded else 'float32'}"


def _takes_sparse(settings: Training | TaggerTraining, model: nn.Module, embedding: Embedding) -> bool:
    """Whether only looked-up rows need a gradient, and that saves more than it costs.

    Every row of a weight that a head shares, or that decays, has one. Updates by Adam or with momentum move rows
    without one, too.
    """
    shared = sum(weight is embedding.weight for part in model.modules() for weight in part.parameters(recurse=False))
    return (
        shared == 1
        and settings.optimizer.kind != "adam"
        and not (isinstance(settings.optimizer, SGD) and settings.optimizer.momentum)
        and not settings.weight_decay
        and embedding.weight.numel() >= 1_000_000
    )


def _pays(part: Any, device: str, bf16: bool) -> bool:
    """Whether kernels are faster than torch's operations, as `refrain bench train` and `bench cells` measure.

    On a GPU they are taken where cuDNN does not do it: for cells that it does not know, and in bf16, where it would
    hold the cells in bf16. That was not measured.
    """
    if device == "cuda":
        return bf16 or isinstance(part, MultiplicativeLSTM)
    if isinstance(part, LSTM):
        # torch's own float32 kernel is as fast as long as the recurrent weight stays in the caches
        return int(part.hidden_size) >= (64 if bf16 else 800)
    if isinstance(part, SparseLSTM):
        return bf16 and int(part.hidden_size) // len(part.blocks) >= 64
    if isinstance(part, GRU | MultiplicativeLSTM):
        return int(part.hidden_size) >= 64
    # of a head: below, its time is nothing beside that of compiling
    return max(int(parameter.numel()) for parameter in part.parameters()) >= 500_000
