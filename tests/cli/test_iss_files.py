"""`refrain train --iss-json`."""

import json

import pytest

from refrain.config import resolve
from refrain.recipes import RECIPES


@pytest.fixture
def l1(tmp_path):
    """The file as it is printed where it comes from, with comments."""
    path = tmp_path / "l1.json"
    path.write_text(
        f'{{\n"save_path": "{tmp_path / "saved"}",\n"learning_rate": 0.5,\n"weight_decay": 0.0001, # lambda\n'
        '"dropout_keep_prob": 0.60\n}\n'
    )
    return path


def test_a_file_trains_as_its_settings_do(refrain, train, tiny_corpus, l1, tmp_path):
    run = refrain(*train(tiny_corpus, "--iss-json", l1, "--json", "training.epochs=1")).json["run"]
    config = json.loads((tmp_path / "run" / "config.json").read_text())["experiment"]
    assert (config["training"]["learning_rate"], config["model"]["dropout"]) == (0.5, 0.4)
    sparsity = config["sparsity"]
    assert (sparsity["l1"]["strength"], sparsity["zeros"]["threshold"]) == (0.0001, 0.0002)
    assert config["training"]["epochs"] == 1
    # what is kept asks for the same again
    again = resolve(f"{run}/recipe.toml", [], RECIPES)
    assert again.model_dump(mode="json") == config


def test_it_says_where_to_save(refrain, train, tiny_corpus, l1, tmp_path):
    words = train(tiny_corpus, "--iss-json", l1, "--json")
    at = words.index("--out")
    run = refrain(*words[:at], *words[at + 2 :]).json["run"]
    assert run.startswith(f"{tmp_path / 'saved'}/zaremba-small-")


def test_mistakes_in_it(mistake, train, tiny_corpus, l1, tmp_path):
    mistake(2, ["train", "--resume", "--out", tmp_path, "--iss-json", l1], "--resume takes the settings from the run")
    mistake(2, train(tiny_corpus, "--iss-json", tmp_path / "none.json"), "none.json: No such file or directory")
    l1.write_text('{"weight_deca": 1}')
    mistake(2, train(tiny_corpus, "--iss-json", l1), "l1.json: weight_deca: unknown key; known: save_path, ")


def test_check_tries_a_file_without_training(refrain, mistake, tiny_corpus, l1, tmp_path):
    small = ("model.embedding_size=8", "model.hidden_sizes=[8,8]", "training.batch_size=2", "training.window_steps=5")
    found = refrain("check", "zaremba-small", "--data", tiny_corpus, "--iss-json", l1, "--json", *small).json
    assert found["ok"] and found["widths"]["layer0.hidden"] == 8
    assert not (tmp_path / "saved").exists()
    wrong = tmp_path / "wrong.json"
    wrong.write_text(
        '{"weight_decay": 0.0, "grouplasso": {"global_decay": 0.1, "Model/nothing": {"row_decay_multi": 1}}}'
    )
    words = ("check", "zaremba-small", "--data", tiny_corpus, "--iss-json", wrong, *small)
    mistake(2, words, f"{wrong}: ", "Model/nothing")
