"""`refrain compare`: settings that differ, seeds together, and tests whose figures are those of `evaluate`."""

import csv
import io
import json
import math
import shutil
import statistics

import pytest
from tagged import sentences

from refrain import recipe
from refrain.cli.app import main
from refrain.runs.config_document import config_document
from refrain.storage.run_folder import RunFolder


@pytest.fixture(scope="module")
def family(tmp_path_factory, tiny_corpus, tiny_settings):
    """Runs of three seeds, and a wider one."""
    folder = tmp_path_factory.mktemp("family")
    words = ["train", "zaremba-small", *tiny_settings, "training.epochs=1", "--data", tiny_corpus, "--quiet", "--out"]
    for more in ([folder / "seeds", "--seeds", "3"], [folder / "wide", "model.hidden_sizes=[12]"]):
        assert main([str(word) for word in [*words, *more]]) == 0
    return folder


def test_seeds_are_one_row_and_only_what_differs_is_a_column(refrain, family):
    found = refrain("compare", family, "--json").json
    assert found["settings"] == ["model.hidden_sizes"]
    groups = {tuple(group["settings"]["model.hidden_sizes"]): group for group in found["groups"]}
    seeds = groups[(8,)]
    assert seeds["seeds"] == [1, 2, 3] and seeds["runs"] == [str(family / "seeds" / f"seed-{n}") for n in (1, 2, 3)]
    values = [refrain("runs", run, "--json").json["runs"][0]["valid"]["perplexity"] for run in seeds["runs"]]
    wanted = {"name": "perplexity", "mean": statistics.fmean(values), "std": statistics.stdev(values), "count": 3}
    assert seeds["valid"] == pytest.approx(wanted)
    assert groups[(12,)]["valid"]["std"] is None
    means = [group["valid"]["mean"] for group in found["groups"]]
    assert means == sorted(means)


def test_the_test_is_of_the_figures_of_evaluate(refrain, family):
    runs = [family / "seeds" / "seed-1", family / "wide"]
    nats = {str(run): refrain("evaluate", run, "--json").json["nats_per_token"] for run in runs}
    found = refrain("compare", *runs, "--split", "test", "--resamples", "200", "--json").json["groups"]
    best, other = found
    assert best["text"]["nats_per_token"] == pytest.approx(min(nats.values()), rel=1e-6)
    assert "difference" not in best["text"]
    gap = max(nats.values()) - min(nats.values())
    assert other["text"]["difference"] == pytest.approx(gap, rel=1e-4)
    assert other["text"]["low"] <= other["text"]["difference"] <= other["text"]["high"]
    assert other["text"]["lines"] == 40 and other["text"]["resamples"] == 200
    turned = refrain("compare", *runs, "--split", "test", "--against", other["name"], "--json").json["groups"]
    assert turned[0]["text"]["difference"] == pytest.approx(-gap, rel=1e-4)


def test_a_model_is_not_different_from_itself(refrain, family, tmp_path):
    run = family / "wide"
    shutil.copytree(run, tmp_path / "copy", symlinks=True)
    config = json.loads((run / "config.json").read_text())
    config["experiment"]["training"]["log_windows"] += 1
    (tmp_path / "copy" / "config.json").write_text(json.dumps(config))
    first, second = refrain("compare", run, tmp_path / "copy", "--split", "test", "--json").json["groups"]
    assert first["settings"] != second["settings"]
    assert [second["text"][name] for name in ("difference", "low", "high", "p_value")] == [0, 0, 0, 1]


def test_a_copy_is_no_further_seed(refrain, family, tmp_path):
    shutil.copytree(family / "seeds", tmp_path / "copies", symlinks=True)
    outcome = refrain("compare", family / "seeds", tmp_path / "copies", "--json")
    (group,) = outcome.json["groups"]
    assert group["seeds"] == [1, 2, 3] and group["valid"]["count"] == 3
    assert outcome.err.count("note: left out: ") == 3
    assert f"{tmp_path / 'copies' / 'seed-2'}: has the settings, the seed and the figures of {family}" in outcome.err


