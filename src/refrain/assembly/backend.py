"""The choice of a backend and a precision for each part of a model, from the training settings."""

from collections.abc import Callable, Mapping

from torch import nn

from refrain.config import SGD, TaggerTraining, Training
from refrain.errors import MachineError, UserError
from refrain.nn import Embedding, WeightDropout
from refrain.nn.kernels.allocator import keep_freed_memory
from refrain.nn.kernels.backend import Backend, Part, parts_with_backend, use_native_transforms
from refrain.nn.kernels.compile import describe_kernels, is_compiled, lacks_compiler, load
from refrain.nn.kernels.launch import has_triton
from refrain.nn.kernels.levels import requested

from .precision import uses_bf16


def choose_backends(
    settings: Training | TaggerTraining,
    model: nn.Module,
    log: Callable[[str], None] | None = None,
    native: Mapping[str, bool] | None = None,
) -> dict[str, str]:
    """Set the training backend and precision of each part of a model in place, and compile the kernels that it needs.

    Args:
        settings: the settings with the requested backend and precision.
        model: the model on its device.
        log: called with a line of text before kernels are compiled.
        native: for the setting `auto`, whether parts use native kernels, by name; others follow the rule by sizes.

    Returns:
        The name of each part -> its backend and precision in words, as they are recorded in the run.

    Raises:
        UserError: when the device does not support a requested backend or precision, or the processor does not have the
            instructions that the environment variable requests.
    """
    # before anything is trained, whether or not these parts use kernels
    requested()
    setting = settings.backend
    device = next(model.parameters()).device.type
    bf16 = uses_bf16(settings, device)
    if setting == "native":
        _check_native(device)
    parts = dict(parts_with_backend(model))

    def chosen(name: str) -> str:
        if setting != "auto" or native is None or name not in native:
            return setting
        return "native" if native[name] else "torch"

    if setting == "native" and not parts:
        raise UserError(
            f"training.backend: 'native' cannot take effect, as no layer or head of {type(model).__name__} has "
            "kernels; use 'torch' or 'auto'"
        )
    if setting == "native" and log is not None and (others := _without_kernels(model, parts)):
        log(f"training.backend=native: {', '.join(others)} has no kernels, and trains by torch's own operations")
    if device == "cpu" and log is not None:
        files = {part.kernels for name, part in parts.items() if _requests_native(part, chosen(name), device, bf16)}
        if files:
            files |= _other_kernels(model)
        if files and lacks_compiler():
            log("no C++ compiler was found, so torch's own operations are used; install g++ or clang++ for more speed")
        elif missing := sorted(name for name in files if not is_compiled(name)):
            log(f"compiling kernels for this processor, some seconds, once: {', '.join(missing)}")
    for name, part in parts.items():
        part.backend = backend_for(part, chosen(name), device, bf16)
    for _, embedding in model.named_modules():
        if isinstance(embedding, Embedding):
            embedding.sparse_gradient = setting != "torch" and _has_sparse_gradient(settings, model, embedding)
    if device == "cpu" and setting != "torch":
        keep_freed_memory()
    native_training = trains_natively(model)
    use_native_transforms(model, native_training)
    if native_training:
        for file in _other_kernels(model):
            load(file)
    return {name: _description(part, device) for name, part in parts.items()}


def trains_natively(model: nn.Module) -> bool:
    """Whether a part of a model on a CPU trains by native kernels, so that its optimiser may use them as well.

    Args:
        model: the model, after `choose_backends`.
    """
    on_cpu = all(parameter.device.type == "cpu" for parameter in model.parameters())
    return on_cpu and any(part.backend.native for _, part in parts_with_backend(model))


def native_by_rule(settings: Training | TaggerTraining, model: nn.Module) -> dict[str, bool]:
    """Whether the rule by sizes chooses native kernels, for each part of a model.

    Args:
        settings: the settings with the requested precision.
        model: the model on its device.
    """
    device = next(model.parameters()).device.type
    bf16 = uses_bf16(settings, device)
    return {name: _requests_native(part, "auto", device, bf16) for name, part in parts_with_backend(model)}


def native_in(words: Mapping[str, str]) -> dict[str, bool]:
    """Whether parts use native kernels, by what `choose_backends` has returned for them.

    Args:
        words: the name of each part -> its backend and precision in words.
    """
    return {name: text.partition(",")[0] in ("native", "Triton") for name, text in words.items()}


def rounds_in(words: Mapping[str, str]) -> bool:
    """Whether matmul inputs of any part are rounded to bfloat16, by what `choose_backends` has returned.

    Args:
        words: the name of each part -> its backend and precision in words.
    """
    return any(text.endswith(", bf16") for text in words.values())


