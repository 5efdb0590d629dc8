"""A user's methods: each part acts at its place, state survives a restart, and mistakes name method and part."""

import ast
import contextlib
import json
import pathlib
from types import SimpleNamespace

import pytest
import torch
from short_runs import Stopping, assert_same_bits, quiet, trace
from tagged import write_tsv

from refrain import runs
from refrain.cli.app import main
from refrain.config import SGD
from refrain.errors import CheckpointError, UserError
from refrain.recipes import recipe
from refrain.storage.checkpoint import save
from refrain.storage.run_folder import RunFolder
from refrain.training import Interrupted, LossTerm, Method, Methods, PlainProgress, Verdict
from refrain.training.method import PARTS
from refrain.training.methods import FIGURES
from refrain.training.own_methods import RESERVED, methods_by_name


class Drift:
    """Has every part: a noisy penalty that grows, weights that shrink, and their running mean for evaluation."""

    name = "drift"

    def __init__(self, stop_after=None):
        self.windows, self.epochs, self.mean, self.stop_after = 0, 0, [], stop_after

    def loss_term(self, window):
        # the global generator is part of the run
        return torch.rand(()) * 1e-3 * (1 + self.windows) * window.outputs.raw.square().mean()

    def before_step(self, window):
        self.windows += 1

    @torch.no_grad()
    def after_step(self, window):
        parameters = list(window.model.parameters())
        torch._foreach_mul_(parameters, 1 - 1e-3)
        self.mean = self.mean or [parameter.clone() for parameter in parameters]
        torch._foreach_lerp_(self.mean, parameters, 0.5)

    def validated(self, record):
        self.epochs += 1
        assert record["event"] == "valid" and record["epoch"] == self.epochs
        assert record["settled"] == (self.epochs > 1) and record["judged"] == record["nats_per_token"]
        if self.epochs == self.stop_after:
            return Verdict(stop=True, message=f"{self.epochs} epochs are enough")
        return None

    def settled(self):
        return self.epochs > 0

    @contextlib.contextmanager
    def evaluation_weights(self, model):
        kept = [parameter.detach().clone() for parameter in model.parameters()]
        set_weights(model, self.mean)
        yield
        set_weights(model, kept)

    def metrics(self):
        return {"drift": self.windows, "details": {"epochs": self.epochs}}

    def state_dict(self):
        return {"windows": self.windows, "epochs": self.epochs, "mean": self.mean}

    def load_state_dict(self, state):
        torch.rand(3)
        self.windows, self.epochs, self.mean = state["windows"], state["epochs"], state["mean"]


@torch.no_grad()
def set_weights(model, values):
    # before the first step there is no mean
    for parameter, value in zip(model.parameters(), values, strict=bool(values)):
        parameter.copy_(value)


# where a run with averaging would show nothing more
one_experiment = pytest.mark.parametrize("experiment", ["plain"], indirect=True)


class Said(PlainProgress):
    def __init__(self):
        super().__init__(quiet=True)
        self.lines = []

    def log(self, line):
        self.lines.append(line)


def lines(out):
    return [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]


def short(experiment, **training):
    training = {"epochs": 2, "stop_window": None, "optimizer": SGD(), **training}
    return experiment.model_copy(update={"training": experiment.training.model_copy(update=training)})


def test_every_part_is_tried_here():
    assert set(PARTS) == {name for name in vars(Drift) if not name.startswith("_")} - {"name"}
    assert set(PARTS) == {name for name in vars(Method) if not name.startswith("_")}


@pytest.mark.parametrize("windows", [1, 12, 13, 24, 25, 31])
def test_a_run_with_a_method_of_a_user_continues_bit_for_bit(experiment, tmp_path_factory, tmp_path, windows):
    unbroken = tmp_path_factory.getbasetemp() / f"drift-{experiment.name}"
    if not unbroken.exists():
        summary = runs.train(experiment, unbroken, methods=[Drift()], progress=quiet())
        assert summary["methods"] == ["drift"] and "Methods besides the settings: drift." in (
            unbroken / "README.md"
        ).read_text(encoding="utf-8")
    if windows > trace(unbroken)[0]["position"]["step"]:
        pytest.skip("the run is shorter")
    with pytest.raises(Interrupted, match=r"continue with: refrain\.resume\('.*', methods=\[\.\.\.\]\)"):
        runs.train(experiment, tmp_path / "run", methods=[Drift()], progress=Stopping(windows))
    torch.manual_seed(99)
    runs.resume(tmp_path / "run", methods=[Drift()], progress=quiet())
    assert_same_bits(trace(tmp_path / "run"), trace(unbroken))


