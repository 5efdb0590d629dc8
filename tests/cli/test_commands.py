"""Every command, what it prints, and the keys that `--json` promises."""

import ast
import csv
import io
import json
import re
import sys

import pytest

from refrain.cli.app import COMMANDS
from refrain.cli.recipe_text import recipe_text
from refrain.config import resolve
from refrain.data.known import KNOWN, KnownCorpus, Remote
from refrain.nn.kernels import compile as native
from refrain.recipes import RECIPES, recipe

FIGURES = {"tokens", "nats_per_token", "perplexity", "protocol"}


def test_help_and_version(refrain):
    helped = refrain("--help")
    assert helped.status == 0
    assert all(name in helped.out for name in COMMANDS)
    assert refrain("--version").out.startswith("0.")
    assert refrain().out == helped.out


@pytest.mark.parametrize("command", [*COMMANDS, "data list", "data fetch", "data check"])
def test_every_command_has_help(refrain, command):
    outcome = refrain(*command.split(), "--help")
    assert (outcome.status, outcome.err) == (0, "")
    assert f"Usage: refrain {command}" in outcome.out
    assert "--json" in outcome.out


def test_help_is_wrapped_for_the_terminal_alone(refrain):
    """A line has a single word only if the next line could not follow it there."""
    lines = [line.strip("│ ") for line in refrain("evaluate", "--help").out.splitlines()]
    text = lines[next(at for at, line in enumerate(lines) if line.startswith("--protocol")) :]
    (end,) = [at for at, line in enumerate(text) if line.startswith("--method")]
    widths = [len(line) for line in text[1 : end - 1]]
    assert widths and min(widths) > max(widths) - 15, text[:end]


def test_recipes(refrain):
    found = refrain("recipes", "--json").json
    assert [row["name"] for row in found["recipes"]] == list(RECIPES)
    text = refrain("recipes").out
    assert all(name in text for name in RECIPES)


@pytest.mark.parametrize("name", RECIPES)
def test_one_recipe(refrain, name):
    found = refrain("recipes", name, "--json").json
    assert found == RECIPES[name]().model_dump(mode="json")
    text = refrain("recipes", name).out
    assert "Published: " in text
    assert f"training.epochs = {found['training']['epochs']}\n" in text
    assert f"training.schedule = {found['training']['schedule']['kind']}\n" in text


@pytest.mark.parametrize("name", ["awd-lstm-mos-ptb", "zaremba-large-iss", "sparse-awd-ptb", "pos-sparse"])
def test_the_settings_of_a_recipe_are_printed_as_the_command_line_reads_them(refrain, name):
    words = re.findall(r"^[\w.]+ = .*$", refrain("recipes", name).out, re.MULTILINE)
    assert not [word for word in words if re.search(r"\b(None|True|False)\b|'", word)]
    base = "pos-default" if name.startswith("pos") else "quickstart"
    assert recipe(base, *words).model_copy(update={"name": name}) == RECIPES[name]()


@pytest.mark.parametrize("words", [["data"], ["data", "list"]])
def test_data_list(refrain, words):
    rows = refrain(*words, "--json").json["corpora"]
    assert [row["name"] for row in rows] == ["python-docs", "python-source", "python-names", *KNOWN]
    assert {row["unit"] for row in rows} == {"word", "byte", "tagged"}
    text = refrain(*words).out
    assert all(row["name"] in text for row in rows)


def test_data_check(refrain, tiny_corpus):
    found = refrain("data", "check", tiny_corpus, "--json").json
    assert found["vocabulary"] == 8
    for split, lines in (("train", 120), ("valid", 40), ("test", 40)):
        words = (tiny_corpus / f"{split}.txt").read_text().split()
        assert found["splits"][split]["lines"] == lines
        assert found["splits"][split]["tokens"] == len(words) + lines
        assert found["splits"][split]["unseen"] == 0
    text = refrain("data", "check", tiny_corpus).out
    assert text.startswith("vocabulary 8\n")
    assert "note: valid: only" in text


