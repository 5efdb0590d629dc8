"""A run folder explains itself, its figures are those of its model, and it can be loaded from anywhere."""

import contextlib
import json
import math
import shutil
import warnings
from itertools import pairwise

import pytest
import torch
from short_runs import quiet, write_cat_and_dog

from refrain import assembly, runs
from refrain.config import Data, Experiment, Model, Training
from refrain.errors import CheckpointError, DataError, UserError
from refrain.evaluation import evaluate, protocol_windows
from refrain.runs.manifest import changes
from refrain.storage.run_folder import RunFolder


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    return write_cat_and_dog(tmp_path_factory.mktemp("text"))


def small(text, **training):
    return Experiment(
        name="small",
        data=Data(corpus=str(text)),
        model=Model(embedding_size=6, hidden_sizes=(8, 5)),
        training=Training(
            **{"epochs": 3, "batch_size": 4, "window_steps": 6, "optimizer": "adam", "learning_rate": 0.03, **training}
        ),
    )


@pytest.fixture(scope="module")
def run(text, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "small"
    return out, runs.train(
        small(text), out, recipe_text='extends = "quickstart"\n', command="refrain train x", progress=quiet()
    )


def test_the_folder_explains_itself(run, text):
    out, summary = run
    assert {path.name for path in out.iterdir()} == {
        ".lock", "README.md", "best", "checkpoints", "config.json", "manifest.json", "metrics.jsonl", "recipe.toml",
        "report.html", "samples", "summary.json",
    }  # fmt: skip
    assert json.loads((out / "summary.json").read_text()) == summary
    manifest = json.loads((out / "manifest.json").read_text())
    assert manifest["command"] == "refrain train x"
    assert manifest["data"]["splits"]["train"]["tokens"] == 60 * 9
    assert {"refrain", "python", "torch", "threads", "cpu_capability", "seed"} <= manifest.keys()
    card = (out / "README.md").read_text()
    assert f"{summary['test']['perplexity']:.2f}" in card and f"{summary['parameters']:,} parameters" in card
    assert len(list((out / "samples").iterdir())) == 3


def test_metrics_are_a_line_a_measurement(run):
    out, summary = run
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    valid = [line for line in lines if line["event"] == "valid"]
    assert [line["epoch"] for line in valid] == [1, 2, 3]
    assert min(line["nats_per_token"] for line in valid) == pytest.approx(summary["valid"]["nats_per_token"], rel=1e-6)
    for line in lines:
        assert line["perplexity"] == pytest.approx(math.exp(line["nats_per_token"]))


def test_the_summary_is_what_evaluation_says(run, text):
    out, summary = run
    lm = runs.load(out)
    corpus = assembly.build_corpus(small(text).data)
    figure = evaluate(lm.model, protocol_windows(corpus.splits["test"].tokens, "exact", split="test", window_steps=6))
    assert figure.tokens == summary["test"]["tokens"] == 20 * 9 - 1
    assert figure.nats_per_token == pytest.approx(summary["test"]["nats_per_token"], rel=1e-6)
    # the text is 'the', then one of two animals, the rest is certain: an LSTM this size must get below the 9 tokens'
    # entropy under independence, which is over 2 nats
    assert figure.nats_per_token < 1.0


def test_best_is_a_model_of_its_own(run, tmp_path):
    out, _ = run
    shutil.copytree(out / "best", tmp_path / "copy")
    one, other = runs.load(out), runs.load(tmp_path / "copy")
    assert one.score("the cat sat").nats == other.score("the cat sat").nats
    assert one.vocabulary.words == other.vocabulary.words


def test_a_damaged_best_is_passed_over_with_a_warning(run, tmp_path):
    out = tmp_path / "run"
    shutil.copytree(run[0], out, symlinks=True)
    victim = out / "best" / "model.safetensors"
    victim.write_bytes(victim.read_bytes()[:-1] + b"?")
    newest = sorted((out / "checkpoints").iterdir())[-1]
    if (out / "best").resolve() == newest:
        with pytest.warns(UserWarning, match=r"model\.safetensors: damaged.*using"):
            runs.load(out)
    else:
        with pytest.warns(UserWarning, match=r"model\.safetensors: damaged.*using .*" + newest.name):
            runs.load(out)


def test_pickled_content_is_never_run(run, tmp_path):
    import pickle

    out, canary = tmp_path / "run", tmp_path / "canary"
    shutil.copytree(run[0], out, symlinks=True)

    class Hostile:
        def __reduce__(self):
            return (canary.write_text, ("ran",))

    payload = pickle.dumps(Hostile())
    for name in ("model.pt", "model.pkl", "pytorch_model.bin", "optimizer.pt", "config.json"):
        (out / name).write_bytes(payload)
        (out / "best" / name).write_bytes(payload)
    with pytest.raises(CheckpointError, match=r"config\.json"):
        runs.resume(out, progress=quiet())
    for place in (out, out / "best"):
        with warnings.catch_warnings(action="ignore"), contextlib.suppress(CheckpointError):
            runs.load(place)
    assert not canary.exists()


def test_loading_what_is_not_a_run(tmp_path):
    with pytest.raises(CheckpointError, match="no such run folder"):
        runs.load(tmp_path / "nowhere")
    with pytest.raises(CheckpointError, match="not a run folder"):
        runs.load(tmp_path)


def test_loading_with_unknown_words(run):
    with pytest.raises(UserError, match=r"weights: must be one of float32, int8 \(got 'int4'\)"):
        runs.load(run[0], weights="int4")
    with pytest.raises(UserError, match=r"device: 'gpu' is unknown; use 'cpu', 'cuda' or 'auto'"):
        runs.load(run[0], device="gpu")


def test_settings_of_another_version_are_refused(run, tmp_path):
    from refrain.runs.config_document import experiment_from

    document = json.loads((run[0] / "config.json").read_text())
    with pytest.raises(CheckpointError, match=r"another version \(model.cell"):
        experiment_from({**document, "experiment": {"model": {"cell": "transformer"}}}, tmp_path)
    with pytest.raises(CheckpointError, match="format 9"):
        experiment_from({**document, "format": 9}, tmp_path)


def test_text_too_short_for_the_windows_is_said_before_anything_is_written(text, tmp_path):
    with pytest.raises(DataError, match=r"'train': has 540 tokens, too few for batch_size=100 and window_steps=6.*700"):
        runs.train(small(text, batch_size=100), tmp_path / "run", progress=quiet())
    assert not (tmp_path / "run").exists()


def test_a_loss_that_is_no_number_names_place_rate_and_the_last_good_checkpoint(text, tmp_path):
    with pytest.raises(
        UserError, match=r"epoch 1 after window \d+, learning rate 1e\+30: .*last good checkpoint is .*step-0"
    ):
        runs.train(small(text, optimizer="sgd", learning_rate=1e30, max_norm=None), tmp_path / "run", progress=quiet())
    assert runs.load(tmp_path / "run/checkpoints/step-000000000").score("the cat").tokens == 3


def test_cuda_that_is_not_there_is_said(text, tmp_path):
    if torch.cuda.is_available():
        pytest.skip("there is a CUDA device")
    with pytest.raises(UserError, match="no CUDA device"):
        runs.train(small(text, device="cuda"), tmp_path / "run", progress=quiet())


def test_bytes_train_too(text, tmp_path):
    experiment = small(text).model_copy(update={"data": Data(corpus=str(text / "train.txt"), unit="byte")})
    summary = runs.train(experiment, tmp_path / "run", progress=quiet())
    assert summary["test"]["bits_per_byte"] == pytest.approx(summary["test"]["nats_per_token"] / math.log(2))
    lm = runs.load(tmp_path / "run")
    assert len(lm.vocabulary) == 256
    assert lm.generate("the ", tokens=5, seed=1)[0].startswith("the ")


def test_tensorboard_events_are_written_where_asked(text, tmp_path):
    pytest.importorskip("tensorboard")
    runs.train(small(text, epochs=1, tensorboard=True), tmp_path / "run", progress=quiet())
    assert any((tmp_path / "run" / "tensorboard").iterdir())


def test_a_trained_model_scores_steps_and_writes(run):
    lm = runs.load(run[0])
    score = lm.score("the cat sat\nthe zebra sat\n")
    assert (score.tokens, score.unknown) == (8, 1)
    assert score.nats == pytest.approx(lm.score("the cat sat").nats + lm.score("the zebra sat").nats, rel=1e-5)
    # the same by hand: a line end, then each word and the next line end
    ids = [lm.vocabulary.line_end, *lm.vocabulary.encode("the cat sat\n")]
    state, nats = lm.initial_state(), 0.0
    for before, after in pairwise(ids):
        log_probabilities, state = lm.step(torch.tensor([before]), state)
        nats -= float(log_probabilities[0, after])
    assert nats == pytest.approx(lm.score("the cat sat").nats, rel=1e-5)
    assert lm.generate("the", tokens=6, samples=2, seed=4) == lm.generate("the", tokens=6, samples=2, seed=4)
    assert "<unk>" not in " ".join(lm.generate(tokens=30, samples=5, temperature=3.0, seed=1, allow_unknown=False))


def test_the_backends_of_an_old_manifest_are_compared_by_their_new_words():
    old = {"threads": 2, "engine": {"head": "kernels, bf16", "stack.layers.0": "plain, float32"}}
    new = {"threads": 2, "backend": {"head": "native, bf16", "stack.layers.0": "torch, float32"}}
    assert changes(old, new) == []
    (difference,) = changes(old, new | {"backend": new["backend"] | {"head": "torch, bf16"}})
    assert difference.startswith("backend was {'head': 'native, bf16'") and "is {'head': 'torch, bf16'" in difference


def test_a_resumed_run_reports_other_instructions_but_not_that_there_are_kernels():
    old = {"kernels": "avx512_bf16, from the wheel"}
    assert changes(old, {"kernels": "avx2, from the wheel"}) == [
        "kernels was 'avx512_bf16, from the wheel', is 'avx2, from the wheel'"
    ]
    # whether there are any is an entry of the backends, and runs of earlier versions have no such entry
    assert changes(old, {"kernels": ""}) == changes({"kernels": ""}, old) == changes({}, old) == []


def test_a_run_that_dies_before_its_card_is_written_is_not_finished(text, tmp_path, monkeypatch):
    """So that `resume="auto"` writes what is missing."""
    experiment = small(text, epochs=1)
    write_text = RunFolder.write_text

    def dies(self, name, content):
        if name == "README.md":
            raise KeyboardInterrupt
        return write_text(self, name, content)

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(RunFolder, "write_text", dies)
        runs.train(experiment, tmp_path / "run")
    runs.train(experiment, tmp_path / "run", resume="auto")
    assert {"README.md", "report.html", "summary.json"} <= {path.name for path in (tmp_path / "run").iterdir()}