def test_an_unfinished_run_is_a_row_of_its_own(refrain, family, tmp_path):
    shutil.copytree(family / "seeds", tmp_path / "seeds", symlinks=True)
    for seed in (2, 3):
        (tmp_path / "seeds" / f"seed-{seed}" / "summary.json").unlink()
    groups = refrain("compare", tmp_path / "seeds", "--json").json["groups"]
    assert sorted(group["seeds"] for group in groups) == [[1], [2], [3]]


def test_a_report_of_copies_counts_them_once(refrain, family, tmp_path):
    shutil.copytree(family / "seeds" / "seed-1", tmp_path / "copy", symlinks=True)
    page = tmp_path / "page.html"
    assert refrain("report", family / "seeds" / "seed-1", tmp_path / "copy", "--out", page).status == 0
    text = page.read_text()
    assert "copy is left out, as it has the settings, the seed and the figures of seed-1." in text
    assert "seed-1 +1" not in text


def test_lines_can_be_scored_independently(refrain, family, write):
    text = write("text.txt", "ant bee\ncat dog eel\n" * 3)
    words = ["compare", family / "wide", "--data", text, "--context", "sentence", "--json"]
    (group,) = refrain(*words).json["groups"]
    scores = refrain("score", family / "wide", text).out.splitlines()
    nats = sum(float(line.split("\t")[0]) for line in scores)
    assert group["text"]["nats_per_token"] == pytest.approx(nats / (3 * 7), rel=1e-4)


def test_words_and_bytes_read_the_same_lines(refrain, family, byte_run):
    done = refrain("compare", family / "wide", byte_run, "--split", "test", "--resamples", "50", "--json")
    assert "note: the vocabularies differ; differences are in nats per token of " in done.err
    best, other = [group["text"] for group in done.json["groups"]]
    assert "difference" not in best and other["difference"] > 0
    # a byte has fewer nats than a word, so that only those of the whole text tell which model is better
    nats = [each["nats_per_token"] * each["tokens"] for each in (best, other)]
    assert nats[0] < nats[1]


def test_taggers(refrain, tmp_path):
    from tagged import write_tsv

    corpus = write_tsv(tmp_path / "toy")
    for width in (4, 8):
        words = ["train", "pos-default", "model.embedding_size=8", f"model.hidden_sizes=[{width}]", "--quiet"]
        words += ["training.epochs=2", "training.device=cpu", "--data", corpus, "--out", tmp_path / "runs" / str(width)]
        refrain(*words)
    found = refrain("compare", tmp_path / "runs", "--split", "test", "--resamples", "50", "--json").json["groups"]
    for group in found:
        alone = refrain("evaluate", group["name"], "--json").json
        assert group["text"]["accuracy"] == pytest.approx(alone["accuracy"])
    gap = found[1]["text"]["accuracy"] - found[0]["text"]["accuracy"]
    assert gap <= 0 and found[1]["text"]["difference"] == pytest.approx(gap)


def test_taggers_that_count_other_words_have_no_test(refrain, mistake, tmp_path):
    """The difference would be that of right words over the number of words of one of them."""
    corpus = tmp_path / "toy"
    corpus.mkdir()
    for seed, split in enumerate(("train", "dev", "test")):
        lines = "".join(
            "".join(f"{place}\t{word}\t_\t{tag}\t{tag if place % 2 else '_'}\t_\t0\troot\t_\t_\n"
                    for place, (word, tag) in enumerate(each, 1)) + "\n"
            for each in sentences(20, seed)
        )  # fmt: skip
        (corpus / f"toy-{split}.conllu").write_text(lines)
    for column in ("upos", "xpos"):
        words = ["train", "pos-default", "model.embedding_size=8", "model.hidden_sizes=[4]", "--quiet"]
        words += ["training.epochs=1", f"data.column={column}", "--data", corpus, "--out", tmp_path / "runs" / column]
        assert refrain(*words).status == 0
    mistake(3, ["compare", tmp_path / "runs", "--split", "test"], "counts other words than", "--column")
    assert refrain("compare", tmp_path / "runs", "--split", "test", "--column", "upos").status == 0


