"""Every command reports each step that can take long on standard error, where it appears within three seconds."""

import contextlib

import pytest

from refrain import progress
from refrain.evaluation import kept_statistics


@pytest.fixture
def steps(monkeypatch):
    """The steps that are reported: what each does, and whether the number of its items is known."""
    found = []
    original = progress.Reporter.step

    @contextlib.contextmanager
    def step(self, what, total=None):
        # a reporter without a display is that of --quiet, or of a call in Python
        if self._display is not None:
            found.append((what, total is not None))
        with original(self, what, total) as current:
            yield current

    monkeypatch.setattr(progress.Reporter, "step", step)
    return found


@pytest.fixture
def texts(tmp_path):
    path = tmp_path / "texts.txt"
    path.write_text("ant bee\ncat dog\n")
    return path


WINDOWS = ("measuring the text, in windows", True)
STATISTICS = ("gathering gradient statistics, in windows", True)


@pytest.mark.parametrize(
    ("more", "wanted"),
    [
        ([], [WINDOWS]),
        (["--method", "cache"], [WINDOWS]),
        (["--method", "dynamic"], [STATISTICS, WINDOWS]),
        # the model runs once for all caches
        (["--method", "cache", "--search", "2"], [WINDOWS] * 4),
        (["--per-token", "table.tsv"], [WINDOWS]),
    ],
)
def test_evaluate(refrain, tiny_run, steps, tmp_path, monkeypatch, more, wanted):
    monkeypatch.chdir(tmp_path)
    # gradient statistics are kept in the cache, where another test may have put them
    monkeypatch.setattr(kept_statistics, "cache_folder", lambda: tmp_path / "cache")
    assert refrain("evaluate", tiny_run, *more).status == 0
    assert steps == [("reading the text", False), (f"loading {tiny_run}", False), *wanted]


def test_score_features_generate_and_sparsity(refrain, tiny_run, texts, steps, tmp_path):
    loading = (f"loading {tiny_run}", False)
    out = tmp_path / "states.npz"
    batches = ("reading the texts, in batches", True)
    for words, wanted in [
        (["score", tiny_run, texts], [("scoring lines", False)]),
        (
            ["features", tiny_run, texts, "--out", out],
            [batches, (f"writing {out}", False)],
        ),
        (["generate", tiny_run, "--tokens", 3], []),
        (["generate", tiny_run, "--tokens", 3, "--json"], [("drawing 1 x 3 tokens", False)]),
        (["sparsity", tiny_run], [("counting zeros and dead units", False)]),
    ]:
        steps.clear()
        assert refrain(*words).status == 0
        assert steps == [loading, *wanted]


def test_lines_on_a_terminal_are_progress_enough(refrain, tiny_run, texts, steps, monkeypatch):
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    assert refrain("score", tiny_run, texts).status == 0
    assert steps == [(f"loading {tiny_run}", False)]


def test_compress(refrain, tiny_run, steps, tmp_path, run_copy, kill):
    kill(run_copy, **{"layer0.hidden": 2})
    assert refrain("compress", run_copy, "--out", tmp_path / "small").status == 0
    wanted = ["reading the text", "comparing the models", WINDOWS[0], WINDOWS[0], "timing the models"]
    assert [what for what, _ in steps] == [f"loading {run_copy}", *wanted]


def test_data_check_and_check(refrain, tiny_corpus, steps, tiny_settings):
    assert refrain("data", "check", tiny_corpus).status == 0
    assert [what for what, _ in steps] == ["reading the text", "looking for unusual lines"]
    steps.clear()
    assert refrain("check", "zaremba-small", *tiny_settings, "--data", tiny_corpus).status == 0
    assert [what for what, _ in steps] == ["building the model and training on a few windows"]


def test_train_from_the_corpus_to_the_test_text(refrain, train, tiny_corpus, steps):
    assert refrain(*train(tiny_corpus, "training.epochs=1")).status == 0
    assert [what for what, _ in steps] == [
        "reading the corpus",
        "building the model",
        "measuring the backends",
        "measuring the validation text",
        "measuring the valid text, protocol exact",
        "measuring the test text, protocol exact",
        "measuring the valid text, protocol zaremba",
    ]


def test_quiet_training_and_calls_in_python_report_nothing(refrain, train, tiny_corpus, steps, capsys):
    assert refrain(*train(tiny_corpus, "training.epochs=1"), "--quiet").status == 0
    assert not steps


def test_standard_output_has_the_results_alone(refrain, tiny_run, monkeypatch):
    """Also where each step is reported at once."""
    monkeypatch.setattr(progress, "FIRST_SECONDS", 0.0)
    outcome = refrain("evaluate", tiny_run, "--json")
    assert outcome.json["tokens"] > 0


def test_a_sparse_run_names_the_commands_for_it(refrain, train, tiny_corpus):
    strong = ["sparsity.group_lasso.strength=3", "training.epochs=1"]
    outcome = refrain(*train(tiny_corpus, *strong))
    assert outcome.status == 0, outcome.err
    assert "zeros" in outcome.err and "  left " in outcome.err and " units, " in outcome.err
    assert "refrain sparsity" in outcome.out and "refrain compress" in outcome.out
    dense = refrain(*train(tiny_corpus, "training.epochs=1"), "--force")
    assert "refrain sparsity" not in dense.out
