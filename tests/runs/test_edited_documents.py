"""Documents of a run that were edited: one line with file, key, cause and remedy, or no harm; never a traceback."""

import copy
import hashlib
import json
import random
import shutil

import pytest
from short_runs import Stopping, quiet, write_splits

from refrain import recipe, runs
from refrain.errors import CheckpointError, UserError
from refrain.storage.documents import Document, state_of
from refrain.training import Interrupted

SMALL = (
    "model.embedding_size=4",
    "model.hidden_sizes=[4,4]",
    "training.batch_size=3",
    "training.window_steps=4",
    "training.epochs=3",
    "training.device=cpu",
    "training.sample_tokens=2",
    "training.validation=exact",
)
RECIPES = {
    "averaged": ("awd-lstm-ptb", "training.optimizer.trigger_window=1", "training.stop_window=1"),
    "adam": ("zaremba-small", "training.optimizer=adam", "training.schedule={kind='plateau', decay=0.5}"),
    "sparse": ("zaremba-small", "sparsity.group_lasso.strength=0.01", "sparsity.target.bytes=1200"),
    "accurate": ("zaremba-small", "training.train_accuracy=true", "training.optimizer.momentum=0.5"),
}
DEEP = json.loads("[" * 60 + "]" * 60)
VALUES = (None, [], {}, "../../x", -1, True, 10**300, float("inf"), float("nan"), 0.5, DEEP)
DELETED = object()
SAMPLE = 30
"""The number of mutated documents of each kind, unless --reliability requests all."""


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return str(write_splits(tmp_path_factory.mktemp("edited"), "a b c d\nb c a\n", (9, 3, 3)))


@pytest.fixture(scope="module")
def stopped(corpus, tmp_path_factory):
    """For each recipe, a run that was stopped in its second epoch."""
    folder = tmp_path_factory.mktemp("stopped")
    for name, (source, *words) in RECIPES.items():
        with pytest.raises(Interrupted):
            runs.train(recipe(source, *SMALL, *words, data=corpus), folder / name, progress=Stopping(9))
    return folder


@pytest.fixture
def run(stopped, tmp_path):
    def copied(name):
        shutil.rmtree(tmp_path / "run", ignore_errors=True)
        shutil.copytree(stopped / name, tmp_path / "run", symlinks=True)
        return tmp_path / "run"

    return copied


@pytest.fixture
def sampled(request):
    """All of some cases, or a sample of them."""

    def chosen(cases):
        cases = list(cases)
        draw = random.Random(len(cases))
        every = request.config.getoption("reliability")
        return cases if every or len(cases) <= SAMPLE else draw.sample(cases, SAMPLE)

    return chosen


def paths(tree, path=()):
    """The path of each value of a document, the document itself included."""
    yield path
    if isinstance(tree, dict | list) and path[-1:] != ("words",):
        for key, value in tree.items() if isinstance(tree, dict) else enumerate(tree):
            yield from paths(value, (*path, key))


def mutated(document, path, value):
    if not path:
        return {} if value is DELETED else value
    changed = copy.deepcopy(document)
    place = changed
    for key in path[:-1]:
        place = place[key]
    if value is DELETED:
        del place[path[-1]]
    else:
        place[path[-1]] = value
    return changed


def mutations(document):
    return [(path, value) for path in paths(document) for value in (DELETED, *VALUES)]


