"""A loaded model in many threads, in forked and in started processes: the results are those of one thread."""

import copy
import math
import os
import pickle
import signal
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from processes import status_of
from tagged import write_tsv

from refrain import load, recipe, runs
from refrain.models import LanguageModel
from refrain.nn import LSTM, Embedding, RecurrentStack, SoftmaxHead
from refrain.training import PlainProgress

WEIGHTS = ["float32", "int8"]
TEXTS = ("ant bee cat", "dog eel", "fox ant ant bee unknown", "")
SENTENCES = [["the", "dogs", "running", "."], ["cats"], ["a", "hens", "hiding", "a", "bees", "."]]
THREADS, ROUNDS = 8, 4


def use_language_model(lm):
    """Everything that a loaded language model computes, as plain values."""
    state = lm.initial_state(2)
    ids = torch.tensor([1, 2])
    steps = []
    for _ in range(3):
        log_probabilities, state = lm.step(ids, state)
        steps.append(log_probabilities.tolist())
    found = lm.features(TEXTS)
    return (
        [lm.score(text).nats for text in TEXTS],
        lm.score("\n".join(TEXTS * 5)).nats,
        lm.generate("ant", tokens=6, samples=3, seed=4),
        lm.generate(tokens=12, samples=12, seed=5, top_k=3),
        steps,
        {name: value.tolist() for name, value in found._asdict().items() if hasattr(value, "tolist")},
    )


def use_tagger(tagger):
    return tagger.tag(SENTENCES), list(tagger.stream(SENTENCES * 4, batch_size=5)), tagger.tag_text("the dogs barking.")


def use(model):
    return use_tagger(model) if hasattr(model, "tag") else use_language_model(model)


@pytest.fixture(scope="session")
def tagger_run(tmp_path_factory):
    words = ("model.embedding_size=6", "model.hidden_sizes=[6]", "training.epochs=1", "training.stop_window=none")
    folder = tmp_path_factory.mktemp("tagger")
    experiment = recipe("pos-default", *words, data=str(write_tsv(folder / "toy")))
    runs.train(experiment, folder / "run", progress=PlainProgress(quiet=True))
    return folder / "run"


@pytest.fixture(params=["language model", "tagger"])
def run(request, tiny_run, tagger_run):
    return tiny_run if request.param == "language model" else tagger_run


@pytest.mark.parametrize("weights", WEIGHTS)
def test_many_threads_get_the_results_of_one(run, weights):
    wanted = use(load(run, weights=weights))
    # not used before, so that the threads pack its weights at the same time
    shared = load(run, weights=weights)
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        with ThreadPoolExecutor(THREADS) as pool:
            found = list(pool.map(lambda index: use(shared), range(THREADS * ROUNDS)))
    finally:
        sys.setswitchinterval(before)
    assert all(each == wanted for each in found)


@pytest.mark.parametrize("way", ["pickle", "deepcopy"])
@pytest.mark.parametrize("weights", WEIGHTS)
def test_a_used_model_is_pickled_and_copied(run, weights, way):
    model = load(run, weights=weights)
    wanted = use(model)
    other = copy.deepcopy(model) if way == "deepcopy" else pickle.loads(pickle.dumps(model))
    assert use(other) == wanted
    assert (repr(other), other.weights) == (repr(model), weights)
    # the copy has weights of its own
    with torch.no_grad():
        next(iter(other.model.parameters())).mul_(-3.0)
    use(other)
    assert use(model) == wanted


def agree(found, wanted):
    """Whether two results are equal, floats as closely as sums of another number of threads are."""
    if isinstance(wanted, float):
        return math.isclose(found, wanted, rel_tol=1e-5, abs_tol=1e-6)
    if isinstance(wanted, dict):
        return found.keys() == wanted.keys() and all(agree(found[name], value) for name, value in wanted.items())
    if isinstance(wanted, list | tuple):
        return len(found) == len(wanted) and all(map(agree, found, wanted))
    return found == wanted


def uses_a_copy(model, wanted):
    sys.exit(0 if agree(use(model), wanted) else 1)


@pytest.mark.parametrize("weights", WEIGHTS)
def test_a_used_model_is_passed_to_another_process(run, weights):
    model = load(run, weights=weights)
    assert status_of(uses_a_copy, model, use(model)) == 0


def forks(run, weights, busy):
    """Use a model, fork while threads may use it, and use it in the child."""
    torch.set_num_threads(2)
    # starts the threads of OpenMP, which the children lack
    wide = torch.ones(600, 600)
    torch.nn.functional.linear(wide, wide)
    model = load(run, weights=weights)
    wanted = use(model)
    with ThreadPoolExecutor(2) as pool:
        others = [pool.submit(lambda: [use(model) for _ in range(20)]) for _ in range(2 if busy else 0)]
        children = []
        for _ in range(6):
            child = os.fork()
            if not child:
                signal.alarm(60)
                torch.nn.functional.linear(wide, wide)
                os._exit(0 if agree(use(model), wanted) else 1)
            children.append(child)
        statuses = [os.waitpid(child, 0)[1] for child in children]
        right = all(found == wanted for other in others for found in other.result())
    sys.exit(0 if right and not any(statuses) else 1)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.parametrize("weights", WEIGHTS)
def test_a_used_model_is_used_after_a_fork(run, weights):
    assert status_of(forks, run, weights, False) == 0


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_model_is_used_after_a_fork_while_threads_use_it(run):
    assert status_of(forks, run, "float32", True) == 0


def test_a_layer_that_another_thread_had_in_use_at_a_fork_does_not_wait():
    """The lock of a thread that the child does not have stays locked in it."""
    layer = LSTM(5, 4)
    model = LanguageModel(Embedding(7, 5), RecurrentStack([layer]), SoftmaxHead(4, 7))
    ids = torch.randint(7, (6, 3))
    wanted = model(ids, ids, model.initial_state(3)).nats
    pools = [part for part in vars(layer).values() if type(part).__name__ == "BufferPool"]
    assert pools
    for pool in pools:
        pool._lock.acquire()
    model.train()
    nats = model(ids, ids, model.initial_state(3)).nats
    nats.backward()
    assert torch.equal(nats, wanted)