def test_data_check_of_bytes_and_with_limits(refrain, tiny_corpus):
    found = refrain("data", "check", tiny_corpus, "--unit", "byte", "--json").json
    assert found["vocabulary"] == 256
    assert found["splits"]["train"]["tokens"] == (tiny_corpus / "train.txt").stat().st_size
    limited = refrain("data", "check", tiny_corpus, "--min-count", "100000", "--json").json
    assert limited["vocabulary"] == 2
    assert limited["splits"]["train"]["unseen"] > 0


def test_data_fetch(refrain, write, tmp_path, monkeypatch):
    source = write("server/text.txt", "hello\n")
    digest = "5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03"  # printf 'hello\n' | sha256sum
    remote = Remote(source.as_uri(), digest, "train.txt")
    monkeypatch.setitem(KNOWN, "mine", KnownCorpus("Mine", "word", "none", (remote,)))
    outcome = refrain("data", "fetch", "mine", "--to", tmp_path / "to", "--json")
    found = outcome.json
    assert outcome.err.endswith(f"wrote {tmp_path / 'to'}\n")
    assert found == {"name": "mine", "folder": str(tmp_path / "to"), "files": {"train.txt": 6}}
    assert refrain("data", "fetch", "mine", "--out", tmp_path / "again").out.endswith("train.txt (6 bytes)\n")
    (tmp_path / "mirror").mkdir()
    (tmp_path / "mirror" / "text.txt").write_text("hello\n")
    url = (tmp_path / "mirror").as_uri()
    assert refrain("data", "fetch", "mine", "--to", tmp_path / "third", "--url", url).status == 0