def test_a_model_that_reads_more_words_as_unknown_is_named(refrain, family, tiny_corpus, tiny_settings, tmp_path):
    few = tmp_path / "few"
    words = ["zaremba-small", *tiny_settings, "data.max_words=4", "--data", tiny_corpus, "--out", few, "--quiet"]
    assert refrain("train", *words).status == 0
    said = refrain("compare", family / "wide", few, "--split", "test", "--resamples", "50").err
    assert f"note: {few} reads " in said and "words as unknown and" in said and f"which favours {few}" in said
    assert "as unknown: " in said or "unknown words" in said or "<unk>" in said


@pytest.fixture
def finished(tmp_path):
    """Makes a finished run without weights, of a recipe with settings and figures of the validation."""

    def make(name, given, settings, **valid):
        run = RunFolder(tmp_path / "made" / name)
        run.create()
        run.write_json("config.json", config_document(recipe(given, *settings)))
        run.write_json("summary.json", {"valid": valid, "test": valid, "parameters": 9})
        return run.path.parent

    return make


def test_taggers_are_ordered_by_the_figure_that_decides_which_epoch_is_best(refrain, finished):
    for name, accuracy, f1 in (("a", 0.9, 0.3), ("b", 0.8, 0.5), ("c", 0.7, 0.4)):
        given = ["training.best_by=f1", f"training.batch_size={ord(name)}"]
        folder = finished(name, "pos-default", given, accuracy=accuracy, nats_per_token=1.0, spans={"f1": f1})
    # one that is judged by its accuracy has an F1 as well
    finished("d", "pos-default", [], accuracy=0.6, nats_per_token=1.0, spans={"f1": 0.9})
    done = refrain("compare", folder, "--json")
    found = [(group["name"][-1], group["valid"]["name"], group["valid"]["mean"]) for group in done.json["groups"]]
    assert found == [
        ("d", "accuracy", 0.6), ("b", "span_f1", 0.5), ("c", "span_f1", 0.4), ("a", "span_f1", 0.3)
    ]  # fmt: skip
    assert "note: accuracy, span_f1 cannot be compared with each other" in done.err
    assert [row["run"][-1] for row in refrain("runs", folder, "--sort", "figure", "--json").json["runs"]] == list(
        "dbca"
    )


def test_figures_of_different_units_are_apart(refrain, finished):
    bits = math.log(2)
    figures = {
        "words": ("zaremba-small", [], 80.0, 1.1),
        "more": ("zaremba-small", ["training.epochs=2"], 70.0, 1.2),
        "bytes": ("mlstm-bytes", [], 2**1.5, 1.5),
        "other": ("mlstm-bytes", ["training.epochs=2"], 2**1.4, 1.4),
        "characters": ("zaremba-small", ["data.unit=character"], 3.0, 1.3),
    }
    for name, (given, settings, perplexity, each) in figures.items():
        nats = math.log(perplexity) if given == "zaremba-small" else each * bits
        folder = finished(name, given, settings, perplexity=perplexity, nats_per_token=nats, bits_per_byte=each)
    order = ["other", "bytes", "characters", "more", "words"]
    done = refrain("compare", folder, "--format", "csv")
    rows = list(csv.DictReader(io.StringIO(done.out)))
    assert [row["run"].rpartition("/")[2] for row in rows] == order
    assert [row["figure"] for row in rows] == ["bits_per_byte"] * 2 + ["perplexity"] * 3
    note = "note: bits_per_byte, perplexity (character), perplexity (word) cannot be compared with each other"
    assert note in done.err
    found = refrain("runs", folder, "--sort", "figure", "--json").json["runs"]
    assert [row["run"].rpartition("/")[2] for row in found] == order


