"""Clipping, scaling and sparse rows: the update that is written out, in fewer passes."""

import math

import pytest
import torch
from torch import nn

from refrain.assembly.task import build_optimizer
from refrain.config import Training
from refrain.nn import Embedding
from refrain.nn.kernels.allocator import keep_freed_memory
from refrain.optim import (
    SGD,
    TriggeredAveraging,
    any_gradient_dtype,
    clip_scale,
    gradient_norm,
    scale_gradients,
    scaled_step,
)


def parameters():
    generator = torch.Generator().manual_seed(1)
    found = [nn.Parameter(torch.randn(shape, generator=generator)) for shape in ((5, 3), (7,), (2, 2))]
    for parameter in found[:2]:
        parameter.grad = torch.randn(parameter.shape, generator=generator)
    return found


@pytest.mark.parametrize("max_norm", [0.3, 1e9, None])
@pytest.mark.parametrize("rule", ["sgd", "sgd with decay", "unfused", "adam"])
def test_a_scaled_step_is_clipping_and_then_a_step(rule, max_norm):
    make = {
        "sgd": lambda p: SGD(p, lr=0.1),
        "sgd with decay": lambda p: SGD(p, lr=0.1, weight_decay=0.2),
        "unfused": lambda p: torch.optim.SGD(p, lr=0.1, fused=False),
        "adam": lambda p: torch.optim.Adam(p, lr=0.1, fused=True),
    }[rule]
    ours, plain = parameters(), parameters()
    wanted_norm = nn.utils.clip_grad_norm_(plain, float("inf") if max_norm is None else max_norm)
    make(plain).step()
    norm = gradient_norm(ours)
    torch.testing.assert_close(norm, wanted_norm)
    optimizer = make(ours)
    scaled_step(optimizer, ours, clip_scale(norm.item(), max_norm))
    assert not hasattr(optimizer, "grad_scale")
    for got, wanted in zip(ours, plain, strict=True):
        torch.testing.assert_close(got, wanted)


def test_gradients_scaled_in_place():
    ours = parameters()
    wanted = [None if parameter.grad is None else 0.5 * parameter.grad for parameter in ours]
    scale_gradients(ours, 0.5)
    for parameter, expected in zip(ours, wanted, strict=True):
        assert expected is None if parameter.grad is None else torch.equal(parameter.grad, expected)


def test_no_gradient_has_no_norm_and_a_bad_norm_no_scale():
    assert gradient_norm([nn.Parameter(torch.ones(2))]) == 0
    assert clip_scale(float("nan"), 1.0) == clip_scale(float("inf"), 1.0) == 1.0


@pytest.mark.parametrize("bad", [0.0, -1.0, float("nan")])
def test_a_norm_and_a_scale_must_be_positive(bad):
    with pytest.raises(ValueError, match="max_norm must be positive, or None"):
        clip_scale(1.0, bad)
    weight = nn.Parameter(torch.ones(2))
    weight.grad = torch.ones(2)
    for optimizer in (SGD([weight], lr=0.1), torch.optim.SGD([weight], lr=0.1, fused=True)):
        with pytest.raises(ValueError, match="scale must be positive"):
            scaled_step(optimizer, [weight], bad)
    assert torch.equal(weight.detach(), torch.ones(2))


@pytest.mark.parametrize("max_norm", [0.3, None])
def test_a_sparse_gradient_moves_weights_as_the_dense_one_does(max_norm):
    moved = []
    for sparse in (False, True):
        torch.manual_seed(2)
        embedding, linear = Embedding(9, 4), nn.Linear(4, 1)
        embedding.sparse_gradient = sparse
        weights = [*embedding.parameters(), *linear.parameters()]
        optimizer = SGD(weights, lr=0.5)
        for _ in range(3):
            optimizer.zero_grad()
            # a word that comes twice in a window has one row
            linear(embedding(torch.tensor([[1, 3], [3, 8]]))).square().sum().backward()
            assert embedding.weight.grad.is_sparse == sparse
            norm = gradient_norm(weights).item()
            scaled_step(optimizer, weights, clip_scale(norm, max_norm))
            assert embedding.weight.grad is not None
        moved.append([norm, *(weight.detach() for weight in weights)])
    torch.testing.assert_close(moved[0], moved[1])


def test_rows_that_decay_need_a_dense_gradient():
    embedding = Embedding(9, 4)
    embedding.sparse_gradient = True
    embedding(torch.tensor([1])).sum().backward()
    with pytest.raises(ValueError, match="rows that decay"):
        SGD(embedding.parameters(), lr=0.5, weight_decay=0.1).step()


def test_gradients_are_removed_or_zero():
    optimizer = SGD([{"params": parameters()[:1]}, {"params": parameters()[1:]}], lr=0.5)
    given = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    assert [parameter.grad is None for parameter in given] == [False, False, True]
    optimizer.zero_grad(set_to_none=False)
    assert [None if parameter.grad is None else int(parameter.grad.count_nonzero()) for parameter in given] == [
        0,
        0,
        None,
    ]
    optimizer.zero_grad()
    assert all(parameter.grad is None for parameter in given)


