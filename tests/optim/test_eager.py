"""Optimisers that compute what torch's compute, and do not import torch's compiler for it."""

import subprocess
import sys

import pytest
import torch
import torch._dynamo
from torch import nn

from refrain.optim.eager import EagerAdam, EagerSGD

PAIRS = {
    "adam": (lambda p: EagerAdam(p, lr=0.1, fused=True), lambda p: torch.optim.Adam(p, lr=0.1, fused=True)),
    "momentum": (lambda p: EagerSGD(p, lr=0.1, momentum=0.9), lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9)),
}
USE = """
import sys, torch
from refrain.optim import SGD
from refrain.optim.eager import EagerAdam, EagerSGD
for make in (SGD, EagerAdam, EagerSGD):
    weight = torch.nn.Parameter(torch.ones(3))
    optimizer = make([weight], lr=0.1)
    optimizer.zero_grad()
    weight.sum().backward()
    optimizer.step()
    optimizer.load_state_dict(optimizer.state_dict())
print([name for name in ("torch._dynamo", "sympy") if name in sys.modules])
"""


def steps(make, count, state=None):
    weight = nn.Parameter(torch.arange(6.0).view(2, 3))
    optimizer = make([{"params": [weight]}])
    if state is not None:
        optimizer.load_state_dict(state)
    for step in range(count):
        optimizer.zero_grad()
        (weight * (step + 1)).sin().sum().backward()
        optimizer.step()
    return weight.detach(), optimizer.state_dict()


@pytest.mark.parametrize("name", PAIRS)
def test_they_compute_what_torchs_compute(name):
    ours, theirs = PAIRS[name]
    weight, state = steps(ours, 3)
    wanted, wanted_state = steps(theirs, 3)
    assert torch.equal(weight, wanted)
    assert state["param_groups"] == wanted_state["param_groups"]
    torch.testing.assert_close(state["state"], wanted_state["state"], rtol=0, atol=0)
    assert torch.equal(steps(ours, 2, state)[0], steps(theirs, 2, wanted_state)[0])


def test_a_closure_is_called_with_gradients_and_hooks_run():
    weight = nn.Parameter(torch.ones(1))
    optimizer = EagerSGD([weight], lr=0.5)
    called = []
    optimizer.register_step_post_hook(lambda *arguments: called.append("hook"))

    def closure():
        loss = (3 * weight).sum()
        loss.backward()
        return loss

    assert optimizer.step(closure) == 3
    assert weight.item() == -0.5 and called == ["hook"]


def test_while_torch_compiles_its_own_wrappers_are_called(monkeypatch):
    """Without them the compiler would trace into the bookkeeping of the optimiser."""
    seen = []
    monkeypatch.setattr(torch._dynamo, "graph_break", lambda: seen.append("graph_break"))
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)
    weight = nn.Parameter(torch.ones(1))
    optimizer = EagerSGD([weight], lr=0.5, foreach=False)
    weight.sum().backward()
    optimizer.step()
    assert seen and weight.item() == 0.5


def test_they_do_not_import_the_compiler():
    done = subprocess.run([sys.executable, "-c", USE], capture_output=True, text=True, timeout=120)
    assert done.stdout == "[]\n", done.stderr
