"""When the recurrent state begins anew, and what happens inside an epoch: validation, samples."""

import json

import pytest
import torch
from short_runs import Stopping, assert_same_bits, quiet, trace

from refrain import assembly, runs
from refrain.config import Data, Experiment, Model, Training
from refrain.models import LanguageModel
from refrain.nn import LSTM, Embedding, MultiplicativeLSTM, RecurrentStack, SoftmaxHead, scan
from refrain.nn.recurrent.protocol import state_like, state_tensors
from refrain.nn.recurrent.resets import scan_with_resets
from refrain.runs.starting import load_start
from refrain.storage.run_folder import RunFolder
from refrain.training import Fit, Interrupt, Interrupted, Metrics, Position

T, B, V = 9, 3, 7


@pytest.fixture
def text(tmp_path):
    path = tmp_path / "text.txt"
    generator = torch.Generator().manual_seed(1)
    lengths = torch.randint(3, 30, (150,), generator=generator).tolist()
    path.write_text("".join(("abcde fgh" * 4)[shift % 9 : shift % 9 + n] + "\n" for shift, n in enumerate(lengths)))
    return path


def experiment(text, **training):
    settings = {"epochs": 2, "batch_size": 4, "window_steps": 20, "optimizer": "adam", "learning_rate": 0.01}
    settings["schedule"] = "linear"
    return Experiment(
        data=Data(corpus=str(text), unit="byte"),
        model=Model(cell="multiplicative-lstm", embedding_size=6, hidden_sizes=(8,), weight_norm=True, dropout=0.1),
        training=Training(**{**settings, "sample_tokens": 5, "device": "cpu", **training}),
    )


@pytest.mark.parametrize("make", [LSTM, MultiplicativeLSTM])
def test_a_layer_with_resets_equals_its_step_from_a_state_of_zero(make):
    torch.manual_seed(1)
    layer = make(5, 4).double()
    inputs = torch.randn(T, B, 5, dtype=torch.float64)
    template = layer.initial_state(B)
    state = state_like(template, [torch.randn_like(part) for part in state_tensors(template)])
    resets = torch.rand(T, B) < 0.3
    marks = iter(resets)

    def step(x, before):
        kept = (~next(marks))[:, None]
        return layer.step(x, state_like(before, [part * kept for part in state_tensors(before)]))

    wanted, end = scan(step, inputs, state)
    got, after = scan_with_resets(layer, inputs, state, resets)
    torch.testing.assert_close(got, wanted)
    torch.testing.assert_close(after.cell, end.cell)


def test_nothing_crosses_a_document_start():
    torch.manual_seed(1)
    stack = RecurrentStack([LSTM(5, 4), LSTM(4, 4)])
    model = LanguageModel(Embedding(V, 5), stack, SoftmaxHead(4, V), reset_before=0).eval()
    ids = torch.randint(1, V, (T, B))
    ids[4, 1] = 0
    targets = torch.randint(V, (T, B))
    nats, _ = model.token_nats(ids, targets, model.initial_state(B))
    alone, _ = model.token_nats(ids[4:, 1:2], targets[4:, 1:2], model.initial_state(1))
    torch.testing.assert_close(nats[4:, 1:2], alone)
    model.reset_before = None
    free, _ = model.token_nats(ids, targets, model.initial_state(B))
    assert not torch.allclose(free[4:, 1], nats[4:, 1])
    torch.testing.assert_close(free[:, [0, 2]], nats[:, [0, 2]])


def test_steps_reset_as_windows_do():
    torch.manual_seed(1)
    model = LanguageModel(Embedding(V, 5), RecurrentStack([LSTM(5, 4)]), SoftmaxHead(4, V), reset_before=0).eval()
    ids, targets = torch.randint(V, (T, B)), torch.randint(V, (T, B))
    wanted, _ = model.token_nats(ids, targets, model.initial_state(B))
    state = model.initial_state(B)
    for step in range(T):
        found, state = model.step(ids[step], state)
        torch.testing.assert_close(-found.gather(1, targets[step][:, None])[:, 0], wanted[step])


