"""The kernels of norm and update, against torch's operations in float64 and against the references."""

import copy

import pytest
import torch
from torch import nn

from refrain.nn import SoftmaxHead
from refrain.nn.kernels.backend import Backend, use_backend
from refrain.optim import (
    SGD,
    Averages,
    TriggeredAveraging,
    any_gradient_dtype,
    clip_scale,
    gradient_norm,
    scaled_step,
)
from refrain.optim.native import native_norm, native_step

pytestmark = pytest.mark.compiler

# several blocks, whole registers, parts of one, no entry, and a width that does not divide a block
SHAPES = ((300, 130), (64,), (5, 3), (0, 4), (40, 7))
ROWS = torch.tensor([0, 1, 17, 39])


def weights(*, bf16=False, sparse=True, without=True):
    """Parameters with random weights and gradients: dense in float32 and bf16, of some rows, and none."""
    generator = torch.Generator().manual_seed(1)
    found = [nn.Parameter(torch.randn(shape, generator=generator)) for shape in SHAPES]
    for parameter in found:
        parameter.grad_dtype = None
        parameter.grad = torch.randn(parameter.shape, generator=generator)
    if bf16:
        found[0].grad = found[0].grad.bfloat16()
    if sparse:
        rows = torch.randn(len(ROWS), 7, generator=generator)
        found[4].grad = torch.sparse_coo_tensor(ROWS[None], rows, SHAPES[4], check_invariants=True).coalesce()
    if without:
        found[2].grad = None
    return found


def dense_gradients(parameters):
    """The gradients in float64; zeros where there is none."""
    found = []
    for parameter in parameters:
        gradient = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
        found.append((gradient.to_dense() if gradient.is_sparse else gradient).double())
    return found


@pytest.mark.parametrize("bf16", [False, True])
def test_the_norm(bf16):
    parameters = weights(bf16=bf16)
    wanted = torch.stack([gradient.square().sum() for gradient in dense_gradients(parameters)]).sum().sqrt()
    got = native_norm(parameters)
    torch.testing.assert_close(got.double(), wanted, rtol=1e-6, atol=0)
    # the reference, which does not round the norm of a bf16 gradient to bf16
    torch.testing.assert_close(gradient_norm(parameters), got, rtol=1e-5, atol=0)
    assert torch.equal(gradient_norm(parameters, native=True), got)


@pytest.mark.parametrize("share", [None, 1.0, 0.25])
@pytest.mark.parametrize("bf16", [False, True])
def test_the_step_and_the_means(bf16, share):
    parameters = weights(bf16=bf16)
    rates, decays = (0.5, 0.25, 0.5, 0.5, 1.0), (0.1, 0.0, 0.1, 0.0, 0.0)
    before = [parameter.detach().double() for parameter in parameters]
    means = [torch.randn(parameter.shape) for parameter in parameters]
    old = [mean.double() for mean in means]
    averages = None if share is None else Averages(means, share)
    assert native_step(parameters, rates, decays, 0.3, averages)
    every = zip(parameters, before, dense_gradients(parameters), rates, decays, means, old, strict=True)
    for parameter, weight, gradient, rate, decay, mean, was in every:
        # without a gradient nothing decays
        wanted = weight if parameter.grad is None else weight - rate * (0.3 * gradient + decay * weight)
        torch.testing.assert_close(parameter.detach().double(), wanted, rtol=1e-6, atol=1e-6)
        averaged = was if share is None else was + share * (wanted - was)
        torch.testing.assert_close(mean.double(), averaged, rtol=1e-6, atol=1e-6)
        if share == 1.0:
            assert torch.equal(mean, parameter.detach())


def test_the_same_bits_by_any_number_of_threads():
    found = []
    threads = torch.get_num_threads()
    try:
        for count in (1, 2, 3):
            torch.set_num_threads(count)
            parameters = weights(bf16=True)
            norm = native_norm(parameters)
            native_step(parameters, [0.5] * 5, [0.0] * 5, 0.5)
            found.append([norm, *(parameter.detach() for parameter in parameters)])
    finally:
        torch.set_num_threads(threads)
    for other in found[1:]:
        assert all(torch.equal(one, two) for one, two in zip(found[0], other, strict=True))


