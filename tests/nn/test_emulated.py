"""Kernels of aarch64 under an emulator: two of them here, all by `make emulated`."""

import pytest
import torch
from emulation import PROCESSORS, emulated, tools

from refrain.nn.heads.softmax_gradient import softmax_gradient_, softmax_gradient_reference_
from refrain.nn.kernels import compile as native
from refrain.nn.kernels.levels import LEVELS
from refrain.nn.kernels.prebuilt import source_files

LEVEL = next(level for level in LEVELS if level.name == "neon_bf16")
pytestmark = pytest.mark.skipif(tools(LEVEL) is None, reason="no compiler for aarch64, or no emulator")


def sources():
    """The smallest kernels."""
    files = source_files()
    return {name: files[name] for name in files if name in ("probe.cpp", "softmax.cpp") or name.endswith(".h")}


def results(function, dtype, **options):
    """The nats, the gradient and its sums of the same logits."""
    generator = torch.Generator().manual_seed(1)
    logits, bias = (torch.randn(*shape, generator=generator) * 3 for shape in ((5, 33), (33,)))
    logits, totals = logits.to(dtype), torch.zeros(33)
    nats = function(logits, bias, torch.arange(5), totals, **options)
    return nats, logits, totals


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_the_head_on_arm(dtype, tmp_path):
    with emulated(LEVEL.name, tmp_path, sources()) as library:
        assert native.load("softmax") is library
        found = results(softmax_gradient_, dtype, native=True)
        assert library.calls == 1
    for one, other in zip(found, results(softmax_gradient_reference_, dtype), strict=True):
        torch.testing.assert_close(one, other)


def test_a_mistake_on_arm_is_seen(tmp_path):
    # in the line that only this processor compiles
    files = sources()
    line = b"return (Halves)vreinterpret_u16_bf16(vcvt_bf16_f32((float32x4_t)values));"
    assert line in files["vectors.h"]
    files["vectors.h"] = files["vectors.h"].replace(line, line.replace(b"values", b"(values * 1.1f)"))
    with emulated(LEVEL.name, tmp_path, files):
        _, logits, _ = results(softmax_gradient_, torch.bfloat16, native=True)
    _, expected, _ = results(softmax_gradient_reference_, torch.bfloat16)
    with pytest.raises(AssertionError):
        torch.testing.assert_close(logits, expected)


def test_every_level_of_arm_has_an_emulator():
    assert set(PROCESSORS) == {level.name for level in LEVELS if level.machine == "aarch64"}
