"""Where and with what a run computes, the same for every kind of run."""

from typing import Literal

from pydantic import Field

from .values import Count, Settings


class Computation(Settings):
    """Device, backend and precision."""

    device: Literal["auto", "cpu", "cuda"] = Field(
        "auto", description="Where to compute; auto: on a CUDA GPU if there is one, else on the CPU."
    )
    backend: Literal["auto", "torch", "native"] = Field(
        "auto",
        description="What trains the layers and the head: PyTorch's operations (torch), or this library's own kernels "
        "(native), in C++ for CPUs and in Triton for GPUs. auto: native kernels for the parts of a model where they "
        "are faster, as measured at the start of a run on a CPU.",
    )
    threads: Count | None = Field(
        None,
        description="Threads that compute on a CPU; none: OMP_NUM_THREADS if it is set, else as many as cores are idle "
        "when the run starts, within the quota of the control group.",
    )
    deterministic: bool = Field(
        False,
        description="Where a setting is auto, choose the backends by the sizes of the parts and the precision by the "
        "instructions of the device alone, and threads without regard to other programs, so that the choices are "
        "the same in every run of these settings.",
    )
    precision: Literal["auto", "float32", "bf16"] = Field(
        "float32",
        description="Precision of matrix-multiply inputs during training. Weights, states and accumulators stay "
        "float32; evaluation always runs in float32. auto: bf16 where the device has instructions for it and, on a "
        "CPU, is at least a tenth faster by them, as measured at the start of a run.",
    )
