"""What every recurrent layer provides, the choice of a backend for a window, and the reference scan along time.

T steps in the window, B batch, I input width, H hidden width.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Protocol, TypeVar, runtime_checkable

import torch
from torch import Tensor

from refrain.axes import AxisTable
from refrain.nn.kernels.backend import Backend, NativeFrom, outside_compiler
from refrain.nn.kernels.compile import load
from refrain.nn.kernels.packed_linear import WeightType
from refrain.nn.kernels.workspace import BufferPool
from refrain.nn.segments import Block

State = TypeVar("State")

SCAN_DEVICES = ("cuda",)
"""Types of devices on which a layer runs its scan if its backend asks for native kernels or bf16."""


class RecurrentLayer(Protocol[State]):
    """A layer that maps a window and the state before it to outputs and the state after it; also an `nn.Module`.

    The state is a NamedTuple of tensors (B, ...), of which `hidden` and, where there is one, `cell` can be read as
    features of a text; a single tensor counts as `hidden`. A layer from outside the library may leave out `axes` and
    `inner_widths`: it is trained and read as any other, and what needs axes refuses it. `refrain.testing` has
    the tests that every layer must pass.

    Attributes:
        input_size: I.
        hidden_size: H.
        inner_widths: widths beside these two, each of which `axes` takes a name for, as a keyword.
    """

    input_size: int
    hidden_size: int
    inner_widths: tuple[str, ...]

    def forward(self, inputs: Tensor, state: State) -> tuple[Tensor, State]:
        """inputs (T, B, I) -> outputs (T, B, H) and the state after the last step."""
        ...

    def step(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        """One time step: x (B, I) -> output (B, H) and the next state."""
        ...

    def initial_state(self, batch_size: int) -> State:
        """The state before the first token."""
        ...

    def axes(self, input_width: str, hidden_width: str) -> AxisTable:
        """The axes of each parameter, under the width names that the model chose."""
        ...


class PackedLayer(Protocol):
    """A layer for inference, from a copy of another's weights; states are those of the original layer."""

    def step(self, x: Tensor, state: Any) -> tuple[Tensor, Any]:
        """One time step: x (B, I) -> output (B, H) and the next state."""
        ...

    def window(self, inputs: Tensor, state: Any) -> tuple[Tensor, Any]:
        """inputs (T, B, I) -> outputs (T, B, H) and the state after the last step."""
        ...


class Context(NamedTuple):
    """What a backend needs to know besides the tensors of a window."""

    pool: BufferPool
    """The layer's buffers."""
    backend: Backend
    """What the layer trains with."""
    training: bool = True
    blocks: Sequence[Block] = ()
    """The inputs and units of each block of a `SparseLSTM`; empty for other layers."""


