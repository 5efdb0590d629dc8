"""`refrain evaluate` with every method."""

import math
import shutil

import pytest

from refrain.cli.evaluate_report import number_text
from refrain.evaluation import measure


@pytest.mark.parametrize("method", ["cache", "match", "dynamic", "dynamic+cache", "dynamic+match"])
def test_every_method_gives_figures_and_its_settings(refrain, tiny_run, method):
    found = refrain("evaluate", tiny_run, "--method", method, "--json").json
    static = refrain("evaluate", tiny_run, "--json").json
    assert found["method"] == method and found["tokens"] == static["tokens"]
    assert found["nats_per_token"] != static["nats_per_token"]
    assert ("cache_window" in found) == ("cache" in method)
    assert ("dynamic_learning_rate" in found) == ("dynamic" in method)
    assert ("match_from" in found) == ("match" in method)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--method", "cache", "--cache-window", "0"], "refrain: --cache-window must be at least 1 (got 0)"),
        (["--method", "cache", "--cache-share", "1"], "refrain: --cache-share must be at least 0 and less than 1"),
        (["--method", "cache", "--cache-flatness", "-1"], "refrain: --cache-flatness must be from 0 to 1,000,000"),
        (["--method", "dynamic", "--dynamic-rate", "inf"], "refrain: --dynamic-rate must be at least 0 and finite"),
        (["--method", "dynamic", "--dynamic-decay", "nan"], "refrain: --dynamic-decay must be at least 0 and finite"),
        (["--method", "dynamic", "--dynamic-epsilon", "0"], "refrain: --dynamic-epsilon must be greater than 0"),
        (["--method", "dynamic", "--streams", "0"], "--streams must be at least 1"),
        (["--method", "dynamic+cache", "--streams", "4"], "--streams must be 1 with a cache"),
        (["--method", "dynamic+match", "--streams", "4"], "--streams must be 1 with matches"),
        (["--method", "match", "--match-longest", "0"], "refrain: --match-longest must be from 1 to 512 (got 0)"),
        (["--method", "match", "--match-longest", "513"], "--match-longest must be from 1 to 512 (got 513)"),
        (["--method", "match", "--split", "train"], "which has all of its tokens; give --match-from history"),
        (["--match-from", "history"], "--match-from cannot take effect with --method static"),
        (["--method", "match", "--search", "3"], "--search cannot take effect with --method match"),
        (["--cache-window", "5"], "--cache-window cannot take effect with --method static"),
        (["--method", "cache", "--dynamic-rate", "1e-4"], "cannot take effect with --method cache"),
        (["--search", "3"], "--search cannot take effect with --method static"),
        (["--method", "cache", "--protocol", "awd"], "requires --protocol exact"),
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


def test_several_methods_have_a_row_each(refrain, tiny_run, monkeypatch, tmp_path):
    """Each figure is that of the method alone, whatever was measured before it: the weights are put back.

    The statistics are gathered once, and then found in the cache.
    """
    monkeypatch.setattr("refrain.evaluation.kept_statistics.cache_folder", lambda: tmp_path / "cache")
    settings = {"cache": ["--cache-window", "50"], "dynamic": ["--dynamic-rate", "1e-3"]}
    methods = ["dynamic+cache", "dynamic", "static", "cache"]
    words = [word for method in methods for word in ("--method", method)]
    gathered = []
    gather = measure.gather_statistics
    monkeypatch.setattr(
        measure, "gather_statistics", lambda *given, **more: gathered.append(1) or gather(*given, **more)
    )
    found = refrain("evaluate", tiny_run, *words, *settings["cache"], *settings["dynamic"], "--json").json
    assert list(found) == ["run", "checkpoint", "corpus", "split", "protocol", "unseen", "warnings", "figures"]
    assert list(found["figures"]) == methods
    assert len(gathered) == 1
    for method, figure in found["figures"].items():
        own = [word for part, given in settings.items() if part in method for word in given]
        alone = refrain("evaluate", tiny_run, "--method", method, *own, "--json").json
        assert {key: alone[key] for key in figure if key != "tokens_per_second"} == {
            key: value for key, value in figure.items() if key != "tokens_per_second"
        }
    assert len(gathered) == 1
    assert len({figure["nats_per_token"] for figure in found["figures"].values()}) == len(methods)


