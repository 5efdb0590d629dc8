"""`refrain sparsity` and `refrain compress`, from a run steered to a size to the smaller one."""

import base64
import json
import random
import re
import subprocess
import sys

import pytest

SETTINGS = (
    "model.embedding_size=8", "model.hidden_sizes=[12,10]", "training.epochs=8", "training.batch_size=4",
    "training.window_steps=10", "training.sample_tokens=0", "training.log_windows=5",
    "sparsity.group_lasso.strength=0.01",
    "sparsity.target.parameters=1000", "training.validation=exact",
)  # fmt: skip
AGES, ANIMALS = ("old", "young", "small"), ("cat sleeps", "dog barks", "bird sings", "fish swims")
PNG = b"\x89PNG\r\n\x1a\n"


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run whose model has 1,000 parameters in living units, of 2,194."""
    from refrain.cli.app import main

    text, out = tmp_path_factory.mktemp("text"), tmp_path_factory.mktemp("runs") / "sparse run"
    draw = random.Random(1)
    for split, lines in (("train", 150), ("valid", 30), ("test", 30)):
        rows = [f"the {draw.choice(AGES)} {draw.choice(ANIMALS)}\n" for _ in range(lines)]
        (text / f"{split}.txt").write_text("".join(rows))
    words = ["train", "zaremba-small", *SETTINGS, "--data", text, "--out", out, "--quiet"]
    assert main([str(word) for word in words]) == 0
    return out


def test_the_page_shows_where_units_went(refrain, run, tmp_path):
    written = (run / "report.html").read_text()
    widths = refrain("sparsity", run, "--json").json["widths"]
    for name, row in widths.items():
        assert f"{name}: {row['left']:,} of {row['units']:,} units are kept" in written
    pictures = [base64.b64decode(found) for found in re.findall(r"data:image/png;base64,([^\"]+)", written)]
    assert len(pictures) == 6 and all(picture.startswith(PNG) for picture in pictures)
    for title in ("Zeros in the matrices", "Units that are not dead", "Size once compacted", ">target</text>"):
        assert title in written
    # of a compressed run, what it was and what it is
    small = tmp_path / "small"
    assert refrain("compress", run, "--out", small).status == 0
    assert refrain("report", small, "--out", tmp_path / "small.html").status == 0
    shown = (tmp_path / "small.html").read_text()
    left = refrain("sparsity", run, "--json").json["compact_parameters"]
    assert f'<td class="t">parameters</td><td>2,194</td><td>{left:,}</td>' in shown and "perplexity" in shown
    # the command loads the model for the same pictures
    assert refrain("report", run, "--out", tmp_path / "x.html").status == 0
    assert (tmp_path / "x.html").read_text().count("data:image/png") == 6
    pytest.importorskip("matplotlib")
    drawn = refrain("plot", run, "--curves", "sparsity", "--out", tmp_path / "x.svg", "--json").json["charts"]
    assert drawn[:3] == ["Zeros in the matrices", "Units that are not dead", "Size once compacted"]


def test_the_report(refrain, run, tree):
    before = tree(run)
    found = refrain("sparsity", run, "--json").json
    assert {"run", "checkpoint", "zeros", "widths", "tensors", "parameters", "compact_parameters"} <= found.keys()
    assert found["parameters"] == 2194 and found["compact_parameters"] <= 1000
    assert found["compact_multiply_adds"] < found["multiply_adds"] == 1980
    widths = found["widths"]
    assert widths.keys() == {"embedding", "layer0.hidden", "layer1.hidden"}
    assert all(row["units"] == row["dead"] + row["left"] for row in widths.values())
    recurrent = found["tensors"]["stack.layers.0.weight_hh"]
    assert recurrent["shape"] == [48, 12] and recurrent["zero_columns"] >= widths["layer0.hidden"]["dead"]
    text = refrain("sparsity", run).out
    assert f"layer0.hidden  12     {widths['layer0.hidden']['dead']:<4}  {widths['layer0.hidden']['left']}\n" in text
    assert re.search(r"^stack\.layers\.0\.weight_hh  48 x 12  \d+\.\d% ", text, re.MULTILINE)
    assert re.search(rf"^parameters +2,194 +{found['compact_parameters']:,} +\d+\.\d%$", text, re.MULTILINE)
    assert f"next:  refrain compress '{run}' --out SMALL" in text
    assert tree(run) == before


def test_the_picture_is_a_png(refrain, run, tmp_path, tree):
    pytest.importorskip("matplotlib")
    before = tree(run)
    assert refrain("sparsity", run, "--plot", tmp_path / "x.png").status == 0
    picture = (tmp_path / "x.png").read_bytes()
    assert picture.startswith(PNG)
    width, height = (int.from_bytes(picture[place : place + 4], "big") for place in (16, 20))
    assert width > 1000 and height > 1000
    # of a checkpoint away from its run, the course of training is not known
    refrain("sparsity", run / "best", "--plot", tmp_path / "same.png")
    assert (tmp_path / "same.png").read_bytes()[16:24] == picture[16:24]
    (tmp_path / "alone").mkdir()
    for file in (run / "best").iterdir():
        (tmp_path / "alone" / file.name).write_bytes(file.read_bytes())
    assert refrain("sparsity", tmp_path / "alone", "--plot", tmp_path / "alone.png").status == 0
    assert int.from_bytes((tmp_path / "alone.png").read_bytes()[20:24], "big") < height
    assert tree(run) == before


def test_the_page_needs_nothing_else(refrain, run, tmp_path):
    pytest.importorskip("matplotlib")
    found = refrain("sparsity", run, "--plot", tmp_path / "x.html", "--json").json
    page = (tmp_path / "x.html").read_text()
    assert page.startswith("<!doctype html>") and not re.search(r"https?:|<script|<link|@import|url\(", page)
    pictures = re.findall(r'<img alt="([^"]+)" src="data:image/png;base64,([^"]+)">', page)
    assert [name for name, _ in pictures] == ["Matrices", "Norms of the units&#x27; groups", "Training"]
    assert all(base64.b64decode(content).startswith(PNG) for _, content in pictures)
    assert f"<td>{found['compact_parameters']:,}</td>" in page and "<td>layer1.hidden</td>" in page


def test_pictures_need_matplotlib_and_say_so(mistake, run, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    mistake(2, ["sparsity", run, "--plot", tmp_path / "x.png"], "pip install 'refrain-lm[plot]'")
    assert list(tmp_path.iterdir()) == []


def test_no_display_is_asked_for(run, tmp_path, own_environment):
    pytest.importorskip("matplotlib")
    environment = {**own_environment, "DISPLAY": "", "MPLBACKEND": "TkAgg"}
    words = [sys.executable, "-c", "from refrain.cli import run; run()", "sparsity", run, "--plot", tmp_path / "x.png"]
    assert subprocess.run(words, env=environment, capture_output=True, timeout=120).returncode == 0


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (["--plot", "x.svg"], ["--plot must end in .png or .html (got 'x.svg')"]),
        (["--plot", "no/x.png"], ["--plot: no/x.png must be a file in a folder that exists"]),
        (["--force"], ["--force cannot take effect without --plot"]),
    ],
)
def test_mistakes_in_the_words_of_sparsity(mistake, run, tmp_path, monkeypatch, words, parts):
    monkeypatch.chdir(tmp_path)
    mistake(2, ["sparsity", run, *words], *parts)
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_exists_is_replaced_when_asked(refrain, mistake, run, write):
    pytest.importorskip("matplotlib")
    there = write("x.png", "mine")
    mistake(4, ["sparsity", run, "--plot", there], "--plot:", "exists; choose another path, or replace it with --force")
    assert there.read_text() == "mine"
    assert refrain("sparsity", run, "--plot", there, "--force").status == 0
    assert there.read_bytes().startswith(PNG)


def test_layers_that_are_not_in_a_stack_have_no_size(refrain, mistake, run, tiny_corpus, tiny_settings, monkeypatch):
    assert "multiply-adds per token of the layers" in refrain("sparsity", run).out
    monkeypatch.setattr("refrain.sparsity.sizes.LAYERS", "elsewhere.")
    assert "multiply-adds per token of the layers" not in refrain("sparsity", run).out
    words = ["sparsity.group_lasso.strength=0.01", "sparsity.target.layer_multiply_adds=10", "--data", tiny_corpus]
    mistake(
        2,
        ["check", "zaremba-small", *tiny_settings, *words],
        "sparsity.target.layer_multiply_adds: the model has no parameter under stack., where recurrent layers are; use",
    )


def test_a_run_without_living_units(refrain, mistake, tiny_corpus, tiny_settings, tmp_path):
    words = [*tiny_settings, "training.epochs=1", "sparsity.group_lasso.strength=100"]
    run = tmp_path / "run"
    assert refrain("train", "zaremba-small", *words, "--data", tiny_corpus, "--out", run).status == 0
    shown = refrain("sparsity", run).out
    assert "are dead, so that nothing passes through them: this model cannot be compacted; train with a" in shown
    assert "refrain compress" not in shown
    mistake(2, ["compress", run, "--out", tmp_path / "small"], "are dead already, so that nothing passes through them")


def test_a_run_without_dead_units(refrain, mistake, tiny_run, tmp_path):
    assert "no unit is dead: compaction has nothing to remove" in refrain("sparsity", tiny_run).out
    said = (
        "nothing to remove: no unit of embedding, layer0.hidden is dead; give a --threshold or a smaller size with --to"
    )
    mistake(2, ["compress", tiny_run, "--out", tmp_path / "x"], said)
    assert not (tmp_path / "x").exists()


def test_compaction(refrain, run, tmp_path, tree):
    before = tree(run)
    report = refrain("sparsity", run, "--json").json
    found = refrain("compress", run, "--out", tmp_path / "small", "--json").json
    keys = {"widths", "parameters", "bytes", "multiply_adds", "layer_multiply_adds"}
    keys |= {"perplexity", "ms_per_token", "tokens_per_second"}
    assert keys <= found["before"].keys() and keys <= found["after"].keys() and "finetuned" not in found
    for name in ("parameters", "multiply_adds", "layer_multiply_adds"):
        assert found["before"][name] == report[name] > found["after"][name] == report[f"compact_{name}"]
    card = (tmp_path / "small" / "README.md").read_text()
    assert f"| layer-multiply-adds | 1,840 | {report['compact_layer_multiply_adds']:,} |" in card
    assert "multiply-adds per token of the layers" in refrain("sparsity", run).out
    assert found["max_abs_difference"] <= 1e-5
    dense, small = (refrain("evaluate", place, "--json").json for place in (run, tmp_path / "small"))
    assert small["perplexity"] == pytest.approx(dense["perplexity"], rel=1e-6)
    assert small["perplexity"] == pytest.approx(found["after"]["perplexity"], rel=1e-6)
    assert refrain("sparsity", tmp_path / "small", "--json").json["parameters"] == report["compact_parameters"]
    assert refrain("generate", tmp_path / "small", "--tokens", "3").status == 0
    assert tree(run) == before


def test_compaction_to_a_size_in_words(refrain, run, tmp_path):
    small = tmp_path / "a small one"
    outcome = refrain("compress", run, "--out", small, "--to", "parameters=0.5k", "--max-loss", "900%")
    assert outcome.err.endswith(f"wrote {small}\n")
    assert outcome.status == 0
    (line,) = (line for line in outcome.out.splitlines() if line.startswith("parameters"))
    assert int(line.split()[1].replace(",", "")) == 2194 and int(line.split()[2]) <= 500
    assert "log-probabilities equal those of the model with these units set to zero to" in outcome.out
    assert outcome.out.endswith(
        f"\nnext:  refrain evaluate '{small}'\n       refrain train --from '{small}' --out FINETUNED\n"
    )


def test_int8_weights(refrain, run, tmp_path):
    found = refrain("compress", run, "--out", tmp_path / "small", "--weights", "int8", "--json").json
    assert found["weights"] == "int8" and found["after"]["bytes"] < found["before"]["bytes"]
    # dead units are gone, which changes the order of sums
    stored, rounded = (refrain("evaluate", place, *more, "--json").json["perplexity"] for place, more in (
        (tmp_path / "small", []), (run, ["--weights", "int8"]),
    ))  # fmt: skip
    assert stored == pytest.approx(rounded, rel=1e-5) == pytest.approx(found["after"]["perplexity"], rel=1e-5)


def test_lower_ranks_and_prepared_text(refrain, run, tmp_path, write):
    text = write("mine.txt", "The OLD cat sleeps\n" * 30)
    words = ["--embedding", "rank=3", "--head", "rank=50%", "--max-loss", "900%", "--data", text]
    plain = refrain("compress", run, "--out", tmp_path / "a", *words, "--json").json
    lower = refrain("compress", run, "--out", tmp_path / "b", *words, "--lowercase", "--json").json
    assert plain["ranks"]["embedding"] == lower["ranks"]["embedding"] == 3
    assert lower["before"]["perplexity"] != plain["before"]["perplexity"]
    vocabularies = [json.loads((place / "best" / "vocabulary.json").read_text()) for place in (run, tmp_path / "b")]
    assert vocabularies[0] == vocabularies[1]
    assert "head.rank" in refrain("compress", run, "--out", tmp_path / "c", *words).out


def test_ranks_of_bands(refrain, run, tmp_path):
    words = ["--embedding", "bands=0:50%,3:2", "--head", "bands=0:4,3:2,5:1", "--max-loss", "900%"]
    found = refrain("compress", run, "--out", tmp_path / "small", *words, "--json").json
    assert found["ranks"]["head"] == [[0, 4], [3, 2], [5, 1]]
    assert found["ranks"]["embedding"][1] == [3, 2] and found["after"]["widths"]["head.rank2"] == 1
    evaluated = refrain("evaluate", tmp_path / "small", "--json").json["perplexity"]
    assert evaluated == pytest.approx(found["after"]["perplexity"], rel=1e-6)


def test_the_bench_of_sizes(refrain, mistake, run, tiny_run):
    rows = refrain("bench", "sizes", "--run", run, "--run", run / "best", "--json").json["rows"]
    names = [row["name"] for row in rows]
    assert names[0] == str(run) and names[-1].startswith(str(run / "best"))
    assert rows[0]["int8"]["bytes"] < rows[0]["float32"]["bytes"]
    (pruned,) = (row for row in rows if row["name"].endswith("90% zeros by magnitude"))
    assert pruned["zeros"] == pytest.approx(0.9, abs=0.02) and pruned["float32"]["bytes"] < rows[0]["float32"]["bytes"]
    assert any("bands" in row["name"] for row in rows)
    dead = next(row for row in rows if row["name"].endswith("dead units"))
    assert dead["float32"]["perplexity"] == pytest.approx(rows[0]["float32"]["perplexity"], rel=1e-5)
    assert "float32 bytes" in refrain("bench", "sizes", "--run", tiny_run).out
    mistake(2, ["bench", "sizes", "--run", run, "--run", tiny_run], "has another vocabulary than")
    mistake(2, ["bench", "sizes"], "give the folder of one with --run")
    mistake(2, ["bench", "sizes", "--run", run, "--windows", "3"], "--windows cannot take effect in bench sizes")


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (["--to", "bytes=900KB"], ["--to bytes=900k: the model has ", "which is no more than that"]),
        (["--to", "parameters=2MB"], ["--to must be parameters=N", "or bytes=2MB (got 'parameters=2MB')"]),
        (["--embedding", "64"], ["--embedding must be rank=N or a percentage of the width", "(got '64')"]),
        (["--head", "rank=9999"], ["--head rank=9999: must be at least 1 and below the present width"]),
        (
            ["--head", "bands=0:9999,2:3"],
            ["--head bands=0:9999,2:3: each rank must be at least 1 and at most the present"],
        ),
        (["--head", "bands=2:9,3:3"], ["--head bands=2:9,3:3: the words at which bands start must ascend from 0"]),
        (["--head", "bands=0:2,500000:1"], ["a band starts at word 500,000, but the last of "]),
        (["--embedding", "bands=0:x"], ["--embedding must be rank=N", "bands=0:64,1000:25% (got 'bands=0:x')"]),
        (["--embedding", "0:4,2:3"], ["(got '0:4,2:3')"]),
        (["--weights", "int8", "--finetune-epochs", "1"], ["--weights int8 cannot take effect with --finetune-epochs"]),
        (
            ["--to", "weights=3"],
            ["--to must be parameters=N, multiply_adds=N, layer_multiply_adds=N or", "(got 'weights=3')"],
        ),
        (["--to", "parameters=-3"], ["as in parameters=7M"]),
        (["--to", "parameters=1"], ["--to parameters=1: parameters cannot go below 66"]),
        (["--to", "parameters=1M"], ["--to parameters=1M: the model has 2,194, which is no more than that"]),
        (["--to", "parameters=100%"], ["--to parameters=100%: a percentage must be between 0% and 100%"]),
        (["--max-loss", "1%"], ["--max-loss cannot take effect without --to or --threshold"]),
        (["--to", "parameters=50%", "--max-loss", "0.2"], ["--max-loss must be a percentage, as in 20% (got '0.2')"]),
        (["--threshold", "0"], ["--threshold must be greater than 0"]),
        (["--threshold", "nan"], ["--threshold must be greater than 0"]),
        (["--threshold", "1000"], ["are dead with --threshold 1000; ask for less"]),
        (["--finetune-epochs", "-1"], ["--finetune-epochs must be at least 0"]),
    ],
)
def test_mistakes_in_the_words_of_compress(mistake, run, tmp_path, words, parts):
    mistake(2, ["compress", run, "--out", tmp_path / "small", *words], *parts)
    assert list(tmp_path.iterdir()) == []


def test_runs_that_are_not_there_and_places_that_are_taken(refrain, mistake, run, tmp_path, tree):
    mistake(4, ["sparsity", tmp_path / "gone"], "no such run folder")
    mistake(4, ["compress", tmp_path / "gone", "--out", tmp_path / "x"], "no such run folder")
    mistake(2, ["compress", run], "--out")
    refrain("compress", run, "--out", tmp_path / "small")
    before = tree(tmp_path)
    mistake(4, ["compress", run, "--out", tmp_path / "small"], "exists already", "or replace it with --force")
    mistake(2, ["compress", run, "--out", run, "--force"], "which must not be changed; choose another folder")
    mistake(3, ["compress", run, "--out", tmp_path / "x", "--data", tmp_path / "gone"], "no such file or folder")
    assert tree(tmp_path) == before
    assert refrain("compress", run, "--out", tmp_path / "small", "--force").status == 0


def test_the_benches_of_small_models(refrain):
    small = ["model.embedding_size=6", "model.hidden_sizes=[6,6]", "training.batch_size=2", "training.window_steps=3"]
    few = ["--windows", "1", "--repeats", "1", "--json"]
    rows = [r for r in refrain("bench", "compress", *small, "--widths", "3,2", *few).json["rows"] if r["ratio"]]
    assert [row["name"].rpartition(" ")[2] for row in rows] == ["6-6", "3-2", "6-6", "3-2"]
    assert [row["ratio"] for row in rows][::2] == [1.0, 1.0]
    assert all(0 < row.get("of_limit", row.get("of_copy")) < 2 for row in rows)
    rows = [r for r in refrain("bench", "group-lasso", *small, *few).json["rows"] if r["ratio"]]
    assert [row["name"] for row in rows] == ["without", "proximal steps", "gradient and threshold"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--widths", "3"], "bench compress needs a width for each of 2 layers (got 1)"),
        (["--widths", "3;2"], "--widths must be whole numbers separated by commas, as in 373,315 (got '3;2')"),
    ],
)
def test_widths_that_a_bench_cannot_take(mistake, words, message):
    mistake(2, ["bench", "compress", *words], message)
