"""The same laws on a CUDA device; skipped where there is none."""

import pytest
import torch

from refrain import runs
from refrain.nn import GRU, LSTM, scan
from refrain.training import PlainProgress

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")]


@pytest.mark.parametrize("kind", [LSTM, GRU])
def test_a_layer_equals_its_step(kind):
    torch.manual_seed(1)
    layer = kind(5, 4).cuda().double()
    inputs, state = torch.randn(7, 3, 5, dtype=torch.float64, device="cuda"), layer.initial_state(3)
    torch.testing.assert_close(layer(inputs, state)[0], scan(layer.step, inputs, state)[0])


@pytest.mark.parametrize(
    ("backend", "precision"), [("auto", "float32"), ("native", "float32"), ("auto", "auto"), ("torch", "auto")]
)
def test_a_run_trains_and_resumes(backend, precision, experiment, tmp_path):
    from short_runs import Stopping

    from refrain.training import Interrupted

    changed = {"device": "cuda", "backend": backend, "precision": precision}
    on_gpu = experiment.model_copy(update={"training": experiment.training.model_copy(update=changed)})
    with pytest.raises(Interrupted):
        runs.train(on_gpu, tmp_path / "run", progress=Stopping(5))
    assert runs.resume(tmp_path / "run", progress=PlainProgress(quiet=True))["epochs"] == on_gpu.training.epochs


def test_a_bench_names_the_device_and_measures_there(capsys):
    from refrain.cli.app import main

    assert main(["bench", "cells", "--device", "cuda", "--widths", "64", "--repeats", "1"]) == 0
    assert torch.cuda.get_device_name() in capsys.readouterr().err
