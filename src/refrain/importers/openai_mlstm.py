"""The byte-level multiplicative LSTM with the sentiment unit (Radford et al., 2017): the arrays 0.npy to 14.npy.

Matrices are stored with inputs as rows, gates in the order input, forget, output, candidate:

0 embedding (256, I); 1 input to gates (I, 4H); 2 to 5 intermediate to gates, in four parts of (H, H) columns each;
6 input to intermediate (I, H); 7 hidden to intermediate (H, H); 8 bias of the gates (4H,); 9 to 12 the gains of weight
norm for 1, for 2 to 5 together, for 6 and for 7; 13 and 14 weight (H, 256) and bias (256,) of the softmax.

Texts are read as the published code does: HTML entities are decoded, newlines become blanks, and a newline and a blank
come before a text and a blank after it.

I width of the embedding, H hidden width.
"""

import re
from pathlib import Path

import torch
from torch import Tensor

from refrain.config import Data, Model, MultiplicativeLSTMCell
from refrain.data.locating import NO_CORPUS
from refrain.data.units.byte.vocabulary import ByteVocabulary
from refrain.errors import CheckpointError, UserError

from .arrays import read_array
from .imported import Imported, Request

COUNT = 15
NAMES = ("weight_ih", "weight_mh", "weight_im", "weight_hm")


def read_openai_mlstm(request: Request) -> Imported:
    """Read a model.

    Args:
        request: the files 0.npy to 14.npy in any order, or their folder.

    Raises:
        CheckpointError: when an array is missing, damaged, or does not fit the others.
        UserError: when there are other files, or a setting cannot take effect.
    """
    if request.lowercase:
        raise UserError("--lowercase cannot take effect with a model of bytes")
    paths = numbered(request.files)
    arrays = [read_array(path) for path in paths]
    weights = _converted(arrays, paths)
    width, hidden = arrays[0].shape[1], arrays[7].shape[0]
    model = Model(cell=MultiplicativeLSTMCell(), embedding_size=width, hidden_sizes=(hidden,), weight_norm=True)
    data = Data(corpus=request.data or NO_CORPUS, unit="byte", cleaning="reviews")
    return Imported(model, weights, ByteVocabulary(), data)


def numbered(files: list[Path]) -> list[Path]:
    """The files 0.npy to 14.npy in the order of their numbers.

    Args:
        files: the files in any order, or their folder.

    Raises:
        UserError: when one is missing or there are others.
    """
    if len(files) == 1 and files[0].is_dir():
        files = [files[0] / f"{number}.npy" for number in range(COUNT)]
        if missing := [path.name for path in files if not path.is_file()]:
            raise UserError(f"{files[0].parent}: has no {', '.join(missing)}; the arrays 0.npy to 14.npy are needed")
    by_number = {int(path.stem): path for path in files if re.fullmatch(r"\d{1,2}\.npy", path.name)}
    if len(files) != COUNT or sorted(by_number) != list(range(COUNT)):
        raise UserError(f"the {COUNT} files 0.npy to 14.npy are needed, or their folder (got {len(files)} files)")
    return [by_number[number] for number in range(COUNT)]


def _converted(arrays: list[Tensor], paths: list[Path]) -> dict[str, Tensor]:
    """The weights by their names in a language model of this library.

    Raises:
        CheckpointError: when the shape of an array does not fit.
    """
    for number in (0, 7):
        if arrays[number].ndim != 2:
            raise CheckpointError(
                f"{paths[number]}: must be a matrix, but has shape {list(arrays[number].shape)}; restore the file"
            )
    width, hidden = arrays[0].shape[1], arrays[7].shape[0]
    square, gates = (hidden, hidden), (4 * hidden,)
    shapes: list[tuple[int, ...]] = [(256, width), (width, 4 * hidden), *[square] * 4, (width, hidden), square]
    shapes += [gates, gates, gates, (hidden,), (hidden,), (hidden, 256), (256,)]
    for number, (array, shape) in enumerate(zip(arrays, shapes, strict=True)):
        if tuple(array.shape) != shape:
            raise CheckpointError(
                f"{paths[number]}: has shape {list(array.shape)}, but {list(shape)} fits the others; restore the file"
            )
    whole = torch.cat(arrays[2:6], dim=1)
    matrices = dict(zip(NAMES, (arrays[1], whole, arrays[6], arrays[7]), strict=True))
    gains = dict(zip(NAMES, arrays[9:13], strict=True))
    layer = {name: matrix.T for name, matrix in matrices.items()} | {"bias": arrays[8]}
    layer |= {f"transforms.{name}.gain": gain for name, gain in gains.items()}
    for name in ("weight_ih", "weight_mh", "bias", "transforms.weight_ih.gain", "transforms.weight_mh.gain"):
        layer[name] = _library_gates(layer[name])
    return {
        "embedding.weight": arrays[0],
        **{f"stack.layers.0.{name}": tensor.contiguous() for name, tensor in layer.items()},
        "head.weight": arrays[13].T.contiguous(),
        "head.bias": arrays[14],
    }


def _library_gates(rows: Tensor) -> Tensor:
    """Rows of input, forget, output and candidate (4H, ...) in the order input, forget, candidate, output."""
    i, f, o, g = rows.chunk(4)
    return torch.cat([i, f, g, o])
