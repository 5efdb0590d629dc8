"""The sizes of a trained model in words, for a notebook."""

from pathlib import Path

from torch import nn


def sizes_of(model: nn.Module, weights: str, folder: Path) -> list[tuple[str, str]]:
    """Names and values: the number of parameters, the size of their file, what computes, and the largest tensors.

    Args:
        model: the model.
        weights: dtype of the matrices, `float32` or `int8`.
        folder: the checkpoint folder.
    """
    parameters = dict(model.named_parameters())
    count = sum(each.numel() for each in parameters.values())
    files = [file.stat().st_size for file in folder.glob("model*.safetensors")]
    found = [("parameters", f"{count:,}"), ("weights", weights)]
    found += [("size on disk", f"{sum(files) / 1e6:.2f} MB")] if files else []
    largest = sorted(parameters.items(), key=lambda item: -item[1].numel())[:3]
    found += [(name, " × ".join(f"{length:,}" for length in each.shape)) for name, each in largest]
    return [*found, ("checkpoint", str(folder))]
