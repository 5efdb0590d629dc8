"""Recurrent layers of PyTorch in the layout of this library, which has one bias per layer.

Gates are packed in the same order: input, forget, candidate, output in an LSTM, and reset, update, candidate in a GRU.
The two biases of an LSTM only act as their sum. In a GRU, the second bias of the candidate is multiplied by the reset
gate; unless it is zero in all layers, it becomes the `bias_hn` of each of them.

I input width, H hidden width, G gates.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from refrain.config.cells import GRUCell, LSTMCell
from refrain.errors import CheckpointError

from .tensors import Tensors, listed

CELLS: dict[int, type[LSTMCell] | type[GRUCell]] = {4: LSTMCell, 3: GRUCell}


class LayerNames(NamedTuple):
    """The names of a layer's tensors.

    Attributes:
        weight_ih: the input weight (G H, I).
        weight_hh: the recurrent weight (G H, H).
        biases: the biases (G H,) that exist.
        second_bias: the one of them that is added to the recurrent projection.
    """

    weight_ih: str
    weight_hh: str
    biases: tuple[str, ...] = ()
    second_bias: str | None = None


class Stack(NamedTuple):
    """The recurrent layers of a model.

    Attributes:
        cell: the settings of the cell.
        sizes: H of each layer.
        weights: by their names in a language model of this library.
    """

    cell: LSTMCell | GRUCell
    sizes: tuple[int, ...]
    weights: dict[str, Tensor]


def names_in(tensors: Tensors, module: str) -> list[LayerNames]:
    """The names of the layers of one `torch.nn.LSTM` or `torch.nn.GRU`.

    Args:
        tensors: the tensors of the model.
        module: the name of the module, without a dot at its end.

    Raises:
        CheckpointError: when there is none, it is bidirectional or has projections, or some of its biases are missing.
    """
    before = f"{module}." if module else ""
    found: list[LayerNames] = []
    while (weight := f"{before}weight_hh_l{len(found)}") in tensors or f"{weight}_raw" in tensors:
        layer = len(found)
        if f"{before}weight_hr_l{layer}" in tensors:
            raise CheckpointError(f"{tensors.path}: {module} has projections (proj_size), which no layer here has")
        if f"{weight}_reverse" in tensors:
            raise CheckpointError(f"{tensors.path}: {module} is bidirectional, which a language model cannot be")
        biases = (f"{before}bias_ih_l{layer}", f"{before}bias_hh_l{layer}")
        found.append(layer_names(tensors, f"{before}weight_ih_l{layer}", weight, biases))
    if not found:
        raise CheckpointError(f"{tensors.path}: has no {before}weight_hh_l0; it has {listed(tensors.shapes)}")
    every = [f"{before}bias_{part}_l{layer}" for layer in range(len(found)) for part in ("ih", "hh")]
    missing = [name for name in every if name not in tensors]
    # torch has all of them, or none with bias=False
    if missing and len(missing) < len(every):
        others = f"other biases of {module}" if module else "other biases"
        raise CheckpointError(f"{tensors.path}: has no {listed(missing)}, but {others}; get the whole file again")
    return found


def layer_names(tensors: Tensors, weight_ih: str, weight_hh: str, biases: tuple[str, str]) -> LayerNames:
    """The names of one layer with those of its biases that exist, and with the raw weights where a weight is dropped.

    Args:
        tensors: the tensors of the model.
        weight_ih: the name of the input weight.
        weight_hh: the name of the recurrent weight.
        biases: the names of the biases beside them.
    """
    raw = {}
    for name in (weight_ih, weight_hh):
        raw[name] = f"{name}_raw" if f"{name}_raw" in tensors else name
        if raw[name] != name and name in tensors:
            # a weight after weight drop, which is made from the raw one
            tensors.ignore(name)
    present = tuple(name for name in biases if name in tensors)
    second = biases[1] if biases[1] in tensors else None
    return LayerNames(raw[weight_ih], raw[weight_hh], present, second)


def read_stack(tensors: Tensors, layers: Sequence[LayerNames], below: int) -> Stack:
    """Read recurrent layers.

    Args:
        tensors: the tensors of the model.
        layers: the names of each layer, from the bottom up.
        below: I of the first layer.

    Raises:
        CheckpointError: when a tensor is missing or does not fit, or the layers cannot be expressed.
    """
    weights: dict[str, Tensor] = {}
    sizes: list[int] = []
    kinds = []
    seconds: dict[str, Tensor] = {}
    for index, names in enumerate(layers):
        rows, width = tensors.shape(names.weight_hh, 2)
        gates, rest = divmod(rows, width)
        if rest or gates not in CELLS:
            what = "an Elman network (nn.RNN)" if rows == width else f"a cell with weights of shape {[rows, width]}"
            raise CheckpointError(
                f"{tensors.path}: {names.weight_hh} is that of {what}; only LSTM and GRU layers are imported"
            )
        kinds.append(CELLS[gates])
        if kinds[-1] is not kinds[0]:
            raise CheckpointError(f"{tensors.path}: {names.weight_hh} is of another cell than the layers below it")
        prefix = f"stack.layers.{index}"
        weights[f"{prefix}.weight_ih"] = tensors.read(names.weight_ih, rows, sizes[-1] if sizes else below)
        weights[f"{prefix}.weight_hh"] = tensors.read(names.weight_hh, rows, width)
        weights[f"{prefix}.bias"], seconds[f"{prefix}.bias_hn"] = _biases(tensors, names, rows, width)
        sizes.append(width)
    if kinds[0] is LSTMCell or not any(bool(bias.any()) for bias in seconds.values()):
        return Stack(kinds[0](), tuple(sizes), weights)
    return Stack(GRUCell(recurrent_bias=True), tuple(sizes), weights | seconds)


def _biases(tensors: Tensors, names: LayerNames, rows: int, width: int) -> tuple[Tensor, Tensor]:
    """The sum of a layer's biases, and for a GRU the second bias of the candidate, which is no part of the sum."""
    read = {name: tensors.read(name, rows) for name in names.biases}
    second = torch.zeros(width)
    if rows == 3 * width and names.second_bias in read:
        both = read[names.second_bias].clone()
        second = both[2 * width :].clone()
        both[2 * width :] = 0
        read[names.second_bias] = both
    # in float64, so that the sum is rounded once
    total = sum((bias.double() for bias in read.values()), torch.zeros(rows, dtype=torch.float64))
    return total.float(), second
