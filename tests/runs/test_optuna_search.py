"""Optuna's samplers and pruners in a sweep: each result is reported once, and pruned runs end with a checkpoint."""

import shutil

import pytest
from short_runs import quiet
from tagged import write_tsv

from refrain.errors import UserError
from refrain.recipes import RECIPES
from refrain.runs.sweeps import cell_run
from refrain.runs.sweeps.cell_run import Options
from refrain.runs.sweeps.folder import SweepFolder
from refrain.runs.sweeps.plan import Sweep
from refrain.runs.sweeps.status import ranking, status_of
from refrain.runs.sweeps.worker import work, work_on
from refrain.storage.run_folder import RunFolder

TEXT = """extends = "zaremba-small"
data.corpus = "{corpus}"
model.embedding_size = 4
training.epochs = 3
training.batch_size = 4
training.window_steps = 20
training.sample_tokens = 0
training.validation = "exact"
training.device = "cpu"

[sweep]
method = "optuna"
cells = {cells}
{more}

[sweep.space]
training.learning_rate = {{ low = 0.001, high = 10, log = true }}
model.hidden_sizes = [[4], [5]]
"""


@pytest.fixture
def opened(tiny_corpus, write, tmp_path):
    pytest.importorskip("optuna")

    def make(cells, more=""):
        file = write("search.toml", TEXT.format(corpus=tiny_corpus, cells=cells, more=more))
        folder = SweepFolder(tmp_path / "out", Sweep(file, RECIPES))
        folder.open()
        return folder

    return make


def options(folder):
    from refrain.runs.sweeps.optuna_search import OptunaSearch

    return Options(quiet, lambda line: None, search=OptunaSearch(folder))


@pytest.mark.parametrize("sampler", ["tpe", "random"])
def test_every_cell_is_a_trial(opened, sampler):
    folder = opened(4, f'sampler = "{sampler}"')
    given = options(folder)
    assert work(folder, given) == 4
    trials = given.search._study.trials
    assert [trial.state.name for trial in trials] == ["COMPLETE"] * 4
    cells = status_of(folder)
    assert [trial.value for trial in trials] == [cell.valid["perplexity"] for cell in cells]
    rates = [cell.settings["training.learning_rate"] for cell in cells]
    assert len(set(rates)) == 4 and all(0.001 <= rate <= 10 for rate in rates)
    assert {tuple(cell.settings["model.hidden_sizes"]) for cell in cells} <= {(4,), (5,)}
    best = ranking(cells)[0]
    assert best.rank == min(trial.value for trial in trials)
    experiment = folder.cell(best.cells[0].number).experiment
    assert experiment.training.learning_rate == best.settings["training.learning_rate"]


def test_what_was_chosen_and_told_once_stays(opened):
    folder = opened(2)
    search = options(folder).search
    search.choose(1)
    cell = folder.cell(1)
    # as the worker that takes the cell over
    again = options(folder).search
    again.choose(1)
    assert folder.cell(1) == cell and len(again._study.trials) == 1
    for _ in range(2):
        again.tell(1, "done", {"perplexity": 7.0, "nats_per_token": 1.9})
    again.tell(2, "failed", {})
    assert [trial.value for trial in again._study.trials] == [7.0]


def test_settings_that_are_refused_together_are_a_failed_cell(tiny_corpus, write, tmp_path, monkeypatch):
    pytest.importorskip("optuna")
    text = """extends = "quickstart"
    data.corpus = "{corpus}"

    [sweep]
    method = "optuna"
    sampler = "random"
    cells = 12

    [sweep.space]
    model.hidden_sizes = [[8], [10], [12]]
    model.embedding_size = [8, 10, 12]
    """
    folder = SweepFolder(tmp_path / "out", Sweep(write("tied.toml", text.format(corpus=tiny_corpus)), RECIPES))
    folder.open()
    monkeypatch.setattr(cell_run, "train", lambda experiment, path, **more: None)
    given = options(folder)
    assert work(folder, given) == 12
    cells = status_of(folder)
    fits = [cell.settings["model.hidden_sizes"][-1] == cell.settings["model.embedding_size"] for cell in cells]
    assert [cell.state for cell in cells] == ["done" if fit else "failed" for fit in fits] and len(set(fits)) == 2
    assert "model.tied: needs" in cells[fits.index(False)].error
    names = [trial.state.name for trial in given.search._study.trials]
    assert names == ["COMPLETE" if fit else "FAIL" for fit in fits]
    # a worker of an array of jobs finds them stored, and refuses them in the same way
    number = fits.index(False) + 1
    folder.result_path(number).unlink()
    assert work_on(folder, number, options(folder)) and folder.result(number).state == "failed"


