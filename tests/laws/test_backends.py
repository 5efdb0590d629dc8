"""Every backend of every layer equals the layer's step, and every layer keeps the protocols that the rest asks for."""

import inspect
import sys
import typing

import pytest
import torch
from table import HEADS, RECURRENT, STEPS, B, I, T

from refrain.evaluation.dynamic import differentiable
from refrain.models import LanguageModel
from refrain.nn import LSTM, Embedding, RecurrentStack, SoftmaxHead, scan
from refrain.nn.kernels.backend import Backend, NativeFrom, Part, parts_with_backend, use_backend
from refrain.nn.recurrent import protocol
from refrain.nn.recurrent.protocol import Context, NativeLayer, RecurrentLayer, choose_window, state_like, state_tensors

COMPILER = pytest.mark.compiler
BACKENDS = [
    pytest.param(layer, backend, marks=COMPILER if backend == "native" else ())
    for layer in RECURRENT
    for backend in ("torch", "native", "scan")
]


def members(kind):
    """The names that a protocol asks for, its bases included."""
    bases = [base for base in kind.__mro__ if getattr(base, "_is_protocol", False) and base is not typing.Protocol]
    names = {name for base in bases for name in {**vars(base), **inspect.get_annotations(base)}}
    return {name for name in names if not name.startswith("_")}


def random_case(name):
    """A layer with random weights, inputs and a state that is not zero, float32 and with gradients."""
    torch.manual_seed(1)
    layer = RECURRENT[name]()
    for parameter in layer.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    inputs = torch.randn(T, B, I, requires_grad=True)
    template = layer.initial_state(B)
    state = state_like(template, [torch.randn_like(part).requires_grad_() for part in state_tensors(template)])
    return layer, inputs, state


def gradients(results, leaves):
    generator = torch.Generator().manual_seed(2)
    total = sum((part * torch.randn(part.shape, generator=generator)).sum() for part in results)
    return torch.autograd.grad(total, leaves)


@pytest.mark.parametrize(("name", "backend"), BACKENDS)
def test_a_backend_equals_the_step_with_all_gradients(name, backend):
    layer, inputs, state = random_case(name)
    leaves = [inputs, *state_tensors(state), *layer.parameters()]
    context = Context(layer._pool, Backend(), blocks=layer.plan.blocks if hasattr(layer, "plan") else ())
    outputs, after = layer.backends[backend](context, inputs, state, layer.window_weights())
    wanted, wanted_after = scan(STEPS[name](layer), inputs, state)
    found, expected = [outputs, *after], [wanted, *state_tensors(wanted_after)]
    torch.testing.assert_close(found, expected, atol=3e-5, rtol=1e-4)
    torch.testing.assert_close(gradients(found, leaves), gradients(expected, leaves), atol=3e-5, rtol=1e-4)


@pytest.mark.parametrize("name", RECURRENT)
@pytest.mark.parametrize("kind", [RecurrentLayer, NativeLayer, Part])
def test_every_layer_has_what_the_protocols_ask_for(name, kind):
    layer = RECURRENT[name]()
    missing = {member for member in members(kind) if not hasattr(layer, member)}
    assert members(kind) and not missing
    assert set(layer.backends) == {"torch", "native", "scan"}


def test_the_protocols_ask_for_something():
    assert {"forward", "step", "initial_state", "axes", "hidden_size"} <= members(RecurrentLayer)
    assert {"backend", "backends", "native_from", "transforms", "packed"} <= members(NativeLayer)


@pytest.mark.parametrize("name", HEADS)
def test_every_head_has_a_backend_to_choose(name):
    head = HEADS[name]()
    assert not {member for member in members(Part) if not hasattr(head, member)}
    assert [part for part_name, part in parts_with_backend(head) if not part_name] == [head]


@pytest.mark.parametrize(
    ("backend", "device", "dtype", "training", "chosen"),
    [
        (Backend(), "cpu", torch.float32, True, "torch"),
        (Backend(native=True), "cpu", torch.float32, True, "native"),
        (Backend(native=True, bf16=True), "cpu", torch.float32, True, "native"),
        (Backend(bf16=True), "cpu", torch.float32, True, "torch"),
        (Backend(native=True), "cpu", torch.float64, True, "torch"),
        (Backend(native=True), "cpu", torch.float32, False, "torch"),
        (Backend(native=True), "meta", torch.float32, True, "scan"),
        (Backend(bf16=True), "meta", torch.float32, True, "scan"),
        (Backend(), "meta", torch.float32, True, "torch"),
        (Backend(native=True), "meta", torch.float16, True, "torch"),
        (Backend(native=True), "meta", torch.float32, False, "torch"),
    ],
)
def test_the_choice_of_a_backend(backend, device, dtype, training, chosen, monkeypatch):
    monkeypatch.setattr(protocol, "SCAN_DEVICES", ("meta",))
    monkeypatch.setattr(protocol, "load", lambda file: object())
    layer = LSTM(I, 4).train(training)
    use_backend(layer, backend)
    tensor = torch.zeros(T, B, I, device=device, dtype=dtype)
    assert choose_window(layer, tensor) is layer.backends[chosen]
    with torch.no_grad():
        assert choose_window(layer, tensor) is layer.backends["torch"]


def test_without_kernels_torch_computes_the_window(monkeypatch):
    monkeypatch.setattr(protocol, "load", lambda file: None)
    layer = LSTM(I, 4)
    use_backend(layer, Backend(native=True))
    assert choose_window(layer, torch.zeros(T, B, I)) is layer.backends["torch"]


def test_the_size_from_which_native_kernels_are_used():
    rule = NativeFrom(cpu_float32=800, cpu_bf16=64)
    assert rule.includes(800, "cpu", bf16=False) and not rule.includes(799, "cpu", bf16=False)
    assert rule.includes(64, "cpu", bf16=True) and not rule.includes(63, "cpu", bf16=True)
    assert not rule.includes(10**6, "cuda", bf16=True) and not rule.includes(10**6, "mps", bf16=False)


@COMPILER
def test_few_files_stand_between_a_model_and_the_kernel():
    """The call stack from a model's forward pass to C++ passes six files, and C++ is the seventh."""
    stacks = []

    def profile(frame, event, argument):
        if event == "call" and frame.f_code.co_name == "run" and frame.f_code.co_filename.endswith("call.py"):
            files = []
            while frame is not None:
                if "/refrain/" in frame.f_code.co_filename and frame.f_code.co_filename not in files:
                    files.append(frame.f_code.co_filename)
                frame = frame.f_back
            stacks.append(files)

    model = LanguageModel(Embedding(9, 4), RecurrentStack([LSTM(4, 5)]), SoftmaxHead(5, 9))
    use_backend(model, Backend(native=True))
    model.head.backend = Backend()
    ids = torch.zeros(2, 1, dtype=torch.int64)
    sys.setprofile(profile)
    try:
        model(ids, ids, model.initial_state(1))
    finally:
        sys.setprofile(None)
    assert stacks and all(len(files) <= 6 for files in stacks), stacks


@pytest.mark.parametrize("name", RECURRENT)
def test_dynamic_evaluation_differentiates_every_layer(name):
    """On a GPU, cuDNN's backward pass needs training mode; nothing else may train, or it would drop."""
    dropout = torch.nn.Dropout(0.5)
    layer = RECURRENT[name]()
    head = SoftmaxHead(layer.hidden_size, 9)
    model = LanguageModel(Embedding(9, I), RecurrentStack([layer]), head, output_dropout=dropout)
    with differentiable(model.eval()):
        assert layer.training and not dropout.training
    assert not layer.training
