"""Training settings -> what each part of a model computes with."""

from collections.abc import Callable

from torch import nn

from refrain.config import SGD, TaggerTraining, Training
from refrain.errors import UserError
from refrain.nn import Embedding
from refrain.nn.kernels.allocator import keep_freed_memory
from refrain.nn.kernels.backend import Backend, Part, has_fast_bf16, parts_with_backend
from refrain.nn.kernels.compile import is_compiled, lacks_compiler, load
from refrain.nn.kernels.launch import has_triton


def build_engine(
    settings: Training | TaggerTraining, model: nn.Module, log: Callable[[str], None] | None = None
) -> dict[str, str]:
    """Let each part of a model train with the backend and the precision of the settings; compiles kernels for it.

    Args:
        settings: their backend and precision.
        model: on its device; its parts are changed in place.
        log: called with a line before anything is compiled.

    Returns:
        Name of a part -> what it trains with, for the run's record.

    Raises:
        UserError: when the device cannot do what was asked for.
    """
    setting = settings.backend
    device = next(model.parameters()).device.type
    bf16 = _uses_bf16(settings.precision, device)
    if setting == "native":
        _check_native(device)
    parts = dict(parts_with_backend(model))
    if device == "cpu" and log is not None:
        files = {part.kernels for part in parts.values() if _wants_native(part, setting, device, bf16)}
        if files and lacks_compiler():
            log("no C++ compiler was found, so torch's own operations are used; install g++ or clang++ for more speed")
        elif missing := sorted(name for name in files if not is_compiled(name)):
            log(f"compiling kernels for this processor, some seconds, once: {', '.join(missing)}")
    for part in parts.values():
        part.backend = backend_for(part, setting, device, bf16)
    for _, embedding in model.named_modules():
        if isinstance(embedding, Embedding):
            embedding.sparse_gradient = setting != "torch" and _takes_sparse(settings, model, embedding)
    if device == "cpu" and setting != "torch":
        keep_freed_memory()
    return {name: _description(part, device) for name, part in parts.items()}


def backend_for(part: Part, setting: str, device: str, bf16: bool) -> Backend:
    """What a part trains with.

    Args:
        part: a layer or a head.
        setting: auto, torch or native.
        device: such as cpu or cuda.
        bf16: whether matmul inputs are to be rounded.
    """
    return Backend(_wants_native(part, setting, device, bf16) and _has_native(part, device), bf16)


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


def _wants_native(part: Part, setting: str, device: str, bf16: bool) -> bool:
    return setting == "native" or (setting == "auto" and part.native_from.includes(part.native_size, device, bf16=bf16))


def _has_native(part: Part, device: str) -> bool:
    if device == "cuda":
        # Triton kernels exist for layers only; heads spend their time in large matmuls
        return "scan" in part.backends and has_triton()
    return device == "cpu" and load(part.kernels) is not None


def _description(part: Part, device: str) -> str:
    """By what a part trains, for the record."""
    native, bf16 = part.backend
    if device == "cuda" and "scan" in part.backends:
        # cuDNN runs a window in float32, if it has the cell; `auto` replaces it where it has not
        by_torch = "cuDNN" if not bf16 and part.native_from.cuda_float32 is None else "torch"
        return f"{'Triton' if native else by_torch}, {'bf16' if bf16 else 'float32'}"
    # on a CPU, torch's kernels for layers do not round matmul inputs; heads do so with either backend
    rounds = bf16 and (native or "scan" not in part.backends)
    return f"{'kernels' if native else 'plain'}, {'bf16' if rounds else 'float32'}"


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
