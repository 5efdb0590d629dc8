"""Where and with what a run computes, the same for every kind of run."""

from typing import Literal

from pydantic import Field

from .values import Settings


class Computation(Settings):
    """Device, engine and precision."""

    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="where to compute")
    engine: Literal["auto", "plain", "scan"] = Field(
        "auto",
        description="plain: torch's operations and library kernels; scan: the library's own kernels, compiled on this "
        "machine, for processors in C++, for GPUs in Triton; auto: own kernels for those parts of a model where they "
        "are faster, on a GPU for what cuDNN does not do",
    )
    precision: Literal["auto", "float32", "bf16"] = Field(
        "float32",
        description="of the operands of matrix products; weights, state and sums are float32, evaluation altogether. "
        "auto: bf16 where the device has instructions for it",
    )