def test_what_cannot_be_compared_below_a_folder_is_left_out(refrain, mistake, family, tmp_path):
    shutil.copytree(family / "wide", tmp_path / "runs" / "good", symlinks=True)
    for name in ("damaged", "begun"):
        shutil.copytree(family / "wide", tmp_path / "runs" / name, symlinks=True)
    (tmp_path / "runs" / "damaged" / "best" / "model.safetensors").write_bytes(b"")
    for name in ("summary.json", "metrics.jsonl"):
        (tmp_path / "runs" / "begun" / name).unlink()
    done = refrain("compare", tmp_path / "runs", "--split", "test", "--json")
    assert [group["runs"] for group in done.json["groups"]] == [[str(tmp_path / "runs" / "good")]]
    assert done.err.count("note: left out: ") == 2 and "has no validation yet" in done.err
    mistake(4, ["compare", tmp_path / "runs" / "damaged", family], "damaged: is damaged: ")


def test_formats(refrain, family):
    document = refrain("compare", family, "--format", "json").json
    rows = list(csv.DictReader(io.StringIO(refrain("compare", family, "--format", "csv").out)))
    assert [float(row["valid"]) for row in rows] == pytest.approx(
        [group["valid"]["mean"] for group in document["groups"]], rel=1e-5
    )
    several = next(row for row in rows if row["seeds"] == "1 2 3")
    assert float(several["valid std"]) > 0 and several["model.hidden_sizes"] == "[8]"
    head, rule, *lines = refrain("compare", family, "--format", "markdown").out.splitlines()
    assert head.startswith("| run | model.hidden_sizes |") and rule.count("|") == head.count("|") and len(lines) == 2
    text = refrain("compare", family).out.splitlines()
    assert " ± " in "".join(text) and text[0].split()[:2] == ["run", "model.hidden_sizes"]


def test_a_table_of_many_settings_has_a_row_for_each(refrain, family):
    found = refrain("compare", family / "wide", "python-docs", "--json").json
    lines = refrain("compare", family / "wide", "python-docs").out.splitlines()
    assert len(found["settings"]) > 8
    assert [line.split()[0] for line in lines[: 4 + len(found["settings"])]] == [
        "run", *found["settings"], "seeds", "parameters", "figure"
    ]  # fmt: skip
    assert lines[0].split()[1:] == [group["name"] for group in found["groups"]]
    head, *rows = csv.reader(io.StringIO(refrain("compare", family / "wide", "python-docs", "--format", "csv").out))
    assert head[1 : 1 + len(found["settings"])] == found["settings"] and len(rows) == 2


def test_mistakes(refrain, mistake, family, write, tmp_path, tiny_run):
    mistake(2, ["compare"], "which runs?")
    mistake(4, ["compare", tmp_path], "no run is here, nor below")
    mistake(2, ["compare", family, "--context", "sentence"], "--context: cannot take effect without a text")
    mistake(2, ["compare", family, "--split", "test", "--against", tiny_run], "is not one of the runs")
    mistake(2, ["compare", family, "--split", "test", "--resamples", "0"], "--resamples must be at least 1")
    mistake(2, ["compare", family, "--split", "test", "--seed", "-1"], "--seed must be at least 0 (got -1)")
    one = write("one.txt", "ant bee cat\n")
    mistake(3, ["compare", family, "--data", one], "a test draws lines and needs at least 2 (got 1)")
    other = write("other/test.txt", "ant bee\n" * 5).parent
    for split in ("train", "valid"):
        write(f"other/{split}.txt", "ant bee\n" * 30)
    small = ["model.embedding_size=4", "model.hidden_sizes=[4]", "training.epochs=1", "training.batch_size=2"]
    small += ["training.window_steps=3", "--data", other, "--out", tmp_path / "o", "--quiet"]
    refrain("train", "zaremba-small", *small)
    mistake(3, ["compare", family / "wide", tmp_path / "o", "--split", "test"], "has another text than")