def test_check(refrain, tiny_corpus, tiny_settings, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = ["check", "zaremba-small", *tiny_settings, "--data", tiny_corpus]
    found = refrain(*words, "--json").json
    assert found["ok"] is True
    # embedding 8 * 8, lstm 4 * 8 * (8 + 8) + 4 * 8, head 8 * 8 + 8
    assert found["parameters"] == 64 + 544 + 72
    assert set(found) >= {"parameters", "ok", "widths", "windows", "seconds", "peak_memory_bytes"}
    text = refrain(*words).out
    assert text.endswith("ok\n")
    assert "\nbackend      torch, float32 (2 of 2 parts)\n" in text and found["kernels"] == ""
    assert list(tmp_path.iterdir()) == []


def test_check_heeds_the_limit_of_time(refrain, tiny_corpus, tiny_settings):
    words = ["check", "zaremba-small", *tiny_settings, "training.epochs=1000000", "--data", tiny_corpus]
    assert refrain(*words, "--json").json["seconds"] > 120
    words.insert(3, "training.max_minutes=2")
    assert refrain(*words, "--json").json["seconds"] == 120
    assert "\ntime         2m00s at most, by training.max_minutes\n" in refrain(*words).out


@pytest.mark.compiler
def test_check_names_the_instructions_of_the_kernels(refrain, tiny_corpus, tiny_settings):
    words = ["check", "zaremba-small", *tiny_settings, "training.backend=native", "--data", tiny_corpus]
    used = native.describe_kernels()
    assert used and f"\nbackend      native, float32 (2 of 2 parts); kernels {used}\n" in refrain(*words).out
    found = refrain(*words, "--json").json
    assert found["kernels"] == used and set(found["backend"].values()) == {"native, float32"}


def test_instructions_that_do_not_exist_are_refused_in_a_line(mistake, tiny_corpus, tiny_settings, monkeypatch):
    monkeypatch.setenv("REFRAIN_NATIVE", "avx3")
    native.load.cache_clear()
    words = ["check", "zaremba-small", *tiny_settings, "training.backend=native", "--data", tiny_corpus]
    mistake(2, words, "REFRAIN_NATIVE=avx3: no set of instructions has this name; use ", "off")
    native.load.cache_clear()


def test_train(refrain, tiny_corpus, tiny_settings, tmp_path):
    run = tmp_path / "run"
    outcome = refrain("train", "zaremba-small", *tiny_settings, "--data", tiny_corpus, "--out", run, "--json")
    found = outcome.json
    assert found["run"] == str(run)
    assert found["parameters"] == 64 + 544 + 72
    assert found["epochs"] == 2
    for split in ("valid", "test"):
        assert set(found[split]) >= FIGURES
        assert found["exact"][split]["protocol"] == "exact"
    assert json.loads((run / "summary.json").read_text()) == found
    assert {path.name for path in run.iterdir()} >= {
        *("config.json", "recipe.toml", "manifest.json", "metrics.jsonl", "summary.json", "README.md", "report.html"),
        *("best", "checkpoints", "samples"),
    }
    # what was asked for can be asked for again
    asked = resolve(str(run / "recipe.toml"), [], RECIPES)
    assert asked == recipe("zaremba-small", *tiny_settings, data=str(tiny_corpus))


def test_train_prints_the_next_commands(refrain, tiny_corpus, tiny_settings, tmp_path):
    words = ["train", "zaremba-small", *tiny_settings, "--data", tiny_corpus, "--out", tmp_path / "run"]
    outcome = refrain(*words)
    assert outcome.status == 0
    assert f"refrain evaluate {tmp_path}/run" in outcome.out
    assert f"refrain generate {tmp_path}/run" in outcome.out
    assert "epoch 2  train " in outcome.err
    quiet = refrain(*words, "--force", "--quiet", "--json")
    assert quiet.err == ""
    assert quiet.json["epochs"] == 2


def test_train_picks_a_folder_of_its_own(refrain, tiny_corpus, tiny_settings, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = refrain("train", "zaremba-small", *tiny_settings, "--data", tiny_corpus, "--json").json
    assert found["run"].startswith("runs/zaremba-small-")
    assert (tmp_path / found["run"] / "best").is_dir()


def test_train_from_a_file(refrain, tiny_corpus, tiny_settings, tmp_path, write):
    groups = {}
    for word in tiny_settings:
        group, _, setting = word.partition(".")
        groups.setdefault(group, []).append(setting.replace("device=cpu", 'device="cpu"'))
    tables = "".join(f"[{group}]\n" + "\n".join(lines) + "\n" for group, lines in groups.items())
    mine = write("mine.toml", f'extends = "zaremba-small"\nname = "mine"\n{tables}')
    word = "training.seed=7"
    found = refrain("train", mine, word, "--data", tiny_corpus, "--out", tmp_path / "run", "--json").json
    assert found["recipe"] == "mine"
    # what is kept asks for the same again, whatever becomes of the file
    again = resolve(str(tmp_path / "run" / "recipe.toml"), [], RECIPES)
    assert again == resolve(str(mine), [word], RECIPES, corpus=str(tiny_corpus))


@pytest.mark.parametrize("name", ["naïve 😀", 'quo"te\\', "two\nlines", "del\x7f"])
def test_odd_names_survive_in_the_recipe(refrain, tiny_corpus, tiny_settings, tmp_path, write, name):
    corpus = tmp_path / f"corpus {name}"
    corpus.symlink_to(tiny_corpus)
    for source in ("zaremba-small", write("mine.toml", 'extends = "zaremba-small"\n')):
        run = tmp_path / f"run-{len(str(source))}"
        words = [*tiny_settings, "training.epochs=1", "name=naïve 😀", f"data.corpus={corpus}"]
        assert refrain("train", source, *words, "--out", run, "--quiet").status == 0
        again = resolve(str(run / "recipe.toml"), [], RECIPES)
        if source == "zaremba-small":
            assert (again.name, again.data.corpus) == ("naïve 😀", str(corpus))


@pytest.mark.parametrize("text", ["2024", "2024-01-01", "true", "inf", '"quoted"'])
@pytest.mark.parametrize("as_typed", [True, False])
def test_a_text_that_looks_like_another_value_survives_in_the_recipe(write, text, as_typed):
    words = [f"name={text}", f"data.corpus={text}"]
    experiment = resolve("quickstart", words, RECIPES)
    kept = recipe_text("quickstart", words, None, experiment, as_typed=as_typed)
    assert resolve(str(write("recipe.toml", kept)), [], RECIPES) == experiment


def test_resume_of_a_finished_run_gives_the_same_figures(refrain, run_copy):
    before = json.loads((run_copy / "summary.json").read_text())
    found = refrain("train", "--resume", "--out", run_copy, "--json").json
    assert {name: found[name] for name in ("valid", "test", "exact", "epochs")} == {
        name: before[name] for name in ("valid", "test", "exact", "epochs")
    }


def test_evaluate(refrain, tiny_run, tiny_corpus):
    summary = json.loads((tiny_run / "summary.json").read_text())
    for protocol, wanted in (("exact", summary["exact"]), ("zaremba", summary)):
        for split in ("valid", "test"):
            found = refrain("evaluate", tiny_run, "--split", split, "--protocol", protocol, "--json").json
            assert found | wanted[split] == found
            assert set(found) >= {*FIGURES, "method", "bits_per_token"}
            assert found["method"] == "static"
    found = refrain("evaluate", tiny_run, "--json").json
    assert (found["split"], found["protocol"]) == ("test", "exact")
    assert found["tokens"] == len((tiny_corpus / "test.txt").read_text().replace("\n", " <eos> ").split()) - 1
    assert re.search(rf"^tokens +{found['tokens']:,}$", refrain("evaluate", tiny_run).out, re.MULTILINE)


def test_evaluate_a_checkpoint_folder(refrain, tiny_run):
    wanted = refrain("evaluate", tiny_run, "--json").json
    for place in (tiny_run / "best", (tiny_run / "best").resolve()):
        found = refrain("evaluate", place, "--json").json
        assert {name: found[name] for name in FIGURES} == {name: wanted[name] for name in FIGURES}


def test_evaluate_other_text(refrain, tiny_run, tiny_corpus, write):
    folder = refrain("evaluate", tiny_run, "--data", tiny_corpus, "--split", "valid", "--json").json
    own = refrain("evaluate", tiny_run, "--split", "valid", "--json").json
    assert {name: folder[name] for name in FIGURES} == {name: own[name] for name in FIGURES}
    text = write("text.txt", "ant zebra\nbee\n")
    found = refrain("evaluate", tiny_run, "--data", text, "--json").json
    assert (found["split"], found["tokens"], found["unseen"]) == ("all", 4, 1)
    # a plain file has splits where they are asked for
    (text.parent / "long.txt").write_text("ant bee\n" * 40)
    found = refrain("evaluate", tiny_run, "--data", text.parent / "long.txt", "--split", "test", "--json").json
    assert (found["split"], found["tokens"]) == ("test", 2 * 3 - 1)


def test_evaluate_a_corpus_by_name(refrain, tiny_run, cache, tiny_corpus, monkeypatch, tmp_path):
    monkeypatch.setenv("REFRAIN_CACHE", str(tmp_path))
    remote = Remote("http://127.0.0.1/", "0" * 64, "train.txt")
    monkeypatch.setitem(KNOWN, "mine", KnownCorpus("Mine", "word", "none", (remote, remote)))
    (tmp_path / "fetched").mkdir()
    (tmp_path / "fetched" / "mine").symlink_to(tiny_corpus)
    found = refrain("evaluate", tiny_run, "--data", "mine", "--json").json
    assert found["tokens"] == refrain("evaluate", tiny_run, "--json").json["tokens"]


def test_evaluate_bytes(refrain, byte_run, tiny_corpus):
    found = refrain("evaluate", byte_run, "--json").json
    assert found["tokens"] == (tiny_corpus / "test.txt").stat().st_size - 1
    assert found["bits_per_byte"] == found["bits_per_token"]


@pytest.mark.parametrize("run", ["tiny_run", "byte_run"])
def test_evaluate_per_token(refrain, run, request, tmp_path):
    folder = request.getfixturevalue(run)
    figure = refrain("evaluate", folder, "--json").json
    found = refrain("evaluate", folder, "--per-token", tmp_path / "table.tsv", "--json").json
    assert found["tokens"] == figure["tokens"]
    assert found["nats_per_token"] == pytest.approx(figure["nats_per_token"])
    rows = list(
        csv.DictReader(io.StringIO((tmp_path / "table.tsv").read_text()), delimiter="\t", quoting=csv.QUOTE_NONE)
    )
    assert len(rows) == found["tokens"]
    # each row is rounded to six decimals
    nats = found["nats_per_token"] * found["tokens"]
    assert sum(float(row["nats"]) for row in rows) == pytest.approx(nats, abs=5e-7 * len(rows))


def test_generate(refrain, tiny_run):
    words = ["generate", tiny_run, "--prompt", "ant bee", "--tokens", "6", "--seed", "3"]
    found = refrain(*words, "--json").json
    (sample,) = found["samples"]
    assert (found["prompt"], found["seed"]) == ("ant bee", 3)
    assert sample.startswith("ant bee")
    # drawn in one piece or as a stream, the text is the same
    assert refrain(*words).out == sample + "\n"
    assert refrain(*words).out == sample + "\n"


def test_generate_reads_a_prompt_with_or_without_a_line_end_before_it(refrain, mistake, tiny_run, monkeypatch):
    from refrain.trained import language_model

    contexts = []

    def generate(stepper, context, *arguments, **options):
        contexts.append(context)
        return drawn(stepper, context, *arguments, **options)

    drawn = language_model.generate
    monkeypatch.setattr(language_model, "generate", generate)
    words = ["generate", tiny_run, "--prompt", "ant bee", "--tokens", "3", "--seed", "3"]
    for options in ([], ["--start", "line-end"], ["--start", "none"], ["--start", "none", "--samples", "2"]):
        assert refrain(*words, *options).out
    line_end, *prompt = contexts[0]
    assert contexts == [[line_end, *prompt]] * 2 + [prompt] * 2 and len(prompt) == 2
    mistake(2, ["generate", tiny_run, "--start", "none"], "--start none needs a prompt")
    mistake(2, ["generate", tiny_run, "--prompt", " ", "--start", "none"], "--start: 'none' needs a prompt")


def test_generate_many_samples(refrain, tiny_run):
    words = ["generate", tiny_run, "--tokens", "20", "--seed", "3", "--samples", "3"]
    samples = refrain(*words, "--json").json["samples"]
    assert len(set(samples)) == 3
    assert refrain(*words).out == "".join(f"--- {index}\n{text}\n" for index, text in enumerate(samples, 1))


@pytest.mark.parametrize(
    "options",
    [["--temperature", "0"], ["--top-k", "1"], ["--top-p", "0.000001"], ["--temperature", "1e-300"]],
    ids=lambda options: options[0],
)
def test_generate_the_most_probable(refrain, tiny_run, options):
    words = ["generate", tiny_run, "--tokens", "12", "--json"]
    found = refrain(*words, *options, "--seed", "1").json["samples"]
    assert found == refrain(*words, "--temperature", "0", "--seed", "2").json["samples"]


def test_generate_one_line(refrain, tiny_run):
    words = ["generate", tiny_run, "--tokens", "500", "--seed", "3", "--no-unk"]
    (sample,) = refrain(*words, "--stop-at-line-end", "--json").json["samples"]
    assert "\n" not in sample
    assert refrain(*words).out.startswith(sample + "\n")
    assert "<unk>" not in refrain(*words).out


def test_generate_bytes(refrain, byte_run):
    words = ["generate", byte_run, "--prompt", "é", "--tokens", "50", "--seed", "3"]
    (sample,) = refrain(*words, "--json").json["samples"]
    assert refrain(*words).out == sample + "\n"


def test_score(refrain, tiny_run, write):
    text = write("text.txt", "ant bee\n\nzebra")
    rows = [json.loads(line) for line in refrain("score", tiny_run, text, "--json").out.splitlines()]
    assert [row["text"] for row in rows] == ["ant bee", "", "zebra"]
    assert [row["tokens"] for row in rows] == [3, 1, 2]
    assert [row["unknown"] for row in rows] == [0, 0, 1]
    assert all(row["nats_per_token"] == pytest.approx(row["nats"] / row["tokens"]) for row in rows)
    plain = refrain("score", tiny_run, text).out
    assert plain == "".join(f"{row['nats']:.4f}\t{row['tokens']}\t{row['unknown']}\t{row['text']}\n" for row in rows)


def test_a_line_is_one_cell_of_its_row(refrain, tiny_run, write):
    lines = ["ant\tbee", "cat\r", "\x1b[31mdog\\", "eel\u2028fox"]
    rows = [row.split("\t") for row in refrain("score", tiny_run, write("text.txt", "\n".join(lines))).out.splitlines()]
    assert [len(row) for row in rows] == [4] * 4
    # the escapes are those of Python
    assert [ast.literal_eval(f'"{row[3]}"') for row in rows] == lines
    found = refrain("score", tiny_run, write("text.txt", "\n".join(lines)), "--json").out.splitlines()
    assert [json.loads(line)["text"] for line in found] == lines


@pytest.mark.parametrize("words", [[], ["-"]])
@pytest.mark.parametrize("content", [b"ant bee\n\nzebra", b"\xef\xbb\xbfant\r\nbee\r\n", b"a\xc2\x85b\n", b""])
@pytest.mark.parametrize("run", ["tiny_run", "byte_run"])
def test_standard_input_is_scored_as_a_file_is(refrain, request, run, write, monkeypatch, words, content):
    folder = request.getfixturevalue(run)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))
    found = refrain("score", folder, *words)
    assert found.status == 0
    if content:
        assert found.out == refrain("score", folder, write("text.txt", content)).out
    else:
        assert found.out == ""


