"""A layer over a window under random cotangents, as tests of several ways to compute it want it."""

import torch

from refrain.nn.kernels.backend import use_backend
from refrain.nn.recurrent.protocol import state_like, state_tensors


def case(layers, name, steps, batch, width):
    """A layer of a table, whose vectors are random too, with inputs and a state that have gradients."""
    torch.manual_seed(1)
    layer = layers[name]()
    for parameter in layer.parameters():
        if parameter.ndim == 1:
            torch.nn.init.normal_(parameter)
    inputs = torch.randn(steps, batch, width, requires_grad=True)
    template = layer.initial_state(batch)
    return layer, inputs, state_like(template, [torch.randn_like(t).requires_grad_() for t in state_tensors(template)])


def results(layer, inputs, state, backend, seed=7):
    """Outputs, state and all gradients, by an backend."""
    use_backend(layer, backend)
    torch.manual_seed(seed)
    outputs, after = layer(inputs, state)
    found = [outputs, *state_tensors(after)]
    generator = torch.Generator().manual_seed(2)
    total = sum((part * torch.randn(part.shape, generator=generator)).sum() for part in found)
    return [*found, *torch.autograd.grad(total, [inputs, *state_tensors(state), *layer.parameters()])]