@pytest.fixture(scope="module")
def rounded(family):
    """A run and its copy with int8 weights."""
    run, small = family / "wide", family / "small" / "int8"
    assert main(["compress", str(run), "--weights", "int8", "--out", str(small)]) == 0
    return run, small


def test_a_compressed_run_is_no_further_seed(refrain, rounded, tiny_corpus):
    run, small = rounded
    found = refrain("compare", run, small.parent, "--json").json
    assert found["settings"] == ["compressed_from", "weights"]
    plain, other = found["groups"]
    assert (plain["runs"], plain["settings"]) == ([str(run)], {})
    assert other["settings"] == {"compressed_from": str(run), "weights": "int8"}
    summary = json.loads((small / "summary.json").read_text())
    assert other["valid"] == {} and other["test"]["mean"] == pytest.approx(summary["after"]["perplexity"])
    tested = refrain("compare", run, small.parent, "--data", tiny_corpus / "test.txt", "--json").json["groups"]
    assert {group["name"] for group in tested} == {str(run), str(small)}


def test_two_compressed_copies_of_a_run_are_no_seeds_of_each_other(refrain, rounded, tmp_path):
    """They can differ in what no setting says, such as the zeros in their weights."""
    run, small = rounded
    copy = shutil.copytree(small, tmp_path / "copy", symlinks=True)
    summary = json.loads((small / "summary.json").read_text())
    summary["after"]["perplexity"] += 1
    (copy / "summary.json").write_text(json.dumps(summary))
    groups = refrain("compare", run, small, copy, "--json").json["groups"]
    assert sorted(group["runs"] for group in groups) == sorted([[str(run)], [str(small)], [str(copy)]])


def test_the_list_has_what_is_known_of_a_compressed_run(refrain, rounded, tmp_path):
    run, small = rounded
    summary = json.loads((small / "summary.json").read_text())
    (entry,) = refrain("runs", small, "--json").json["runs"]
    assert entry["test"]["perplexity"] == summary["after"]["perplexity"] and entry["valid"] == {}
    assert refrain("runs", small).out.splitlines()[1].split()[6] == "-"
    assert refrain("watch", small, "--all").out.splitlines()[1].split()[2] == "-"
    # figures of another text are not those of the test text
    copy = shutil.copytree(small, tmp_path / "copy", symlinks=True)
    (copy / "summary.json").write_text(json.dumps({**summary, "data": "other.txt"}))
    assert refrain("runs", copy, "--json").json["runs"][0]["test"] == {}
    assert (
        f"has no curves, as it was compressed and not trained; draw {run}"
        in refrain("plot", small, "--out", tmp_path / "x.svg").err
    )


def test_a_compressed_model_of_bytes_has_the_bits_of_its_run(byte_run, tmp_path):
    from refrain.runs.listing import entry_of

    assert main(["compress", str(byte_run), "--weights", "int8", "--out", str(tmp_path / "small")]) == 0
    before, after = (entry_of(path).test["bits_per_byte"] for path in (byte_run, tmp_path / "small"))
    assert after == pytest.approx(before, rel=0.01)


def test_a_run_that_started_from_another_is_no_further_seed(refrain, family, tmp_path, tiny_corpus, tiny_settings):
    run = family / "wide"
    words = ["train", "zaremba-small", *tiny_settings, "training.epochs=1", "model.hidden_sizes=[12]", "--quiet"]
    assert refrain(*words, "--data", tiny_corpus, "--out", tmp_path / "run", "--from", run).status == 0
    found = refrain("compare", run, tmp_path / "run", "--json").json
    assert found["settings"] == ["started_from"] and len(found["groups"]) == 2