def test_bench(refrain):
    small = ["model.embedding_size=8", "model.hidden_sizes=[8,8]", "training.batch_size=2", "training.window_steps=3"]
    words = ["bench", "train", *small, "--windows", "1", "--repeats", "1"]
    found = refrain(*words, "--device", "cpu", "--json").json
    assert found["device"].startswith("a CPU, ")
    rows = found["rows"]
    assert [row["name"] for row in rows[:2]] == ["plain", "refrain, float32"]
    assert all(set(row) >= {"name", "median", "ratio"} for row in rows)
    assert "tokens/s" in refrain(*words).out


def test_a_bench_is_drawn(refrain, tmp_path):
    pytest.importorskip("matplotlib")
    small = ["model.embedding_size=8", "model.hidden_sizes=[8,8]", "training.batch_size=2", "training.window_steps=3"]
    words = ["bench", "train", *small, "--windows", "1", "--repeats", "2"]
    assert refrain(*words, "--plot", tmp_path / "train.svg").status == 0
    picture = (tmp_path / "train.svg").read_text()
    assert "refrain, float32" in picture and "of the limit" in picture and "limit: copy" not in picture
    assert "exists" in refrain(*words, "--plot", tmp_path / "train.svg").err
    assert refrain(*words, "--plot", tmp_path / "train.png").status == 0
    assert (tmp_path / "train.png").read_bytes().startswith(b"\x89PNG")


def test_unseen_words_of_a_prompt_are_reported(refrain, tiny_run):
    assert "1 word of the prompt is not in the vocabulary" in refrain("generate", tiny_run, "--prompt", "Zyzzyva").err


def test_a_second_stage_without_a_first_is_reported(refrain, tiny_settings, tiny_corpus, tmp_path):
    # the model is too small for the recipe's penalty to be of use; the line is printed before that
    words = ("train", "zaremba-large-l1", *tiny_settings, "--data", tiny_corpus, "--out", tmp_path / "run")
    assert "is meant to continue from a trained run (--from RUN); it now starts from" in refrain(*words).err


@pytest.mark.parametrize("as_file", [False, True])
def test_checking_a_second_stage_says_that_it_needs_a_first(refrain, tiny_settings, tiny_corpus, write, as_file):
    recipe = write("mine.toml", 'extends = "zaremba-large-l1"\n') if as_file else "zaremba-large-l1"
    said = refrain("check", recipe, *tiny_settings, "--data", tiny_corpus).err
    assert f"{recipe} is meant to continue from a trained run (--from RUN); without one, refrain train starts" in said