@pytest.mark.parametrize("max_norm", [0.3, None])
@pytest.mark.parametrize("averaged", [False, True])
@pytest.mark.parametrize("bf16", [False, True])
def test_an_optimiser_with_kernels_moves_weights_as_one_without(max_norm, averaged, bf16):
    moved = []
    for native in (False, True):
        parameters = weights(bf16=bf16)
        optimizer = SGD(
            [{"params": parameters[:2], "weight_decay": 0.2}, {"params": parameters[2:]}], lr=0.1, native=native
        )
        averaging = TriggeredAveraging(parameters, trigger_window=0, started=averaged)
        gradients = [parameter.grad for parameter in parameters]
        for _ in range(3):
            for parameter, gradient in zip(parameters, gradients, strict=True):
                # torch's fused update scales gradients in place
                parameter.grad = None if gradient is None else gradient.clone()
            versions = [parameter._version for parameter in parameters]
            norm = gradient_norm(parameters, native=native).item()
            scaled_step(optimizer, parameters, clip_scale(norm, max_norm), averaging.averages(parameters))
            assert all(one._version > old for one, old in zip(parameters, versions, strict=True))
        moved.append([*(parameter.detach() for parameter in parameters), *averaging.state_dict()["means"]])
    assert len(moved[0]) == 5 * (1 + averaged)
    torch.testing.assert_close(moved[0], moved[1], rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("case", ["float64", "strided weight", "not coalesced", "strided mean"])
def test_what_the_kernels_do_not_take_is_left_to_torch(case):
    parameters = [nn.Parameter(torch.randn(6, 4))]
    gradient = torch.randn(6, 4)
    means = [torch.randn(6, 4)]
    if case == "float64":
        parameters = [nn.Parameter(torch.randn(6, 4, dtype=torch.float64))]
        gradient = gradient.double()
    elif case == "strided weight":
        parameters = [nn.Parameter(torch.randn(4, 6).T)]
        gradient = torch.randn(4, 6).T
    elif case == "not coalesced":
        gradient = torch.sparse_coo_tensor([[1, 1]], torch.ones(2, 4), (6, 4), check_invariants=True)
    else:
        means = [torch.randn(4, 6).T]
    parameters[0].grad = gradient
    before = parameters[0].detach().clone()
    assert not native_step(parameters, [1.0], [0.0], 1.0, Averages(means, 0.5))
    assert torch.equal(parameters[0], before)
    optimizer = SGD(parameters, lr=1.0, native=True)
    wanted = (before - (gradient.to_dense() if gradient.is_sparse else gradient)).clone()
    averages = Averages([mean.to(before.dtype) for mean in means], 0.5)
    halfway = (averages.means[0] + wanted) / 2
    scaled_step(optimizer, parameters, 1.0, averages)
    torch.testing.assert_close(parameters[0].detach(), wanted)
    torch.testing.assert_close(averages.means[0], halfway)


def test_rows_that_decay_need_a_dense_gradient():
    parameters = weights()
    with pytest.raises(ValueError, match="rows that decay"):
        scaled_step(SGD(parameters, lr=0.1, weight_decay=0.1, native=True), parameters, 1.0)


def test_a_head_passes_on_a_gradient_in_bf16_where_it_is_allowed():
    torch.manual_seed(1)
    head, hidden, targets = SoftmaxHead(16, 300), torch.randn(9, 16), torch.randint(300, (9,))
    use_backend(head, Backend(native=True, bf16=True))
    found = []
    for allowed in (False, True):
        head.zero_grad()
        with any_gradient_dtype([head.weight, head.bias] if allowed else []):
            (head(hidden, targets) / 3).backward()
            found.append(head.weight.grad)
            assert found[-1].dtype == (torch.bfloat16 if allowed else torch.float32)
            assert head.bias.grad.dtype == torch.float32
        # after the context, gradients are as the parameters
        assert head.weight.grad.dtype == head.weight.grad_dtype == torch.float32
    # scaled once before and once after it was rounded
    torch.testing.assert_close(found[0], found[1].float(), rtol=2**-8, atol=0)


def test_a_copy_of_an_optimiser_updates_by_torch():
    optimizer = copy.deepcopy(SGD([nn.Parameter(torch.ones(2))], lr=0.5, native=True))
    (parameter,) = optimizer.param_groups[0]["params"]
    parameter.grad = torch.ones(2)
    scaled_step(optimizer, [parameter], 1.0)
    assert parameter.tolist() == [0.5, 0.5] and not optimizer.native


@pytest.mark.parametrize("case", ["another parameter", "one that the optimiser lacks", "momentum", "maximize"])
def test_an_optimiser_that_does_more_updates_by_torch(case):
    """The result is that of the same optimiser without kernels."""
    found = []
    for native in (False, True):
        parameters = weights(sparse=False, without=False)
        optimizer = SGD(parameters[1:] if case == "one that the optimiser lacks" else parameters, lr=0.5, native=native)
        given = parameters
        if case == "another parameter":
            given = parameters[1:]
        elif case != "one that the optimiser lacks":
            optimizer.param_groups[0][case] = 0.9 if case == "momentum" else True
        assert not optimizer.native_step(given, 1.0)
        scaled_step(optimizer, given, 0.5)
        found.append(parameters)
    assert all(torch.equal(*pair) for pair in zip(*found, strict=True))


@pytest.mark.parametrize("shape", [(4, 0), (0, 4)])
def test_rows_without_entries(shape):
    parameter = nn.Parameter(torch.zeros(shape))
    rows = torch.zeros(1 if shape[0] else 0, shape[1])
    indices = torch.zeros(1, len(rows), dtype=torch.int64)
    parameter.grad = torch.sparse_coo_tensor(indices, rows, shape, check_invariants=True).coalesce()
    assert gradient_norm([parameter], native=True) == 0
    scaled_step(SGD([parameter], lr=0.5, native=True), [parameter], 1.0)