@one_experiment
def test_each_part_has_its_effect(experiment, tmp_path):
    """What the law above rests on: without any one part the run is another."""
    experiment, seen = short(experiment), {}
    for left_out in (None, *PARTS):
        drift = Drift()
        if left_out is not None:
            setattr(drift, left_out, None)
        if left_out == "settled":
            drift.validated = None
        if left_out in ("state_dict", "load_state_dict"):
            drift.state_dict = drift.load_state_dict = None
        out = tmp_path / str(left_out)
        runs.train(experiment, out, methods={"drift": drift}, progress=quiet())
        training, tensors, *_ = trace(out)
        names = ("model.safetensors", "training.safetensors")
        newest = RunFolder(out).newest()[0].folder
        seen[left_out] = (
            json.dumps(training["stateful"]), json.dumps(lines(out)[-1].get("details")), training["position"]["best"],
            [(newest / name).read_bytes() for name in names],
        )  # fmt: skip
        assert tensors
    others = [seen[part] for part in seen if part != "load_state_dict"]
    assert all(one != other for index, one in enumerate(others) for other in others[:index])


@one_experiment
def test_evaluation_weights_are_those_that_are_measured_and_saved(experiment, tmp_path):
    drift = Drift()
    runs.train(short(experiment), tmp_path / "run", methods=[drift], progress=quiet())
    _, tensors, *_ = trace(tmp_path / "run")
    for (name, parameter), mean in zip(
        runs.load(RunFolder(tmp_path / "run").newest()[0].folder).model.named_parameters(), drift.mean, strict=True
    ):
        assert torch.equal(parameter, mean) and not torch.equal(tensors[f"weights.{name}"], mean)


@one_experiment
def test_a_verdict_stops_the_run_and_says_why(experiment, tmp_path):
    said = Said()
    # the library's own rule, which is asked after the method, sees no reason to stop
    experiment = short(experiment, epochs=9, stop_window=8)
    summary = runs.train(experiment, tmp_path / "run", methods=[Drift(stop_after=2)], progress=said)
    assert summary["epochs"] == 2
    place = said.lines.index("2 epochs are enough")
    assert said.lines[place + 1].startswith("epoch 2 ") and "methods given: drift" in said.lines
    assert [line["drift"] for line in lines(tmp_path / "run")][-1] == lines(tmp_path / "run")[-1]["step"]


@one_experiment
def test_the_best_is_one_of_the_settled(experiment, tmp_path):
    """The weights of the second epoch are much worse, but the method is settled then."""
    seen = []

    @torch.no_grad()
    def worsen(window):
        seen.append(window)
        if len(seen) == 20:
            for parameter in window.model.parameters():
                parameter.copy_(10 * torch.randn_like(parameter))

    late = SimpleNamespace(after_step=worsen, settled=lambda: len(seen) >= 20)
    runs.train(short(experiment, learning_rate=1e-3), tmp_path / "run", methods={"late": late}, progress=quiet())
    valid = [line for line in lines(tmp_path / "run") if line["event"] == "valid"]
    best = trace(tmp_path / "run")[0]["position"]["best"]
    assert (best["settled"], best["step"]) == (True, valid[-1]["step"])
    assert valid[0]["nats_per_token"] < valid[-1]["nats_per_token"]


def test_hooks_of_methods_keep_their_order():
    def method(name):
        return SimpleNamespace(
            before_step=lambda window: order.append(f"{name} before"),
            after_step=lambda window: order.append(f"{name} after"),
            validated=lambda record: order.append(f"{name} validated"),
            evaluation_weights=lambda model: entered(name),
        )

    @contextlib.contextmanager
    def entered(name):
        order.append(f"{name} in")
        yield
        order.append(f"{name} out")

    order = []
    methods = Methods({"a": method("a")}, {"b": method("b")}, {"c": method("c")})
    hooks = methods.hooks()
    for acts in (hooks.before_step, hooks.after_step, hooks.after_round):
        for act in acts:
            act({})
    assert order == [f"{name} {when}" for when in ("before", "after", "validated") for name in "abc"]
    order.clear()
    with methods.evaluation_weights(None):
        pass
    assert order == ["c in", "b in", "a in", "a out", "b out", "c out"]


