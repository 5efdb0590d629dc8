"""Where and with what a run computes, the same for every kind of run."""

from typing import Literal

from pydantic import Field

from .values import Settings


class Computation(Settings):
    """Device, engine and precision."""

    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="where to compute")
    engine: Literal["auto", "plain", "scan"] = Field(
        "auto",
        description="plain: torch's operations; scan: the library's kernels for processors, compiled on this machine; "
        "auto: kernels for those parts of a model where they are faster",
    )
    precision: Literal["auto", "float32", "bf16"] = Field(
        "float32",
        description="of the operands of matrix products; weights, state and sums are float32, evaluation altogether. "
        "auto: bf16 where the processor has instructions for it",
    )