def test_memory_is_kept_or_not():
    assert keep_freed_memory(False) == keep_freed_memory()


def test_a_closure_computes_the_gradients_of_a_step():
    found = []
    for make in (SGD, torch.optim.SGD):
        (parameter,) = parameters()[:1]
        optimizer = make([parameter], lr=0.1)

        def closure(parameter=parameter, optimizer=optimizer):
            optimizer.zero_grad()
            loss = parameter.square().sum()
            loss.backward()
            return loss

        with torch.no_grad():
            loss = optimizer.step(closure)
        found.append((loss, parameter.detach().clone()))
    for got, wanted in zip(*found, strict=True):
        torch.testing.assert_close(got, wanted)
    assert SGD(parameters(), lr=0.1).step() is None


@pytest.mark.parametrize("kind", ["sparse", "dense", "bf16"])
def test_a_step_that_a_scaler_leaves_out_changes_nothing(kind):
    """`torch.amp.GradScaler` hands an infinite gradient to an optimiser that scales by itself."""
    embedding = nn.Embedding(4, 3, sparse=kind == "sparse")
    if kind == "bf16":
        embedding.weight.grad_dtype = None
    before = embedding.weight.detach().clone()
    optimizer = SGD(embedding.parameters(), lr=1.0)
    scaler = torch.amp.GradScaler("cpu", init_scale=8.0)
    for factor, changed in ((math.inf, False), (1.0, True)):
        optimizer.zero_grad()
        loss = (embedding(torch.tensor([1, 2])) * factor).sum()
        if kind == "bf16":
            embedding.weight.grad = torch.full((4, 3), 8.0 * factor, dtype=torch.bfloat16)
            scaler.scale(torch.ones((), requires_grad=True))
        else:
            scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update(8.0)
        assert torch.equal(embedding.weight.detach(), before) != changed
    rows = slice(None) if kind == "bf16" else [1, 2]
    torch.testing.assert_close(embedding.weight.detach()[rows], before[rows] - 1)


@pytest.mark.parametrize("scale", [1.0, 0.5])
@pytest.mark.parametrize("decay", [0.0, 0.2])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_every_entry_of_a_parameter_of_half_precision_moves(dtype, decay, scale):
    """torch's fused update leaves most of them as they were, on a CPU."""
    for size in (1, 5, 16, 31, 64, 100):
        parameter = nn.Parameter(torch.linspace(1, 2, size).to(dtype))
        parameter.grad = torch.full_like(parameter, 0.5)
        wanted = parameter.detach().float() * (1 - 0.1 * decay) - 0.1 * scale * 0.5
        for native in (False, True):
            own = nn.Parameter(parameter.detach().clone())
            own.grad = parameter.grad.clone()
            scaled_step(SGD([own], lr=0.1, weight_decay=decay, native=native), [own], scale)
            assert torch.equal(own, wanted.to(dtype))


@pytest.mark.parametrize("native", [False, True])
def test_a_parameter_given_twice_counts_once(native):
    """As the weight of a tied model, in the lists of the parameters of embedding and head; and a generator."""
    weight = nn.Parameter(torch.ones(3))
    weight.grad = torch.full((3,), 2.0)
    assert gradient_norm([weight, weight], native=native).item() == pytest.approx(math.sqrt(12))
    assert gradient_norm((each for each in [weight]), native=native).item() == pytest.approx(math.sqrt(12))
    for make in (lambda: SGD([weight], lr=0.1, native=native), lambda: torch.optim.SGD([weight], lr=0.1)):
        with torch.no_grad():
            weight.fill_(1.0)
        weight.grad = torch.full((3,), 2.0)
        averaging = TriggeredAveraging([weight], trigger_window=0, started=True)
        scaled_step(make(), [weight, weight], 0.5, averaging.averages([weight, weight]))
        assert weight.tolist() == pytest.approx([0.9] * 3)
        with averaging.evaluation_weights(None):
            assert weight.tolist() == pytest.approx([0.9] * 3)


@pytest.mark.parametrize("native", [False, True])
def test_hooks_of_a_step_and_schedules_of_torch(native, recwarn):
    weight = nn.Parameter(torch.ones(3))
    weight.grad = torch.ones(3)
    optimizer = SGD([weight], lr=0.1, native=native)
    schedule = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.5)
    norm = gradient_norm([weight])
    scaled_step(optimizer, [weight], clip_scale(norm, 1.0))
    schedule.step()
    called = []
    optimizer.register_step_pre_hook(lambda *arguments: called.append("before"))
    optimizer.register_step_post_hook(lambda *arguments: called.append("after"))
    scaled_step(optimizer, [weight], torch.tensor(0.5))
    assert called == ["before", "after"] and not recwarn.list