@one_experiment
@pytest.mark.parametrize("given", [[], ["other"], ["drift", "other"], ["other", "drift"]])
def test_a_resume_with_other_methods_is_refused(experiment, tmp_path, given):
    out = tmp_path / "run"
    with pytest.raises(Interrupted):
        runs.train(short(experiment), out, methods={"drift": Drift(), "more": Drift()}, progress=Stopping(3))
    others = {name: LossTerm(lambda window: window.outputs.raw.sum()) for name in given}
    with pytest.raises(CheckpointError) as refused:
        runs.resume(out, methods=others, progress=quiet())
    assert str(refused.value) == (
        f"{out}: was started with the methods drift, more (given now: {', '.join(given) or 'none'}); continue it in "
        f"Python with the same methods in the same order: refrain.resume({str(out)!r}, methods=[...])"
    )


@one_experiment
def test_the_command_line_says_that_it_cannot_give_methods(experiment, tmp_path, capsys):
    out = tmp_path / "run"
    with pytest.raises(Interrupted):
        runs.train(short(experiment), out, methods=[Drift()], progress=Stopping(3))
    assert main(["train", "--resume", "--out", str(out), "--quiet"]) == 4
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "was started with the methods drift (given now: none)" in said


@one_experiment
def test_a_run_without_methods_takes_none_later(experiment, tmp_path):
    out = tmp_path / "run"
    with pytest.raises(Interrupted):
        runs.train(short(experiment), out, progress=Stopping(3))
    with pytest.raises(CheckpointError, match=r"started without a user's methods \(given now: drift\)"):
        runs.resume(out, methods=[Drift()], progress=quiet())
    # a checkpoint of version 0.1 has no list of methods
    checkpoint, _ = RunFolder(out).newest()
    document = checkpoint.document("training")
    assert document.pop("methods") == []
    kept = {stem: checkpoint.tensors(stem) for stem in ("model", "training")}
    documents = {stem: checkpoint.document(stem) for stem in ("config", "vocabulary")}
    save(checkpoint.folder, kept, {**documents, "training": document})
    assert runs.resume(out, progress=quiet())["epochs"] == 2


class Nameless:
    def after_step(self, window):
        pass


class Model:
    def forward(self):
        pass


@one_experiment
@pytest.mark.parametrize(
    ("methods", "message"),
    [
        ([Nameless()], "methods[0] (Nameless) has no attribute 'name'; set one, or give a dict of methods by name"),
        ([Drift(), Drift()], "methods: two methods have the name 'drift'; choose another for one of them"),
        ({"averaging": Drift()}, "methods: the name 'averaging' is used by the library; choose another"),
        ({"generator": Drift()}, "methods: the name 'generator' is used by the library; choose another"),
        ({"a.b": Drift()}, "methods: 'a.b' is not a valid name; use letters, digits, - and _, and begin with a letter"),
        ({"x": Drift}, "method 'x': is a class; pass an object, Drift(...)"),
        ({"x": Model()}, f"method 'x': has none of the parts of a method, which are {', '.join(PARTS)}"),
        ({"x": SimpleNamespace(loss_term=3)}, "method 'x': loss_term has type int, but must be a function"),
        (
            {"x": SimpleNamespace(state_dict=dict)},
            "method 'x': has only state_dict; state_dict and load_state_dict need each other",
        ),
        (Drift(), "methods: must be a list of methods or a dict of them by name (got Drift)"),
        (lambda window: 0, "methods: must be a list of methods or a dict of them by name (got function)"),
    ],
)
def test_a_method_that_cannot_enter_is_refused_before_anything_is_written(experiment, tmp_path, methods, message):
    for start in (runs.train, lambda experiment, out, **more: runs.resume(out, **more)):
        with pytest.raises(UserError) as refused:
            start(experiment, tmp_path / "run", methods=methods, progress=quiet())
        assert str(refused.value) == message
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("name", sorted(RESERVED))
def test_names_of_the_library_are_no_names_of_a_user(name):
    with pytest.raises(UserError, match="is used by the library"):
        methods_by_name({name: Drift()})


