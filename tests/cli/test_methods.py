"""`refrain evaluate` with every method."""

import shutil

import pytest


@pytest.mark.parametrize("method", ["cache", "dynamic", "dynamic+cache"])
def test_every_method_gives_figures_and_its_settings(refrain, tiny_run, method):
    found = refrain("evaluate", tiny_run, "--method", method, "--json").json
    static = refrain("evaluate", tiny_run, "--json").json
    assert found["method"] == method and found["tokens"] == static["tokens"]
    assert found["nats_per_token"] != static["nats_per_token"]
    assert ("cache_window" in found) == ("cache" in method)
    assert ("dynamic_learning_rate" in found) == ("dynamic" in method)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--method", "cache", "--cache-window", "0"], "window must be at least 1 (got 0)"),
        (["--method", "cache", "--cache-share", "1"], "share must be at least 0 and less than 1"),
        (["--method", "dynamic", "--dynamic-epsilon", "0"], "epsilon"),
        (["--method", "dynamic", "--streams", "0"], "--streams must be at least 1"),
        (["--method", "dynamic+cache", "--streams", "4"], "--streams must be 1 with a cache"),
        (["--cache-window", "5"], "--cache-window cannot take effect with --method static"),
        (["--method", "cache", "--dynamic-rate", "1e-4"], "cannot take effect with --method cache"),
        (["--search", "3"], "--search cannot take effect with --method static"),
        (["--method", "cache", "--protocol", "awd"], "goes with --protocol exact"),
    ],
)
def test_settings_that_cannot_be_are_refused(refrain, tiny_run, words, message):
    outcome = refrain("evaluate", tiny_run, *words)
    assert outcome.status == 2 and message in outcome.err and "Traceback" not in outcome.err


def test_statistics_are_in_the_models_ids_when_the_text_has_changed(refrain, tiny_corpus, tiny_settings, tmp_path):
    """Words that the model does not know are read as <unk>, and never as other words."""
    text = tmp_path / "text"
    shutil.copytree(tiny_corpus, text)
    assert (
        refrain("train", "zaremba-small", *tiny_settings, "--data", text, "--out", tmp_path / "run", "--quiet").status
        == 0
    )
    train = next(path for path in text.iterdir() if "train" in path.name)
    train.write_text("entirely other words that nobody saw before " * 400 + "\n" + train.read_text())
    assert refrain("evaluate", tmp_path / "run", "--method", "dynamic", "--search", "1", "--json").status == 0
