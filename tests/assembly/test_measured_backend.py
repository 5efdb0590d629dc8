"""`training.backend=auto` measures: within its limits, without a trace in the run, kept in the cache, and recorded."""

import json
import os
import shutil

import pytest
import torch

from refrain import runs
from refrain.assembly import choosing, measured_backend, window_times
from refrain.assembly.backend import choose_backends, native_in
from refrain.assembly.measured_backend import budget, read_times, record_path, times_of
from refrain.assembly.model import build_model
from refrain.assembly.window_times import Shape, Times, extrapolated, time_part
from refrain.config import Model, Training
from refrain.nn.kernels.backend import parts_with_backend
from refrain.recipes import recipe
from refrain.runs import preparing
from refrain.training import PlainProgress

SHAPE = Shape(steps=6, batch=4, windows=10**9, hidden=8, vocabulary=50)


@pytest.fixture
def model():
    torch.manual_seed(0)
    return build_model(Model(embedding_size=8, hidden_sizes=(8, 8), weight_drop=0.5), 50)


@pytest.fixture
def own_cache(monkeypatch, cache, tmp_path):
    """A cache that has compiled kernels, and no times."""
    folder = tmp_path / "cache"
    if (cache / "native").is_dir():
        shutil.copytree(cache / "native", folder / "native", ignore=shutil.ignore_patterns("times"))
    monkeypatch.setenv("REFRAIN_CACHE", str(folder))
    return folder


def parts(model):
    return dict(parts_with_backend(model))


@pytest.mark.parametrize(
    ("times", "rule", "native"),
    [
        (Times(2.0, 1.0), False, True),
        (Times(1.0, 2.0), True, False),
        # a difference of a hundredth is noise, and the rule decides
        (Times(1.01, 1.0), False, False),
        (Times(1.0, 1.01), True, True),
    ],
)
def test_the_faster_backend_is_preferred_and_the_rule_where_there_is_none(times, rule, native):
    assert times.prefers_native(rule) == native


def test_measurements_take_a_hundredth_of_a_run_and_no_more_than_two_seconds(model):
    few, many, more = (budget(parts(model), SHAPE._replace(windows=count)) for count in (10, 20, 10**12))
    assert 0 < few < many < 0.02 and many == pytest.approx(2 * few) and more == 2.0
    assert budget(parts(model), SHAPE._replace(windows=10**12, minutes=0.5)) == pytest.approx(0.3)


@pytest.mark.compiler
def test_a_part_is_measured_without_a_trace(model, own_cache):
    model(
        torch.zeros(3, 2, dtype=torch.int64), torch.ones(3, 2, dtype=torch.int64), model.initial_state(2)
    ).nats.backward()
    before = {name: (weight.clone(), weight.grad.clone()) for name, weight in model.named_parameters()}
    random = torch.get_rng_state()
    found = times_of(parts(model), SHAPE, 30.0, bf16=False)
    assert set(found) == set(parts(model)) and all(min(each) > 0 for each in found.values())
    assert torch.get_rng_state().equal(random)
    for name, weight in model.named_parameters():
        assert weight.equal(before[name][0]) and weight.grad.equal(before[name][1])
    assert all(part.backend.native is False for part in parts(model).values())


@pytest.mark.compiler
def test_times_are_measured_once_for_parts_of_the_same_shape_and_then_come_from_the_cache(
    model, own_cache, monkeypatch
):
    measured = []

    def once(part, shape, seconds, *, bf16):
        measured.append(part)
        return Times(2.0, 1.0)

    monkeypatch.setattr(measured_backend, "time_part", once)
    first = times_of(parts(model), SHAPE, 30.0, bf16=False)
    assert len(measured) == 2 and set(first.values()) == {Times(2.0, 1.0)}
    assert times_of(parts(model), SHAPE, 0.0, bf16=False) == first and len(measured) == 2
    # other windows, another precision and other threads are measured for themselves
    assert times_of(parts(model), SHAPE._replace(batch=5), 0.0, bf16=False) == {}
    assert times_of(parts(model), SHAPE, 0.0, bf16=True) == {}
    monkeypatch.setattr(torch, "get_num_threads", lambda: 77)
    assert times_of(parts(model), SHAPE, 0.0, bf16=False) == {}


@pytest.mark.compiler
@pytest.mark.parametrize(
    "content", ["", "{", "[1, 2]", '{"torch": 1.0}', '{"torch": -1.0, "native": 1.0}', '{"torch": "x", "native": 1}']
)
def test_a_damaged_record_is_measured_anew(content, model, own_cache):
    part = parts(model)["head"]
    path = record_path(part, SHAPE, bf16=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)
    assert read_times(path) is None
    assert times_of({"head": part}, SHAPE, 30.0, bf16=False)["head"] == read_times(path)


