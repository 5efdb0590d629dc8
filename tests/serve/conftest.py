"""A server of tiny models, whose application is called in this process."""

import contextlib
import time
import types

import pytest
from starlette.testclient import TestClient
from tagged import write_tsv

import refrain
from refrain.cli.app import main
from refrain.serve import Limits, Models, Service, application, serve_model

TAGGER = (
    "model.embedding_size=8", "model.hidden_sizes=[8]", "training.epochs=1", "training.batch_size=8",
    "training.stop_window=none", "training.device=cpu",
)  # fmt: skip


@pytest.fixture(scope="session")
def tagger_run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tagged")
    words = ["train", "pos-default", *TAGGER, "--data", write_tsv(folder / "toy"), "--out", folder / "run", "--quiet"]
    assert main([str(word) for word in words]) == 0
    return folder / "run"


@pytest.fixture(scope="session")
def lm(tiny_run):
    return refrain.load(tiny_run)


@pytest.fixture(scope="session")
def trained(lm, byte_run, tagger_run):
    """The models of the server by name; the first is the default."""
    return {"words": lm, "bytes": refrain.load(byte_run), "names": refrain.load(tagger_run)}


@pytest.fixture(scope="session")
def models(trained):
    return Models([serve_model(name, each) for name, each in trained.items()])


@pytest.fixture
def served(models):
    """A context in which a server with some limits answers: its service and a client."""

    @contextlib.contextmanager
    def serving(of=models, token=None, **limits):
        service = Service(of, Limits(**limits))
        with TestClient(application(service, token=token), base_url="http://127.0.0.1") as client:
            yield service, client

    return serving


@pytest.fixture
def client(served):
    with served() as (_, client):
        yield client


@pytest.fixture
def late_after(monkeypatch):
    """Lets the deadlines of a service pass once it has computed some steps more."""

    def passing(service, steps):
        last = service.engine.steps + steps

        def monotonic():
            return time.monotonic() + (1e6 if service.engine.steps >= last else 0)

        monkeypatch.setattr("refrain.serve.engine.time", types.SimpleNamespace(monotonic=monotonic))

    return passing


@pytest.fixture
def nothing_in_work():
    """Checks that the model thread ends all programs. A client may have its error before, if the thread is slow."""

    def check(service):
        deadline = time.monotonic() + 60
        while service.engine.unfinished:
            assert time.monotonic() < deadline, f"{service.engine.unfinished} programs are still in work"
            time.sleep(0.005)

    return check