def write_sealed(checkpoint, name, document):
    """Write a document of a checkpoint, with its sha256 in the manifest."""
    content = json.dumps(document).encode()
    (checkpoint / name).write_bytes(content)
    manifest = json.loads((checkpoint / "manifest.json").read_text())
    manifest["files"][name] = {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    (checkpoint / "manifest.json").write_text(json.dumps(manifest))


def says_one_line(call):
    """Whether a call is refused, in one line that ends in a remedy."""
    try:
        call()
    except UserError as error:
        message = str(error)
        assert "\n" not in message and len(message) < 900, message
        return True
    return False


@pytest.mark.filterwarnings("ignore:.*using")
@pytest.mark.parametrize("name", RECIPES)
def test_an_edited_state_of_training(run, sampled, name, recwarn):
    folder = run(name)
    document = json.loads((sorted((folder / "checkpoints").iterdir())[-1] / "training.json").read_text())
    refused = 0
    for path, value in sampled(mutations(document)):
        folder = run(name)
        newest = sorted((folder / "checkpoints").iterdir())[-1]
        write_sealed(newest, "training.json", mutated(document, path, value))
        refused += says_one_line(lambda: runs.resume(folder, progress=quiet()))  # noqa: B023
    assert refused > SAMPLE / 3


@pytest.mark.parametrize("name", ["manifest.json", "config.json"])
def test_an_edited_document_of_a_run(run, sampled, name):
    document = json.loads((run("averaged") / name).read_text())
    refused = 0
    for path, value in sampled(mutations(document)):
        folder = run("averaged")
        (folder / name).write_text(json.dumps(mutated(document, path, value)))
        refused += says_one_line(lambda: runs.resume(folder, progress=quiet()))  # noqa: B023
    assert refused > SAMPLE / 10


@pytest.mark.parametrize("name", ["vocabulary.json", "config.json"])
def test_an_edited_checkpoint_is_evaluated(run, sampled, name):
    folder = run("averaged")
    best = (folder / "best").resolve()
    document = json.loads((best / name).read_text())
    refused = 0
    for path, value in sampled(mutations(document)):
        write_sealed(best, name, mutated(document, path, value))

        def use():
            lm = runs.load(best)
            lm.score("a b c")
            lm.generate(tokens=2)

        refused += says_one_line(use)
    assert refused > SAMPLE / 10


def test_an_edited_summary_of_a_finished_run(stopped, run, sampled):
    folder = run("adam")
    runs.resume(folder, progress=quiet())
    document = json.loads((folder / "summary.json").read_text())
    for path, value in sampled(mutations(document)):
        (folder / "summary.json").write_text(json.dumps(mutated(document, path, value)))
        says_one_line(lambda: runs.resume_unfinished(folder, progress=quiet()))
    (folder / "summary.json").write_text(json.dumps(mutated(document, ("test", "perplexity"), "x")))
    with pytest.raises(
        CheckpointError, match=r"summary\.json: test\.perplexity: input should be a valid number \(got 'x'\)"
    ):
        runs.resume_unfinished(folder, progress=quiet())


@pytest.fixture(scope="module")
def series(corpus, tmp_path_factory):
    folder = tmp_path_factory.mktemp("series") / "runs"
    experiment = recipe("zaremba-small", *SMALL, "training.epochs=1", data=corpus)
    runs.train_seeds(experiment, folder, 2, progress=quiet)
    return folder


def test_an_edited_plan_of_several_seeds(series, sampled, tmp_path):
    document = json.loads((series / "seeds.json").read_text())
    shutil.copytree(series, tmp_path / "runs", symlinks=True)
    outside = sorted(tmp_path.iterdir())
    refused = 0
    # the settings are those of `config.json`, which another test edits
    cases = [case for case in mutations(document) if case[0][:1] != ("config",) or len(case[0]) < 3]
    for path, value in sampled(cases):
        (tmp_path / "runs" / "seeds.json").write_text(json.dumps(mutated(document, path, value)))
        refused += says_one_line(lambda: runs.resume_seeds(tmp_path / "runs", progress=quiet))
    assert refused > SAMPLE / 3
    assert sorted(tmp_path.iterdir()) == outside


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        ((), [], r"seeds\.json: input should be a valid dictionary.*\(got \[\]\); restore"),
        (("config",), DELETED, r"seeds\.json: config: field required; restore"),
        (("recipe",), 3, r"seeds\.json: recipe: input should be a valid string \(got 3\)"),
        (("seeds", 0), "../../victims/run", r"seeds\.json: seeds\.0: input should be a valid integer \(got '\.\./"),
        (("seeds",), [], r"seeds\.json: seeds: list should have at least 1 item"),
        (("seeds", 1), -1, r"seeds\.json: seeds\.1: input should be greater than or equal to 0"),
        (("seeds", 1), 2**70, r"seeds\.json: seeds\.1: input should be less than"),
    ],
)
def test_the_message_names_file_key_and_remedy(series, tmp_path, path, value, said):
    document = json.loads((series / "seeds.json").read_text())
    shutil.copytree(series, tmp_path / "runs", symlinks=True)
    (tmp_path / "runs" / "seeds.json").write_text(json.dumps(mutated(document, path, value)))
    with pytest.raises(CheckpointError, match=said):
        runs.resume_seeds(tmp_path / "runs", progress=quiet)


def test_a_summary_of_one_of_several_seeds(series, sampled, tmp_path):
    shutil.copytree(series, tmp_path / "runs", symlinks=True)
    path = tmp_path / "runs" / "seed-1" / "summary.json"
    document = json.loads(path.read_text())
    for place, value in sampled(mutations(document)):
        path.write_text(json.dumps(mutated(document, place, value)))
        says_one_line(lambda: runs.resume_seeds(tmp_path / "runs", progress=quiet))


class Counts(Document):
    counts: dict[str, int]


@pytest.mark.parametrize("key", ["word", "k" * 1000, "two\nlines"])
@pytest.mark.parametrize("number", range(6))
def test_a_message_is_short_and_shows_control_characters(key, number):
    value = (DEEP, "x" * 1000, "\n\x1b[2J", 10.0**300, list(range(10**5)), {"a\nb": 1})[number]
    with pytest.raises(ValueError, match=r"^counts\..* \(got .*\)$") as caught:
        state_of(Counts, {"counts": {key: value}})
    assert len(str(caught.value)) < 400 and str(caught.value).isprintable()


def test_a_run_has_at_least_one_thread(run):
    path = run("adam")
    manifest = json.loads((path / "manifest.json").read_text())
    (path / "manifest.json").write_text(json.dumps({**manifest, "threads": 0}))
    with pytest.raises(CheckpointError, match=r"manifest\.json.*threads"):
        runs.resume(path, progress=quiet())