def backend_for(part: Part, setting: str, device: str, bf16: bool) -> Backend:
    """The backend of a part in training.

    Args:
        part: a layer or a head.
        setting: the requested backend: auto, torch or native.
        device: the type of the device, such as cpu or cuda.
        bf16: whether matmul inputs are rounded to bfloat16.
    """
    return Backend(_requests_native(part, setting, device, bf16) and _has_native(part, device), bf16)


def describe_backends(chosen: dict[str, str]) -> str:
    """Summarise the backends in a line: each with the number of parts that use it, and the kernels.

    Args:
        chosen: the result of `choose_backends`.
    """
    counts = {words: list(chosen.values()).count(words) for words in chosen.values()}
    described = [f"{words} ({count} of {len(chosen)} parts)" for words, count in counts.items()]
    kernels = kernels_used(chosen)
    return "backend " + ("; ".join(described) or "torch") + (f"; kernels {kernels}" if kernels else "")


def kernels_used(chosen: Mapping[str, str]) -> str:
    """The instructions of the C++ kernels that train a model and where they are from; empty if no part uses them.

    Args:
        chosen: the result of `choose_backends`.
    """
    return describe_kernels() if any(words.startswith("native") for words in chosen.values()) else ""


def _check_native(device: str) -> None:
    if device == "cuda" and not has_triton():
        raise MachineError(
            "training.backend: 'native' on a GPU needs Triton; pip install triton, or use 'torch' or 'auto'"
        )
    if device not in ("cpu", "cuda"):
        raise UserError(f"training.backend: 'native' is for CPUs and GPUs, not for {device}; use 'torch' or 'auto'")


def _without_kernels(model: nn.Module, parts: Mapping[str, Part]) -> list[str]:
    """The names of the classes of recurrent layers in a model that have no backend to choose."""
    found = []
    for name, module in model.named_modules():
        recurs = isinstance(module, nn.RNNBase | nn.RNNCellBase) or (
            callable(getattr(module, "step", None)) and callable(getattr(module, "initial_state", None))
        )
        # a stack of layers is like its layers, and a layer is like its blocks
        related = any(part == name or part.startswith(f"{name}.") or name.startswith(f"{part}.") for part in parts)
        if recurs and name and not related:
            found.append(type(module).__name__)
    return list(dict.fromkeys(found))


def _requests_native(part: Part, setting: str, device: str, bf16: bool) -> bool:
    return setting == "native" or (setting == "auto" and part.native_from.includes(part.native_size, device, bf16=bf16))


def _has_native(part: Part, device: str) -> bool:
    if device == "cuda":
        # Triton kernels exist for layers only; heads spend their time in large matmuls
        return "scan" in part.backends and has_triton()
    return device == "cpu" and load(part.kernels) is not None


def _description(part: Part, device: str) -> str:
    """The backend and precision of a part in words."""
    native, bf16 = part.backend
    if device == "cuda" and "scan" in part.backends:
        # torch runs a window in float32 by cuDNN if cuDNN has the cell; `cuda_float32` is None for these cells
        name = "cuDNN" if not bf16 and part.native_from.cuda_float32 is None else "torch"
        return f"{'Triton' if native else name}, {'bf16' if bf16 else 'float32'}"
    # on a CPU, torch's kernels for layers do not round matmul inputs; heads do so with either backend
    rounds = bf16 and (native or "scan" not in part.backends)
    return f"{'native' if native else 'torch'}, {'bf16' if rounds else 'float32'}"


def _has_sparse_gradient(settings: Training | TaggerTraining, model: nn.Module, embedding: Embedding) -> bool:
    """Whether the gradient of an embedding is sparse, and large enough for this to save time.

    With weight decay, or if a head shares the weight, every row has a gradient. Adam and momentum also update rows
    without a gradient.
    """
    shared = sum(weight is embedding.weight for part in model.modules() for weight in part.parameters(recurse=False))
    return (
        shared == 1 and _is_plain_sgd(settings) and not settings.weight_decay and embedding.weight.numel() >= 1_000_000
    )


def _other_kernels(model: nn.Module) -> set[str]:
    """The files of kernels that training uses beside those of its parts; see `trains_natively`."""
    drops = any(isinstance(part, WeightDropout) for _, part in model.named_modules())
    return {"update", "weight_drop"} if drops else {"update"}


def _is_plain_sgd(settings: Training | TaggerTraining) -> bool:
    """Whether the optimiser is gradient descent, with or without averaging, whose update is that of `refrain.optim`."""
    momentum = isinstance(settings.optimizer, SGD) and settings.optimizer.momentum
    return settings.optimizer.kind != "adam" and not momentum