def test_a_float32_gradient_of_a_parameter_of_half_precision():
    """As a head adds one up over many chunks, where gradients may have any dtype."""
    parameter = nn.Parameter(torch.ones(64, dtype=torch.bfloat16))
    with any_gradient_dtype([parameter]):
        parameter.grad = torch.full((64,), 0.5)
        SGD([parameter], lr=0.1).step()
    assert torch.equal(parameter, torch.full_like(parameter, 0.95))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_momentum_moves_every_entry_too(dtype):
    model = nn.Linear(16, 4, bias=False).to(dtype)
    before = model.weight.detach().clone()
    model.weight.grad = torch.ones_like(model.weight)
    build_optimizer(Training(optimizer={"kind": "sgd", "momentum": 0.9}, learning_rate=0.25), model).step()
    torch.testing.assert_close(model.weight, before - 0.25)


def transposed(weight):
    return torch.randn(weight.shape[::-1]).t()


def expanded(weight):
    return torch.randn(weight.shape[1]).expand(weight.shape)


def one_number(weight):
    return torch.randn(()).expand(weight.shape)


GRADIENTS = [transposed, expanded, one_number]
OPTIMIZERS = {
    "sgd": {},
    "momentum": {"optimizer": {"kind": "sgd", "momentum": 0.9}},
    "adam": {"optimizer": {"kind": "adam"}},
}


@pytest.mark.parametrize("kind", OPTIMIZERS)
@pytest.mark.parametrize("scale", [1.0, 0.5])
@pytest.mark.parametrize("make", GRADIENTS)
def test_a_gradient_that_lies_in_memory_in_another_way(make, scale, kind):
    """As those of `torch.autograd.grad` may; torch's fused updates read them as if they lay like the parameter."""
    torch.manual_seed(1)
    model = nn.Linear(5, 7, bias=False)
    own, wanted = model.weight, nn.Parameter(model.weight.detach().clone())
    other = {
        "sgd": lambda: torch.optim.SGD([wanted], lr=0.1, weight_decay=0.2),
        "momentum": lambda: torch.optim.SGD([wanted], lr=0.1, weight_decay=0.2, momentum=0.9),
        "adam": lambda: torch.optim.Adam([wanted], lr=0.1, weight_decay=0.2),
    }[kind]()
    optimizer = build_optimizer(Training(learning_rate=0.1, weight_decay=0.2, **OPTIMIZERS[kind]), model)
    for _ in range(3):
        own.grad = make(own)
        wanted.grad = own.grad.contiguous() * scale
        other.step()
        gradient = own.grad
        # the step moves every parameter of the optimiser
        scaled_step(optimizer, [], scale) if scale == 1.0 else scaled_step(optimizer, [own], scale)
        assert own.grad is gradient
    torch.testing.assert_close(own, wanted)


@pytest.mark.parametrize("native", [False, True])
@pytest.mark.parametrize("make", GRADIENTS)
def test_plain_steps_with_gradients_of_any_layout_keep_the_gradient(make, native):
    torch.manual_seed(1)
    for weight in (torch.randn(5, 7), torch.randn(7, 5).t(), torch.randn(5, 9)[:, 1:8], torch.randn(9, 14)[1:6, ::2]):
        base = weight._base if weight._base is not None else weight
        after = base.clone()
        own, wanted = nn.Parameter(weight), nn.Parameter(weight.detach().clone())
        own.grad = gradient = make(own)
        wanted.grad = own.grad.clone()
        torch.optim.SGD([wanted], lr=0.1, weight_decay=0.2, fused=False).step()
        SGD([own], lr=0.1, weight_decay=0.2, native=native).step()
        torch.testing.assert_close(own, wanted)
        assert own.grad is gradient
        # what lies between the entries of a slice stays
        after.as_strided(weight.shape, weight.stride(), weight.storage_offset()).copy_(wanted.detach())
        torch.testing.assert_close(base, after)


OTHER = {"momentum": 0.9, "maximize": True}


@pytest.mark.parametrize("option", OTHER)
@pytest.mark.parametrize("kind", ["sparse", "half", "slice"])
def test_steps_that_are_not_plain_are_refused_where_they_would_be_taken_plain(kind, option):
    first = nn.Parameter(torch.ones(3))
    first.grad = torch.ones(3)
    if kind == "sparse":
        embedding = nn.Embedding(4, 3, sparse=True)
        embedding(torch.tensor([1, 2])).sum().backward()
        second = embedding.weight
    else:
        second = nn.Parameter(torch.ones(8, dtype=torch.bfloat16) if kind == "half" else torch.ones(8)[::2])
        second.grad = torch.ones_like(second)
    before, gradient = second.detach().clone(), second.grad
    optimizer = SGD([{"params": [first, second], option: OTHER[option]}], lr=0.1)
    with pytest.raises(ValueError, match=f"a step with {option} is not taken"):
        optimizer.step()
    # nothing has changed
    assert torch.equal(first, torch.ones(3)) and torch.equal(second, before) and second.grad is gradient


def test_a_parameter_alone():
    """torch's `clip_grad_norm_` takes one, too."""
    weight = nn.Parameter(torch.ones(2, 2))
    weight.grad = torch.ones(2, 2)
    assert gradient_norm(weight).item() == 2
    scale_gradients(weight, 0.5)
    assert weight.grad.tolist() == [[0.5, 0.5]] * 2
    scaled_step(torch.optim.SGD([weight], lr=1.0), weight, 0.5)
    assert weight.tolist() == [[0.75, 0.75]] * 2