@pytest.mark.compiler
@pytest.mark.skipif(not hasattr(os, "getuid"), reason="no permissions of this kind")
def test_a_record_that_others_can_write_is_not_used(model, own_cache):
    part = parts(model)["head"]
    times_of({"head": part}, SHAPE, 30.0, bf16=False)
    path = record_path(part, SHAPE, bf16=False)
    assert read_times(path) is not None
    path.chmod(0o666)
    assert read_times(path) is None


@pytest.mark.compiler
def test_without_time_nothing_is_measured(model):
    assert time_part(parts(model)["head"], SHAPE, 0.0, bf16=False) is None


@pytest.mark.parametrize(
    ("one", "part", "steps", "whole"),
    [
        # 3 seconds once, and 2 for each step
        (5.0, 11.0, 4, 73.0),
        (5.0, 5.0, 1, 175.0),
        (5.0, 73.0, 35, 73.0),
        # noise: a part that seems to take less than a step, or more than in proportion
        (5.0, 4.0, 4, 4.0),
        (1.0, 11.0, 4, 11.0 * 35 / 4),
    ],
)
def test_the_time_of_a_window_follows_from_those_of_a_step_and_of_a_part(one, part, steps, whole):
    assert extrapolated(one, part, steps, 35) == pytest.approx(whole)


@pytest.mark.compiler
@pytest.mark.parametrize(("per_step", "share"), [(0.01, 1), (0.04, 2), (0.08, 4), (0.15, 8), (0.2, 8), (0.3, None)])
def test_of_a_large_part_a_share_of_a_window_is_measured(per_step, share, model, monkeypatch):
    now, seen = [0.0], []

    def call(part, shape):
        def run():
            seen.append(shape.steps)
            now[0] += (0.5 if part.backend.native else 1.0) * per_step * (1 + shape.steps)

        return run

    monkeypatch.setattr(window_times, "window_call", call)
    monkeypatch.setattr(window_times.time, "perf_counter", lambda: now[0])
    found = time_part(parts(model)["head"], SHAPE._replace(steps=32), 4.0, bf16=False)
    if share is None:
        assert found is None and set(seen) == {1} and len(seen) == 4
        return
    assert max(seen) == 32 // share and now[0] <= 4.0
    assert found == pytest.approx((33 * per_step, 16.5 * per_step))


@pytest.mark.compiler
def test_the_largest_parts_are_measured_last_and_in_what_the_others_leave(model, own_cache, monkeypatch):
    given = []
    monkeypatch.setattr(
        measured_backend, "time_part", lambda part, shape, seconds, *, bf16: given.append((part, seconds))
    )
    times_of(parts(model), SHAPE, 30.0, bf16=False)
    assert [part for part, _ in given] == [parts(model)["head"], parts(model)["stack.layers.0"]]
    assert given[0][1] == pytest.approx(15.0, abs=1) and given[1][1] == pytest.approx(30.0, abs=3)


@pytest.mark.compiler
def test_the_blocks_of_a_sparse_layer_are_measured_as_one_part(own_cache):
    cell = {"kind": "sparse-lstm", "plan": {"kind": "uniform", "blocks": 2, "density": 0.5}}
    sparse = build_model(Model(cell=cell, embedding_size=8, hidden_sizes=(8,)), 50)
    assert set(parts(sparse)) == {"stack.layers.0", "head"}
    assert set(times_of(parts(sparse), SHAPE, 30.0, bf16=False)) == {"stack.layers.0", "head"}
    assert choose_backends(Training(), sparse, native={"stack.layers.0": True})["stack.layers.0"] == "native, float32"


@pytest.mark.compiler
def test_what_was_measured_takes_the_place_of_the_rule_under_auto_alone(model):
    native = {"stack.layers.0": True, "head": False}
    found = choose_backends(Training(), model, native=native)
    assert found == {"stack.layers.0": "native, float32", "stack.layers.1": "torch, float32", "head": "torch, float32"}
    assert native_in(found) == {**native, "stack.layers.1": False}
    assert set(choose_backends(Training(backend="torch"), model, native=native).values()) == {"torch, float32"}
    assert set(choose_backends(Training(backend="native"), model, native=native).values()) == {"native, float32"}


def tiny(tiny_settings, corpus, *more):
    return recipe("zaremba-small", *tiny_settings, *more, data=str(corpus))