def test_all_methods_as_a_table(refrain, tiny_run):
    lines = refrain("evaluate", tiny_run, "--method", "all", "--split", "valid").out.splitlines()
    blank = lines.index("")
    assert [line.split()[0] for line in lines[:blank]] == ["run", "checkpoint", "corpus", "unseen"]
    head, *rows = [line.split() for line in lines[blank + 1 :]]
    assert head[:4] == ["method", "split", "protocol", "tokens"] and head[-1] == "settings"
    assert [row[0] for row in rows] == ["static", "cache", "match", "dynamic", "dynamic+cache", "dynamic+match"]
    assert all(row[1:3] == ["valid", "exact"] for row in rows)
    assert "cache_window 2000, cache_flatness 1" in lines[-5] and "match_from train" in lines[-4]


def test_a_search_among_several_methods_leaves_the_static_one_alone(refrain, tiny_run):
    words = ["--method", "static", "--method", "cache", "--search", "2", "--json"]
    found = refrain("evaluate", tiny_run, *words).json["figures"]
    assert found["static"]["nats_per_token"] == refrain("evaluate", tiny_run, "--json").json["nats_per_token"]
    assert set(found["cache"]) > {"cache_flatness", "cache_share"}


def test_a_search_of_dynamic_settings_keeps_the_matches(refrain, tiny_run):
    words = ["--method", "dynamic+match", "--match-from", "history", "--match-longest", "5", "--search", "1", "--json"]
    found = refrain("evaluate", tiny_run, *words).json
    assert (found["match_from"], found["match_longest"], found["dynamic_steps"]) == ("history", 5, 5)


@pytest.mark.parametrize("split", ["valid", "test"])
def test_a_note_where_settings_are_chosen_on_what_is_measured(refrain, tiny_run, split):
    done = refrain("evaluate", tiny_run, "--method", "cache", "--search", "1", "--split", split)
    note = "note: the settings of --search are chosen on the validation text, which is what is measured"
    assert (note in done.err) == (split == "valid")


def test_a_text_of_the_run_that_is_named_is_known_by_its_content(refrain, mistake, tiny_run, tiny_corpus, tmp_path):
    search = ["--method", "cache", "--search", "1"]
    note = "chosen on the validation text, which is what is measured"
    copy = shutil.copy(tiny_corpus / "valid.txt", tmp_path / "copy.txt")
    for place in (["--data", tiny_corpus, "--split", "valid"], ["--data", copy]):
        assert f"the settings of --search are {note}" in refrain("evaluate", tiny_run, *search, *place).err
        assert f"weights of the matches are {note}" in refrain("evaluate", tiny_run, "--method", "match", *place).err
    assert note not in refrain("evaluate", tiny_run, *search, "--data", tiny_corpus, "--split", "test").err
    train = ["--data", tiny_corpus, "--split", "train", "--method", "match"]
    for runs in ([tiny_run], [tiny_run, tiny_run]):
        mistake(2, ["evaluate", *runs, *train], "the text of --data, which is the training text of the run, cannot be")


def test_weights_that_run_away_while_they_are_adapted_are_no_fault_of_the_training(refrain, tiny_run):
    words = ["--method", "static", "--method", "dynamic", "--dynamic-rate", "1e9"]
    done = refrain("evaluate", tiny_run, *words)
    assert "method dynamic, is inf: the weights ran away" in done.err and "lower --dynamic-rate (got 1e+09)" in done.err
    assert "training.learning_rate" not in done.err


def test_large_figures_are_in_scientific_notation(refrain, tiny_run):
    done = refrain("evaluate", tiny_run, "--method", "dynamic", "--dynamic-rate", "1e9")
    nats = float(next(line for line in done.out.splitlines() if line.startswith("nats_per_token")).split()[1])
    assert nats > 1e6 and "e+" in done.out
    assert number_text(999_999.5) == "999,999.5000" and number_text(1e6) == "1.0000e+06"
    assert number_text(math.inf) == "inf"


def test_one_method_named_twice_is_one(refrain, tiny_run):
    words = ["--method", "static", "--method", "static", "--json"]
    assert refrain("evaluate", tiny_run, *words).json["method"] == "static"
