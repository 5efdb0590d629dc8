"""Weight drop under DistributedDataParallel: each process draws its own masks, and all keep the same weights."""

import pytest
import torch
import torch.distributed as dist
from processes import joined, run_ranks
from torch.nn.parallel import DistributedDataParallel

from refrain.models import LanguageModel
from refrain.nn import LSTM, Embedding, RecurrentStack, SoftmaxHead, WeightDropout, detached

T, B, H, V, STEPS, RANKS = 5, 3, 10, 17, 2, 2


def build(*, held):
    """The same model in every process, and a list to which it adds the recurrent weight that each window uses."""
    torch.manual_seed(1)
    stack = RecurrentStack([LSTM(H, H, recurrent_transform=WeightDropout(0.5, held=held))])
    model, used = LanguageModel(Embedding(V, H), stack, SoftmaxHead(H, V)), []
    transform = model.stack.layers[0].recurrent_transform
    transform.register_forward_hook(lambda module, arguments, weight: used.append(weight.detach() != 0))
    return model, used


def train(call, model, rank):
    """Two steps on a process's own columns, with its own seed; the gradients and the weights after each of them."""
    torch.manual_seed(100 + rank)
    ids = torch.randint(V, (STEPS, T + 1, B), generator=torch.Generator().manual_seed(rank))
    optimizer, state = torch.optim.SGD(model.parameters(), lr=0.1), model.initial_state(B)
    gradients, weights = [], []
    for window in ids:
        nats, _, state = call(window[:-1], window[1:], detached(state))
        optimizer.zero_grad()
        (nats / (T * B)).backward()
        gradients.append([parameter.grad.clone() for parameter in model.parameters()])
        optimizer.step()
        weights.append([parameter.detach().clone() for parameter in model.parameters()])
    return gradients, weights


def train_together(rank, *, held):
    """What one process finds; the parallel model ends with this function, before its group does."""
    model, used = build(held=held)
    # a held mask is a buffer, and each process keeps its own
    gradients, weights = train(DistributedDataParallel(model, broadcast_buffers=not held), model, rank)
    return {"gradients": gradients, "weights": weights, "used": used}


def work(rank, folder):
    """What one process does."""
    with joined(rank, folder, RANKS):
        found = {"fresh": train_together(rank, held=False), "held": train_together(rank, held=True)}
    torch.save(found, f"{folder}/{rank}.pt")


@pytest.fixture(scope="module")
def ranks(tmp_path_factory):
    """What each process found."""
    if not dist.is_available() or not dist.is_gloo_available():
        pytest.skip("this torch has no gloo")
    folder = tmp_path_factory.mktemp("processes")
    run_ranks(work, RANKS, str(folder))
    return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in range(RANKS)]


@pytest.mark.parametrize("kind", ["fresh", "held"])
def test_gradients_and_weights_are_the_same_everywhere(ranks, kind):
    one, other = (found[kind] for found in ranks)
    for what in ("gradients", "weights"):
        for step in range(STEPS):
            assert all(torch.equal(a, b) for a, b in zip(one[what][step], other[what][step], strict=True))


def test_gradients_are_the_mean_of_what_each_process_finds_alone(ranks):
    alone = []
    for rank in range(RANKS):
        model, _ = build(held=False)
        gradients, _ = train(model, model, rank)
        alone.append(gradients[0])
    wanted = [torch.stack(parts).mean(0) for parts in zip(*alone, strict=True)]
    torch.testing.assert_close(ranks[0]["fresh"]["gradients"][0], wanted)


def test_masks_are_each_process_own(ranks):
    one, other = (found["fresh"]["used"] for found in ranks)
    assert len(one) == len(other) == STEPS
    assert not torch.equal(one[0], other[0]) and not torch.equal(one[0], one[1])
    one, other = (found["held"]["used"] for found in ranks)
    assert torch.equal(one[0], one[1]) and torch.equal(other[0], other[1]) and not torch.equal(one[0], other[0])