@pytest.mark.parametrize("policy", ["carry", "reset-per-epoch", "reset-per-document"])
def test_each_policy_trains_resumes_and_loads(text, tmp_path, policy):
    wanted = experiment(text, state=policy, validation_windows=7, sample_windows=5, log_windows=3)
    runs.train(wanted, tmp_path / "unbroken", progress=quiet())
    with pytest.raises(Interrupted):
        # inside the second epoch, on a window that is validated
        runs.train(wanted, tmp_path / "stopped", progress=Stopping(26 + 7))
    runs.resume(tmp_path / "stopped", progress=quiet())
    assert_same_bits(trace(tmp_path / "stopped"), trace(tmp_path / "unbroken"))
    assert runs.load(tmp_path / "unbroken").model.reset_before == (10 if policy == "reset-per-document" else None)


def test_the_second_epoch_begins_where_the_first_ended_only_if_the_state_is_carried(text, tmp_path):
    def begun_anew(policy):
        seen = []
        wanted = experiment(text, state=policy)
        corpus = assembly.build_corpus(wanted.data)
        model = assembly.build_language_model(wanted, corpus.vocabulary)
        task = assembly.build_task(wanted, corpus, model)
        forward = model.forward
        model.forward = lambda x, y, s: (seen.append(s[0].cell.clone()), forward(x, y, s))[1]
        run = RunFolder(tmp_path / policy)
        run.create()
        Fit(task, run, {}, Metrics(run), quiet(), Interrupt())(Position(), None)
        return not seen[len(task.windows(0))].any()

    assert begun_anew("reset-per-epoch") and not begun_anew("carry")


def test_validation_and_samples_inside_an_epoch(text, tmp_path):
    out = tmp_path / "run"
    wanted = experiment(text, epochs=1, validation_windows=8, sample_windows=10, log_windows=6)
    summary = runs.train(wanted, out, progress=quiet())
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    count = max(line["window"] for line in lines)
    valid = [line for line in lines if line["event"] == "valid"]
    assert [line["window"] for line in valid] == [*range(8, count, 8), count]
    assert [line["epoch_ended"] for line in valid] == [False] * (len(valid) - 1) + [True]
    trained = [line["window"] for line in lines if line["event"] == "train"]
    assert trained == [*range(6, count, 6), count]
    names = sorted(path.name for path in (out / "samples").iterdir())
    assert names == [
        *(["epoch-001-window-000010.txt", "epoch-001-window-000020.txt"] if count > 20 else []),
        "epoch-001.txt",
    ]
    best = min(valid, key=lambda line: line["nats_per_token"])
    assert (out / "best").resolve().name == f"step-{best['step']:09d}"
    for line in valid:
        assert line["bits_per_byte"] == pytest.approx(line["nats_per_token"] / 0.6931471805599453)
    assert summary["valid"]["bits_per_byte"] == pytest.approx(best["bits_per_byte"], rel=1e-5)


def test_a_run_with_weight_norm_loads_as_plain_weights_and_can_be_finetuned(text, tmp_path):
    wanted = experiment(text, epochs=1)
    runs.train(wanted, tmp_path / "first", progress=quiet())
    lm = runs.load(tmp_path / "first")
    assert not any(name.endswith("gain") for name in lm.model.state_dict())
    corpus = assembly.build_corpus(wanted.data)
    normed = assembly.build_language_model(wanted, corpus.vocabulary).eval()
    load_start(tmp_path / "first", normed, corpus)
    ids = torch.randint(97, 105, (T, B))
    torch.testing.assert_close(
        lm.model.token_nats(ids, ids, lm.initial_state(B))[0], normed.token_nats(ids, ids, lm.initial_state(B))[0]
    )
    runs.train(wanted, tmp_path / "second", start_from=tmp_path / "first", progress=quiet())