@pytest.mark.compiler
def test_a_run_records_what_was_measured_and_keeps_it_when_it_is_resumed(
    tiny_settings, tiny_corpus, tmp_path, monkeypatch
):
    monkeypatch.setattr(choosing, "measure_backends", lambda *given: {"stack.layers.0": Times(2.0, 1.0)})
    lines = []
    report = PlainProgress(quiet=True)
    report.log = lines.append
    runs.train(tiny(tiny_settings, tiny_corpus), tmp_path / "run", progress=report)
    manifest = json.loads((tmp_path / "run" / "manifest.json").read_text())
    assert manifest["backend"]["stack.layers.0"] == "native, float32"
    assert manifest["backend_seconds"] == {"stack.layers.0": {"torch": 2.0, "native": 1.0}}
    # on a machine where the other backend is faster
    monkeypatch.setattr(choosing, "measure_backends", lambda *given: {"stack.layers.0": Times(1.0, 2.0)})
    summary = runs.resume(tmp_path / "run", settings=["training.epochs=3"], progress=report)
    assert summary["backend"] == manifest["backend"]
    assert not any("note: backend" in line for line in lines)


def test_the_words_of_a_gpu_are_read_too():
    words = {"layer": "Triton, bf16", "other": "cuDNN, float32", "head": "torch, bf16", "cpu": "native, bf16"}
    assert native_in(words) == {"layer": True, "other": False, "head": False, "cpu": True}


@pytest.mark.compiler
def test_backends_of_another_device_are_not_kept(tiny_settings, tiny_corpus, monkeypatch):
    from refrain.parallel import Ranks
    from refrain.runs.kinds import kind_of

    experiment = tiny(tiny_settings, tiny_corpus)
    kind = kind_of(experiment)
    corpus = kind.corpus(experiment, lambda line: None)
    monkeypatch.setattr(choosing, "measure_backends", lambda *given: {})
    recorded = {"backend": {"stack.layers.0": "native, float32"}}
    for device, words in (("cpu", "native, float32"), ("Some GPU", "torch, float32")):
        given = kind, experiment, corpus, PlainProgress(quiet=True), Ranks(), {**recorded, "device": device}
        _, found = preparing.build(*given)
        assert found.backends["stack.layers.0"] == words


def test_deterministic_and_short_runs_measure_nothing(tiny_settings, tiny_corpus, tmp_path, monkeypatch):
    def refuse(*given, **more):
        raise AssertionError("something was measured")

    monkeypatch.setattr(measured_backend, "times_of", refuse)
    runs.train(tiny(tiny_settings, tiny_corpus), tmp_path / "short", progress=PlainProgress(quiet=True))
    assert "backend_seconds" not in json.loads((tmp_path / "short" / "manifest.json").read_text())
    monkeypatch.setattr(choosing, "measure_backends", refuse)
    experiment = tiny(tiny_settings, tiny_corpus, "training.deterministic=true")
    runs.train(experiment, tmp_path / "fixed", progress=PlainProgress(quiet=True))


def test_every_rank_uses_what_the_first_has_measured(tiny_settings, tiny_corpus, monkeypatch):
    from refrain.parallel import Ranks
    from refrain.runs.kinds import kind_of

    class Second(Ranks):
        rank, size = 1, 2

        @property
        def first(self):
            return False

        def from_first(self, value):
            assert value is None
            return {"stack.layers.0": [2.0, 1.0]}

    experiment = tiny(tiny_settings, tiny_corpus)
    kind = kind_of(experiment)
    corpus = kind.corpus(experiment, lambda line: None)
    monkeypatch.setattr(choosing, "measure_backends", None)
    _, found = preparing.build(kind, experiment, corpus, PlainProgress(quiet=True), Second())
    assert found.times == {"stack.layers.0": Times(2.0, 1.0)}


@pytest.mark.compiler
def test_the_bench_gives_the_regret_of_each_choice(model, monkeypatch):
    from refrain.bench import auto

    case = auto.Case("small", parts(model)["head"], SHAPE)
    monkeypatch.setattr(auto, "time_part", lambda *given, **more: Times(2.0, 1.0))
    monkeypatch.setattr(auto, "precisions", lambda device: ["float32"])
    monkeypatch.setattr(auto, "interleaved", lambda calls, *, repeats: {"torch": [1.0, 1.0, 3.0], "native": [1.5]})
    row, last = auto.bench_auto(repeats=3, cases=lambda: iter([case]))
    assert (row["chosen"], row["regret"], row["ratio"]) == ("native", 0.5, pytest.approx(1 / 1.5))
    assert (last["regret"], last["worst"]) == (0.5, 0.5)