def test_a_cell_that_is_trained_again_is_another_trial(opened, monkeypatch):
    folder = opened(3)
    given = options(folder)
    prunes = given.search.prunes
    monkeypatch.setattr(given.search, "prunes", lambda number, record: prunes(number, record) or number == 2)
    train, failing = cell_run.train, [3]

    def fail(experiment, path, **more):
        if int(path.name) in failing:
            raise FloatingPointError("the loss is nan")
        return train(experiment, path, **more)

    monkeypatch.setattr(cell_run, "train", fail)
    assert work(folder, given) == 3
    assert [folder.result(number).state for number in (1, 2, 3)] == ["done", "pruned", "failed"]
    before = [folder.settings(number) for number in (1, 2, 3)]
    # to train cells again, as the documentation says
    failing.clear()
    shutil.rmtree(folder.run(2))
    for number in (2, 3):
        folder.result_path(number).unlink()
    again = options(folder)
    assert work(folder, again) == 2
    assert [folder.result(number).state for number in (1, 2, 3)] == ["done"] * 3
    assert [folder.settings(number) for number in (1, 2, 3)] == before
    trials = again.search._study.trials
    assert [trial.state.name for trial in trials] == ["COMPLETE", "PRUNED", "FAIL", "COMPLETE", "COMPLETE"]
    assert [trial.params for trial in trials[3:]] == [trial.params for trial in trials[1:3]]
    assert [trial.value for trial in trials[3:]] == [folder.result(number).valid["perplexity"] for number in (2, 3)]
    assert trials[3].intermediate_values.keys() == {1, 2}


def test_an_error_of_the_sampler_may_be_of_the_machine(opened, monkeypatch):
    folder = opened(4)
    given = options(folder)
    monkeypatch.setattr(given.search, "_sampler", lambda seed: 1 // 0)
    with pytest.raises(UserError, match="so this worker stops, and cells 1, 2, 3 are left to others"):
        work(folder, given)
    assert not folder.ended()


def test_a_tagger_is_pruned_by_the_figure_that_decides_which_epoch_is_best(write, tmp_path):
    pytest.importorskip("optuna")
    corpus = write_tsv(tmp_path / "tags")
    text = """extends = "pos-default"
    data.corpus = "{corpus}"
    training.best_by = "{best_by}"

    [sweep]
    method = "optuna"
    cells = 1

    [sweep.space]
    training.learning_rate = {{ low = 0.001, high = 1 }}
    """
    for best_by, value in (("f1", -0.25), ("accuracy", -0.75)):
        file = write("tagger.toml", text.format(corpus=corpus, best_by=best_by))
        folder = SweepFolder(tmp_path / best_by, Sweep(file, RECIPES))
        folder.open()
        search = options(folder).search
        search.choose(1)
        search.prunes(1, {"epoch": 1, "accuracy": 0.75, "span_f1": 0.25, "nats_per_token": 2.0})
        assert search._study.trials[0].intermediate_values == {1: value}


def test_a_trial_that_has_ended_is_not_reported_again(opened):
    # as by a worker that was stopped between telling optuna and writing its result
    folder = opened(2)
    search = options(folder).search
    record = {"epoch": 1, "perplexity": 7.0, "nats_per_token": 1.9}
    for number, state in ((1, "pruned"), (2, "failed")):
        search.choose(number)
        search.tell(number, state, {})
        assert search.prunes(number, record) == (state == "pruned")


def test_a_pruned_run_ends_with_a_checkpoint_and_without_a_summary(opened, monkeypatch):
    folder = opened(2, 'pruner = "median"')
    given = options(folder)
    reported = []
    prunes = given.search.prunes

    def prune(number, record):
        reported.append((number, record["epoch"]))
        return prunes(number, record) or (number, record["epoch"]) == (2, 2)

    monkeypatch.setattr(given.search, "prunes", prune)
    assert work(folder, given) == 2
    # the last epoch is not pruned any more
    assert reported == [(1, 1), (1, 2), (2, 1), (2, 2)]
    result = folder.result(2)
    assert result.state == "pruned" and result.valid and not result.test
    assert [trial.state.name for trial in given.search._study.trials] == ["COMPLETE", "PRUNED"]
    run = RunFolder(folder.run(2))
    assert run.newest()[0].document("training")["position"]["epoch"] == 2
    assert not (run.path / "summary.json").exists()
    assert given.search._study.trials[1].intermediate_values.keys() == {1, 2}


def test_the_pruner_compares_with_other_cells(opened):
    folder = opened(8, 'pruner = "median"')
    search = options(folder).search
    for number in range(1, 8):
        search.choose(number)
        for epoch in (1, 2):
            assert not search.prunes(number, {"epoch": epoch, "perplexity": 10.0, "nats_per_token": 2.3})
        search.tell(number, "done", {"perplexity": 10.0, "nats_per_token": 2.3})
    search.choose(8)
    assert search.prunes(8, {"epoch": 1, "perplexity": 20.0, "nats_per_token": 3.0})
    # the same epoch again, after a stop
    assert search.prunes(8, {"epoch": 1, "perplexity": 20.0, "nats_per_token": 3.0})
