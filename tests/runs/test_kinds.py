"""Every kind of experiment has a kind of model, and its name in a run folder leads back to its settings."""

import re
from pathlib import Path
from typing import get_args

import pytest

import refrain
from refrain.config import AnyExperiment
from refrain.errors import CheckpointError, UserError
from refrain.runs.config_document import TASKS, config_document, experiment_from
from refrain.runs.kinds import KINDS, kind_of


def test_every_kind_of_experiment_is_registered():
    assert set(KINDS) == set(TASKS) == set(get_args(AnyExperiment))
    assert len({kind.title for kind in KINDS.values()}) == len(set(TASKS.values())) == len(KINDS)


@pytest.mark.parametrize(("given", "found"), [("quickstart", "'quickstart'"), ({"name": "x"}, "a dict")])
def test_what_is_no_experiment_is_refused_with_the_remedy(given, found, tmp_path):
    with pytest.raises(UserError, match=re.escape(f"refrain.recipe('quickstart') (got {found})")):
        refrain.train(given, tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("settings", KINDS)
def test_the_document_of_an_experiment_leads_back_to_it(settings):
    experiment = settings(name="mine")
    assert kind_of(experiment) is KINDS[settings]
    assert experiment_from(config_document(experiment), Path("run")) == experiment


def test_a_document_without_a_task_is_of_a_language_model():
    (settings,) = [settings for settings, task in TASKS.items() if task == "language-model"]
    document = config_document(settings(name="mine"))
    del document["task"]
    assert experiment_from(document, Path("run")) == settings(name="mine")


@pytest.mark.parametrize("task", ["parser", ["tagger"], None])
def test_a_document_of_an_unknown_kind(task):
    document = config_document(next(iter(TASKS))()) | {"task": task}
    with pytest.raises(CheckpointError, match="unknown task"):
        experiment_from(document, Path("run"))
