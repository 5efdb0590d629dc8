"""What all tests share: a cache of their own, few threads, a tiny corpus, and a tiny run made from it once."""

import hashlib
import os
import pathlib
import random
import shutil
import signal
import sys
import warnings

# first, so that refrain is imported by its rules
import blocked_modules  # noqa: F401
import browser
import pytest
import torch

from refrain.nn.kernels.compile import find_compiler
from refrain.training.interrupt import SIGNALS

WORDS = ("ant", "bee", "cat", "dog", "eel", "fox")
LINES = {"train": 120, "valid": 40, "test": 40}
# `zaremba-small` shrunk to a run of a second
TINY = (
    "model.embedding_size=8",
    "model.hidden_sizes=[8]",
    "training.epochs=2",
    "training.batch_size=4",
    "training.window_steps=5",
    "training.sample_tokens=5",
    "training.device=cpu",
)


def pytest_addoption(parser):
    parser.addoption("--shuffle", type=int, metavar="SEED", help="run files, and the tests of each, in a random order")
    parser.addoption("--reliability", action="store_true", help="the full number of trials in tests/reliability: hours")
    parser.addoption("--threads", type=int, default=1, metavar="N", help="threads of torch, in each process")
    parser.addoption("--emulate", metavar="LEVEL", help="run kernels as on another processor, see tests/emulation.py")


def pytest_configure(config):
    torch.set_num_threads(config.getoption("threads"))


def pytest_terminal_summary(terminalreporter, config):
    """Print the figures that the reliability suite reports."""
    if not config.getoption("reliability"):
        return
    passed = terminalreporter.stats.get("passed", [])
    figures = [value for test in passed for name, value in test.user_properties if name == "reliability"]
    if figures:
        terminalreporter.section("reliability")
    for promise, figure in sorted(figures):
        terminalreporter.line(f"{promise:<28}{figure}")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config, items):
    """Shuffle tests within their file, and files among themselves, so that fixtures of a file are still made once.

    pytest then brings together what shares a parametrised fixture.
    """
    seed = config.getoption("shuffle")
    if seed is None:
        return
    draw = random.Random(seed)
    files = {item.path: draw.random() for item in items}
    items.sort(key=lambda item: (files[item.path], draw.random()))


def pytest_runtest_setup(item):
    """Tests marked `compiler` or `browser` are skipped on a machine without one."""
    if item.get_closest_marker("browser") and browser.find_browser() is None:
        pytest.skip("no Chromium")
    if item.get_closest_marker("compiler") and find_compiler() is None:
        pytest.skip("no C++ compiler")


@pytest.fixture(scope="session", autouse=True)
def cache(tmp_path_factory):
    """Prepared corpora of the tests are kept in a folder of their own, one for all processes of a session."""
    folder = tmp_path_factory.getbasetemp()
    folder = (folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder) / "cache"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("REFRAIN_CACHE", str(folder))
        yield folder


@pytest.fixture(scope="session", autouse=True)
def emulator(request, tmp_path_factory):
    """With `--emulate`, kernels run under an emulator."""
    level = request.config.getoption("emulate")
    if level is None:
        yield
        return
    from emulation import emulated

    with emulated(level, tmp_path_factory.mktemp("emulated")) as library:
        yield
    assert library.calls, "no kernel was called"


@pytest.fixture(scope="session", autouse=True)
def disk(request):
    """Files are not flushed to the disk in this process, which takes a tenth of the time and matters only to a crash.

    The full reliability suite flushes them.
    """
    with pytest.MonkeyPatch.context() as patch:
        if not request.config.getoption("reliability"):
            patch.setattr(os, "fsync", lambda handle: None)
        yield


@pytest.fixture(autouse=True)
def process_as_before():
    """The command line installs handlers; the next test finds those that were there."""
    show, dropped = warnings.showwarning, sys.unraisablehook
    handlers = {number: signal.getsignal(number) for number in SIGNALS}
    yield
    warnings.showwarning, sys.unraisablehook = show, dropped
    for number, handler in handlers.items():
        signal.signal(number, handler)


@pytest.fixture(scope="session")
def browser_page():
    """A page of a headless browser, which all tests of a process share; such a test is marked `browser`."""
    with browser.opened() as page:
        yield page


@pytest.fixture
def write(tmp_path):
    """Writes text or bytes to a file of the test's folder, and returns its path."""

    def write(name, content):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode("utf-8") if isinstance(content, str) else content)
        return path

    return write