class Window(Protocol):
    """One backend of a layer: a function that computes a window. All backends of a layer compute the same."""

    def __call__(
        self, context: Context, inputs: Tensor, state: Sequence[Tensor], weights: Sequence[Tensor]
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Compute a window.

        Args:
            context: the settings and the buffers of the layer.
            inputs: (T, B, I).
            state: the tensors of the state before the first step.
            weights: the weights of this window, in the order that the layer defines.

        Returns:
            Outputs (T, B, H) and the tensors of the state after the last step.
        """
        ...


@runtime_checkable
class Packable(Protocol):
    """A layer with a packed form for inference."""

    def packed(self, weights: WeightType) -> PackedLayer:
        """A layer for inference from a copy of the weights, which are float32 on the CPU and have no transform."""
        ...


class NativeLayer(Packable, Protocol):
    """What a `RecurrentLayer` also has if it can be computed by several backends."""

    backend: Backend
    """What the layer trains with."""
    backends: Mapping[str, Window]
    """torch: torch's operations, on every device and in every dtype. native: C++ kernels, float32 on a CPU. scan: a
    loop over the steps with a hand-derived backward pass, for a GPU."""
    kernels: str
    """Stem of the C++ file of the kernels."""
    native_from: NativeFrom
    """Sizes from which the setting `auto` uses native kernels."""

    @property
    def native_size(self) -> int:
        """The size that `native_from` refers to."""
        ...

    @property
    def transforms(self) -> Mapping[str, torch.nn.Module]:
        """Weight name -> the transform of that weight."""
        ...


def choose_window(layer: Any, *tensors: Tensor) -> Window:
    """The backend that computes a window of a layer.

    Evaluation runs by torch's operations, and so does every layer whose backend asks for no more. The rest depends on
    the device: the C++ kernels take float32 on a CPU, the scan float32 on a GPU. The scan is also used for bf16 alone,
    since cuDNN would hold the cells in bf16, too.

    Args:
        layer: a `NativeLayer`.
        tensors: inputs, state and weights of the window.
    """
    name = "torch"
    backend = layer.backend
    if torch.compiler.is_exporting():
        exported: Window = layer.backends[name]
        return exported
    if layer.training and torch.is_grad_enabled() and all(tensor.dtype == torch.float32 for tensor in tensors):
        devices = {tensor.device.type for tensor in tensors}
        if backend.native and devices == {"cpu"} and outside_compiler(_is_compiled)(layer.kernels):
            name = "native"
        elif (backend.native or backend.bf16) and devices <= set(SCAN_DEVICES):
            name = "scan"
    window: Window = outside_compiler(layer.backends[name])
    return window


def _is_compiled(file: str) -> bool:
    """Whether a file's kernels can be loaded. If `torch.compile` traced it, it would bypass the cache."""
    return load(file) is not None


def scan(step: Callable[[Tensor, State], tuple[Tensor, State]], inputs: Tensor, state: State) -> tuple[Tensor, State]:
    """Apply `step` along time: the slow reference that every backend is tested against.

    Args:
        step: maps x (B, I) and a state to an output (B, H) and the next state.
        inputs: (T, B, I).
        state: the state before the first step.

    Returns:
        Outputs (T, B, H) and the state after the last step.
    """
    outputs = []
    for x in inputs:
        y, state = step(x, state)
        outputs.append(y)
    return torch.stack(outputs), state


def check_window(layer_input_size: int, hidden_size: int, inputs: Tensor, state: Sequence[Tensor]) -> None:
    """Raise if a window does not fit a layer: kernels would read and write past the end of such tensors.

    Args:
        layer_input_size: I.
        hidden_size: H.
        inputs: (T, B, I), or (B, I) for a step.
        state: tensors (B, H).

    Raises:
        ValueError: when a width or the batch differs, or, without autocast, the dtype.
    """
    if inputs.ndim > 2 and not len(inputs):
        raise ValueError("inputs have no step")
    if inputs.shape[-1] != layer_input_size:
        raise ValueError(f"inputs have width {inputs.shape[-1]}, the layer expects {layer_input_size}")
    expected = (inputs.shape[-2], hidden_size)
    for part in state:
        if tuple(part.shape) != expected:
            raise ValueError(f"the state has shape {tuple(part.shape)}, the inputs need {expected}")
        if part.dtype != inputs.dtype and not torch.is_autocast_enabled(inputs.device.type):
            raise ValueError(
                f"inputs have dtype {inputs.dtype}, state or weights {part.dtype}; convert one, or use torch.autocast"
            )


def detached(state: Any) -> Any:
    """The same state without its history, whatever the nesting of tuples."""
    if isinstance(state, Tensor):
        return state.detach()
    parts = [detached(part) for part in state]
    return tuple(parts) if type(state) is tuple else type(state)(*parts)


def state_tensors(state: Any) -> list[Tensor]:
    """The tensors of a state, in order."""
    if isinstance(state, Tensor):
        return [state]
    return [tensor for part in state for tensor in state_tensors(part)]


def state_like(template: Any, tensors: Sequence[Tensor]) -> Any:
    """A state of the nesting of `template` that holds `tensors`: the inverse of `state_tensors`.

    Raises:
        ValueError: when the number of tensors or a shape differs from the template's.
    """
    expected = [tuple(tensor.shape) for tensor in state_tensors(template)]
    found = [tuple(tensor.shape) for tensor in tensors]
    if expected != found:
        raise ValueError(f"state: expected shapes {expected}, got {found}")
    return nested_like(template, tensors)


def nested_like(template: Any, tensors: Sequence[Tensor]) -> Any:
    """`tensors`, of any shapes, in the nesting of the state `template`; see `state_like`."""
    return _built(template, iter(tensors))


# not a function within the other, which would be a cycle of references that keeps the tensors until it is collected
def _built(part: Any, remaining: Iterator[Tensor]) -> Any:
    if isinstance(part, Tensor):
        return next(remaining)
    parts = [_built(inner, remaining) for inner in part]
    return tuple(parts) if type(part) is tuple else type(part)(*parts)
