"""What int8 weights are computed with: the kernels for them, or float32 where there are none."""

from typing import Any

from refrain.models import Stepper
from refrain.nn.kernels.packed_linear import has_stepper

from .language_model import TrainedLanguageModel
from .tagger import TrainedTagger


def int8_note(trained: TrainedLanguageModel | TrainedTagger) -> str | None:
    """What of a model with int8 weights is computed in float32, and why; None where kernels compute it all.

    The results are those of the rounded weights in any case. What is computed in float32 needs the memory of float32.

    Args:
        trained: the model.
    """
    weight = next(trained.model.parameters())
    if weight.device.type != "cpu":
        return f"all is computed in float32, because there are int8 kernels for CPUs only, not for {weight.device.type}"
    if not has_stepper(weight):
        return "all is computed in float32, because int8 kernels need a C++ compiler; install g++ or clang++"
    names = list(dict.fromkeys(_without_kernels(trained)))
    return f"{', '.join(names)} computes in float32, because there are no int8 kernels for it" if names else None


def _without_kernels(trained: TrainedLanguageModel | TrainedTagger) -> list[str]:
    """The names of the classes whose own code computes, in float32."""
    if isinstance(trained, TrainedTagger):
        layers: list[Any] = list(trained.packed.layers)
        return [name for layer in layers for name in layer.unpacked]
    stepper = trained.stepper
    return stepper.unpacked if isinstance(stepper, Stepper) else [type(trained.model).__name__]