@pytest.fixture(scope="session")
def tiny_settings():
    """Words for the command line that shrink `zaremba-small` to a run of a second."""
    return TINY


@pytest.fixture(scope="session")
def tiny_corpus(tmp_path_factory):
    """A folder of three splits: lines of three to six of six words, so eight in the vocabulary."""
    folder = tmp_path_factory.mktemp("corpora") / "tiny"
    folder.mkdir()
    draw = random.Random(0)
    for split, count in LINES.items():
        lines = [" ".join(draw.choices(WORDS, k=draw.randint(3, 6))) + "\n" for _ in range(count)]
        (folder / f"{split}.txt").write_text("".join(lines))
    return folder


def train_tiny(folder, corpus, *settings):
    from refrain import runs
    from refrain.recipes import recipe
    from refrain.training import PlainProgress

    experiment = recipe("zaremba-small", *TINY, *settings, data=str(corpus))
    runs.train(experiment, folder, progress=PlainProgress(quiet=True))
    return folder


@pytest.fixture(scope="session")
def tiny_run(tmp_path_factory, tiny_corpus):
    """A run on the tiny corpus: hidden width 8, 2 epochs. Tests that write take a copy, see `run_copy`."""
    return train_tiny(tmp_path_factory.mktemp("runs") / "tiny", tiny_corpus)


@pytest.fixture(scope="session")
def byte_run(tmp_path_factory, tiny_corpus):
    """A run that reads the tiny corpus as bytes."""
    return train_tiny(tmp_path_factory.mktemp("runs") / "bytes", tiny_corpus, "data.unit=byte", "training.epochs=1")


@pytest.fixture(scope="session")
def kill():
    """Makes everything of the first units of some widths zero in a run's best model; width -> how many."""

    def kill(run, **units):
        from refrain.assembly.model import build_language_model
        from refrain.data import vocabulary_from
        from refrain.runs.config_document import experiment_from
        from refrain.sparsity import clear_units, unit_axes
        from refrain.storage.checkpoint import Checkpoint, save
        from refrain.training import load_weights

        checkpoint = Checkpoint((run / "best").resolve())
        documents = {name: checkpoint.document(name) for name in ("config", "vocabulary", "training")}
        model = build_language_model(
            experiment_from(documents["config"], run), vocabulary_from(documents["vocabulary"])
        )
        load_weights(model, checkpoint.tensors("model"))
        parameters = dict(model.named_parameters())
        for width, count in units.items():
            clear_units(parameters, unit_axes(model.axes())[width], torch.arange(model.widths()[width]) < count)
        weights = {name: parameter.detach() for name, parameter in parameters.items()}
        save(checkpoint.folder, {"model": weights, "training": checkpoint.tensors("training")}, documents)
        return run

    return kill


@pytest.fixture
def run_copy(tiny_run, tmp_path):
    """The tiny run, to be damaged at will."""
    return pathlib.Path(shutil.copytree(tiny_run, tmp_path / "run", symlinks=True))


@pytest.fixture
def tree():
    """Every file under a folder by its hash and every link by its target; the lock is left out."""

    def look(folder):
        found = {}
        for path in sorted(folder.rglob("*")):
            name = path.relative_to(folder).as_posix()
            if path.is_symlink():
                found[name] = os.readlink(path)
            elif path.is_file() and name != ".lock":
                found[name] = hashlib.sha256(path.read_bytes()).hexdigest()
        return found

    return look


@pytest.fixture(scope="session")
def shared_data():
    """Corpora that are not part of the project, in $REFRAIN_TEST_DATA; the test is skipped where they are absent."""
    beside = pathlib.Path(__file__).parents[2] / "shared" / "data"
    folder = pathlib.Path(os.environ.get("REFRAIN_TEST_DATA", beside))
    if not folder.is_dir():
        pytest.skip("no corpora here; REFRAIN_TEST_DATA names their folder")
    return folder


@pytest.fixture(scope="session")
def own_environment(cache, pytestconfig):
    """The environment of a process that a test starts: the session's cache and threads, output buffered as ever."""
    kept = {name: value for name, value in os.environ.items() if name not in ("PYTHONUNBUFFERED", "PYTHONIOENCODING")}
    return {**kept, "REFRAIN_CACHE": str(cache), "OMP_NUM_THREADS": str(pytestconfig.getoption("threads"))}
