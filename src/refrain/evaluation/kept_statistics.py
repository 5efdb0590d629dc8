"""Gradient statistics of a training text, kept in the cache: they are gathered once for a model and a text.

The key is made of the weights, the text and the number of steps, so that statistics of other weights are never found.
"""

import contextlib
import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from refrain.data import TokenSource
from refrain.errors import DataError
from refrain.models import Network
from refrain.progress import Track, untracked
from refrain.storage.folders import CacheError, cache_folder, cached_folder, check_owner
from refrain.storage.regular_files import is_damage, read_regular

from .dynamic import GradientStatistics, trained_parameters
from .measure import statistics_of

FORMAT = 1
FILE, WINDOWS = "statistics.safetensors", "windows"
READ_IDS = 1 << 20
# beside the tensors of a file
HEADER_BYTES = 1 << 24


def kept_statistics(model: Network, train: TokenSource, steps: int, *, track: Track = untracked) -> GradientStatistics:
    """The gradient statistics for dynamic evaluation: those in the cache, or else those of `statistics_of`.

    Args:
        model: the trained model.
        train: the training text.
        steps: the steps of a window.
        track: reports the loop over the windows.

    Raises:
        DataError: when the text is too short, or the file in the cache is damaged.
    """
    parameters = trained_parameters(model)
    folder = cache_folder() / "statistics" / _key(model, parameters, train, steps)
    if folder.is_dir():
        return _read(folder, parameters)
    statistics = statistics_of(model, train, steps, track=track)
    # a cache that is full or cannot be written costs the time to gather them again
    with contextlib.suppress(CacheError), cached_folder(folder) as fresh:
        _write(fresh / FILE, statistics)
    return statistics


def _key(model: Network, parameters: Sequence[Tensor], train: TokenSource, steps: int) -> str:
    key = hashlib.sha256(f"{FORMAT} {steps} {parameters[0].device.type} {len(train)}\n{model!r}\n".encode())
    for parameter in parameters:
        key.update(f"{parameter.dtype} {tuple(parameter.shape)}\n".encode())
        key.update(parameter.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().data)
    for start in range(0, len(train), READ_IDS):
        key.update(np.asarray(train.read(start, min(start + READ_IDS, len(train))), np.int64).tobytes())
    train.release()
    return key.hexdigest()[:32]


def _write(path: Path, statistics: GradientStatistics) -> None:
    from safetensors.torch import save

    tensors = {str(index): part.cpu().contiguous() for index, part in enumerate(statistics.root_mean_squares)}
    path.write_bytes(save({**tensors, WINDOWS: torch.tensor(statistics.windows)}))


def _read(folder: Path, parameters: Sequence[Tensor]) -> GradientStatistics:
    from safetensors import SafetensorError
    from safetensors.torch import load

    check_owner(folder)
    size = sum(parameter.numel() * parameter.element_size() for parameter in parameters)
    try:
        tensors = load(read_regular(folder / FILE, limit=size + HEADER_BYTES))
        windows = int(tensors.pop(WINDOWS))
        found = [tensors[str(index)].to(parameter.device) for index, parameter in enumerate(parameters)]
        if [part.shape for part in found] != [parameter.shape for parameter in parameters]:
            raise ValueError("they are of other weights")
    except (OSError, ValueError, KeyError, SafetensorError) as error:
        if isinstance(error, OSError) and not is_damage(error):
            raise
        raise DataError(
            f"{folder}: the gradient statistics are damaged ({error}); delete this folder and try again"
        ) from None
    return GradientStatistics(found, windows)