FAULTS = {
    "loss_term returns float, must return a tensor": {"loss_term": lambda window: 0.5},
    "loss_term returns a tensor of shape (1,), must return a scalar; take its mean or its sum": {
        "loss_term": lambda window: window.outputs.raw.sum()[None]
    },
    "loss_term returns a tensor without a gradient, which cannot take effect; compute it from": {
        "loss_term": lambda window: window.outputs.raw.detach().sum()
    },
    "loss_term returns a tensor of torch.complex64, must return a real number": {
        "loss_term": lambda window: window.outputs.raw.sum() * 1j
    },
    "loss_term raised ZeroDivisionError: division by zero": {"loss_term": lambda window: 1 / 0},
    "before_step raised ZeroDivisionError": {"before_step": lambda window: 1 / 0},
    "after_step raised ZeroDivisionError": {"after_step": lambda window: 1 / 0},
    "validated raised KeyError: 'loss'": {"validated": lambda record: record["loss"]},
    "validated returns bool, must return a Verdict or None": {"validated": lambda record: True},
    "validated returns Verdict(stop=1, message=None), whose stop must be": {"validated": lambda record: Verdict(1)},
    "settled returns NoneType, must return True or False": {"settled": lambda: None},
    "evaluation_weights returns generator, must return a context manager": {
        "evaluation_weights": lambda model: (yield)
    },
    "evaluation_weights on entry raised ZeroDivisionError": {
        "evaluation_weights": contextlib.contextmanager(lambda model: (yield 1 / 0))
    },
    "evaluation_weights on exit raised ZeroDivisionError": {
        "evaluation_weights": contextlib.contextmanager(lambda model: 1 / ((yield) or 0))
    },
    "metrics returns float, must return a dict of figures by name": {"metrics": lambda: 0.5},
    "metrics returns values that JSON cannot represent": {"metrics": lambda: {"x": torch.ones(())}},
    "metrics returns 'perplexity', which a line of metrics has already; rename it": {
        "metrics": lambda: {"perplexity": 1.0}
    },
    "metrics raised ZeroDivisionError": {"metrics": lambda: 1 / 0},
}


@one_experiment
@pytest.mark.parametrize("message", FAULTS)
def test_a_part_that_fails_is_named_with_the_last_good_checkpoint(experiment, tmp_path, message):
    out = tmp_path / "run"
    with pytest.raises(UserError) as failed:
        runs.train(short(experiment), out, methods={"mine": SimpleNamespace(**FAULTS[message])}, progress=quiet())
    text = str(failed.value)
    assert f"method 'mine': {message}" in text and "\n" not in text
    raised = "raised" in message
    assert (failed.value.__cause__ is not None) == raised or "JSON" in message
    if raised:
        assert type(failed.value.__cause__).__name__ in message
    if "evaluation_weights" in message:
        # the first checkpoint needs them
        assert text.endswith("no checkpoint was saved yet; fix the method, then start again with force=True")
        return
    folder = RunFolder(out).newest()[0].folder
    assert f"the last good checkpoint is {folder}; fix the method, then refrain.resume({str(out)!r}," in text
    mended = SimpleNamespace(after_step=lambda window: None)
    assert runs.resume(out, methods={"mine": mended}, progress=quiet())["epochs"] == 2


@one_experiment
def test_where_a_loss_is_not_finite_the_methods_are_suspects(experiment, tmp_path):
    endless = SimpleNamespace(loss_term=lambda window: window.outputs.raw.sum() * float("nan"))
    with pytest.raises(UserError, match=r"the loss is nan.*training\.max_norm, or check the methods endless$"):
        runs.train(short(experiment), tmp_path / "run", methods={"endless": endless}, progress=quiet())


@one_experiment
@pytest.mark.parametrize(
    "state",
    [{"x": {1, 2}}, {(1, 2): 3}, {"x": torch.ones(2).to_sparse()}, torch.nn, [lambda: 1]],
    ids=["set", "key", "sparse", "module", "function"],
)
def test_a_state_that_cannot_be_stored_is_found_before_anything_is_written(experiment, tmp_path, state):
    method = SimpleNamespace(state_dict=lambda: state, load_state_dict=lambda state: None)
    with pytest.raises(
        UserError, match=r"^method 'mine': state_dict returns a value that cannot be stored: mine.*: "
    ) as failed:
        runs.train(experiment, tmp_path / "run", methods={"mine": method}, progress=quiet())
    assert "\n" not in str(failed.value) and not (tmp_path / "run").exists()


@one_experiment
def test_a_state_that_cannot_be_taken_back_is_named(experiment, tmp_path):
    out, experiment = tmp_path / "run", short(experiment)
    with pytest.raises(Interrupted):
        runs.train(experiment, out, methods=[Drift()], progress=Stopping(3))
    folder = RunFolder(out).newest()[0].folder

    class Other(Drift):
        def load_state_dict(self, state):
            self.windows = state["steps"]

    with pytest.raises(CheckpointError) as failed:
        runs.resume(out, methods=[Other()], progress=quiet())
    assert str(failed.value) == (
        f"{folder}: the checkpoint does not fit this run: method 'drift': load_state_dict raised KeyError: 'steps'"
    )
    assert isinstance(failed.value.__cause__, KeyError)
    stateless = SimpleNamespace(after_step=lambda window: None)
    with pytest.raises(CheckpointError, match=r"load_state_dict is missing, but the checkpoint holds a state of it"):
        runs.resume(out, methods={"drift": stateless}, progress=quiet())
    with pytest.raises(Interrupted):
        runs.train(experiment, out, force=True, methods={"drift": stateless}, progress=Stopping(3))
    with pytest.raises(CheckpointError, match=r"load_state_dict cannot be called: the checkpoint holds no state of it"):
        runs.resume(out, methods=[Drift()], progress=quiet())


@one_experiment
def test_an_error_of_the_run_inside_evaluation_weights_is_not_the_methods(experiment, tmp_path):
    """A loss that is no number, inside a context that would hide it."""

    @contextlib.contextmanager
    def hiding(model):
        with contextlib.suppress(Exception):
            yield

    @torch.no_grad()
    def spoil(window):
        for parameter in window.model.parameters():
            parameter.fill_(torch.nan)

    method = SimpleNamespace(evaluation_weights=hiding, before_step=lambda window: window, after_step=None)
    one = short(experiment, epochs=1)
    windows = trace_windows(one, tmp_path / "count")
    method.after_step = lambda window: spoil(window) if next(counter) == windows else None
    counter = iter(range(1, 10_000))
    with pytest.raises(UserError, match=r"the validation loss is nan; the last good checkpoint"):
        runs.train(one, tmp_path / "run", methods={"mine": method}, progress=quiet())


def trace_windows(experiment, out):
    runs.train(experiment, out, progress=quiet())
    return trace(out)[0]["position"]["step"]


def test_names_in_a_line_of_metrics_are_no_names_of_a_user():
    tree = ast.parse((pathlib.Path(runs.__file__).parents[1] / "training" / "metrics.py").read_text())
    dicts = [node for node in ast.walk(tree) if isinstance(node, ast.Dict)]
    keys = {key.value for node in dicts for key in node.keys if isinstance(key, ast.Constant)}
    assert len(keys) > 10
    assert {*keys, "bits_per_byte", "train_bits_per_byte", "judged", "settled"} == FIGURES


def test_a_tagger_takes_methods_and_continues_bit_for_bit(tmp_path):
    small = ("model.embedding_size=8", "model.hidden_sizes=[8]", "training.epochs=2", "training.batch_size=8")
    corpus = write_tsv(tmp_path / "toy")
    experiment = recipe("pos-default", *small, "training.stop_window=1", data=str(corpus))

    def method():
        # how wrong tags are judged: the share of them
        seen = SimpleNamespace(windows=0, judged=[])
        seen.loss_term = lambda window: 1e-3 * sum(part.square().mean() for part in window.model.parameters())
        seen.after_step = lambda window: setattr(seen, "windows", seen.windows + 1)
        seen.validated = lambda record: seen.judged.append(record["judged"] == 1 - record["accuracy"])
        seen.state_dict = lambda: {"windows": seen.windows, "judged": seen.judged}
        seen.load_state_dict = lambda state: vars(seen).update(state)
        return seen

    whole = method()
    runs.train(experiment, tmp_path / "whole", methods={"decay": whole}, progress=quiet())
    assert whole.judged == [True, True] and whole.windows == trace(tmp_path / "whole")[0]["position"]["step"]
    with pytest.raises(Interrupted):
        runs.train(experiment, tmp_path / "cut", methods={"decay": method()}, progress=Stopping(11))
    runs.resume(tmp_path / "cut", methods={"decay": method()}, progress=quiet())
    assert_same_bits(trace(tmp_path / "cut"), trace(tmp_path / "whole"))
