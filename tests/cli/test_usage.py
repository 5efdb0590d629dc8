"""Mistakes in words and settings: status 2, a line each, with what is known and what is nearest."""

import os
import subprocess
import sys

import pytest
import torch

from refrain.cli.app import COMMANDS, main


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (
            ["trian"],
            ["unknown command 'trian'; did you mean 'train'?; known: train, ", "check, bench; see refrain --help"],
        ),
        (["help", "trian"], ["unknown command 'trian'; did you mean 'train'?"]),
        (["nonsense"], ["refrain: unknown command 'nonsense'; known: train, "]),
        (["data", "chekc", "x"], ["unknown command 'data chekc'; did you mean 'check'?", "known: list, fetch, check"]),
        (["train"], ["which recipe?", "refrain recipes"]),
        (["train", "quickstrat"], ["unknown recipe 'quickstrat'; did you mean 'quickstart'?"]),
        (["check", "zaremba-smal"], ["did you mean 'zaremba-small'?"]),
        (["recipes", "quikstart"], ["unknown recipe 'quikstart'; did you mean 'quickstart'?"]),
        (
            ["train", "gone.toml"],
            ["gone.toml: No such file or directory; check the path, or choose a recipe"],
        ),
        (["train", "quickstart", "--bogus", "3"], ["--bogus"]),
        (
            ["train", "quickstart", "training.epoch=3"],
            ["command line: training.epoch: unknown key; did you mean 'epochs'"],
        ),
        (["train", "quickstart", "training.epochs=3 # five"], ["must be a whole number (got '3 # five')"]),
        (["train", "quickstart", "training.epochs=3\nfoo = 4"], ["must be a whole number (got '3\\nfoo = 4')"]),
        (["train", "quickstart", "training.epochs=3,"], ["must be a whole number (got '3,')"]),
        (["train", "quickstart", "--data", ""], ["--data: is empty, as a variable of the shell that is not set"]),
        (["train", "quickstart", "--out="], ["--out: is empty"]),
        (
            ["train", "zaremba-small", "model.head=mixture", f"model.head.components={10**20}"],
            ["model.head.components: must be less than 2147483648"],
        ),
        (["train", "quickstart", "--seeds", "2000000000"], ["--seeds must be at least 1 and at most 100,000"]),
        (
            ["train", "quickstart", f"training.seed={2**63 - 1}", "--seeds", "2"],
            ["training.seed: must be at most 9,223,372,036,854,775,806 with 2 seeds"],
        ),
        (["train", "quickstart", "training.epochs=0"], ["command line: training.epochs: must be at least 1 (got 0)"]),
        (["train", "quickstart", "epochs"], ["'epochs' is not a setting; write name=value"]),
        (["train", "quickstart", "data.unit=byte"], ["data.min_count: cannot take effect with unit 'byte'"]),
        (["train", "quickstart", "--errors", "ignore"], ["--errors", "strict", "replace"]),
        (["train", "quickstart", "--resume"], ["--resume needs the run folder: refrain train --resume --out RUN"]),
        (
            ["train", "quickstart", "--resume=atuo"],
            ["--resume=atuo: --resume has no value but auto; write --resume"],
        ),
        (
            ["train", "quickstart", "--resume", "auto", "--out", "x"],
            ["--resume auto: write --resume=auto, as one"],
        ),
        (
            ["train", "training.threads=1", "quickstart"],
            ["the recipe comes before the settings: refrain train quickstart training.threads=1"],
        ),
        (["check", "training.threads=1", "quickstart"], [": refrain check quickstart training.threads=1"]),
        (["train", "quickstart", "training.threads", "1"], ["a setting is one word: training.threads=1"]),
        (["train", "quickstart", "training.precision=fp16"], ["(got 'fp16'); did you mean 'bf16'?"]),
        (["train", "quickstart", "training.precision=bfloat16"], ["(got 'bfloat16'); did you mean 'bf16'?"]),
        (["train", "quickstart", "data.unit=char"], ["(got 'char'); did you mean 'character'?"]),
        (["train", "quickstart", "data.unit=octet"], ["or 'subword' (got 'octet')"]),
        (["surprisal", "x", "--text", "the value"], ["standard input, as in: echo TEXT | refrain surprisal RUN;"]),
        (["train", "--resume", "--force", "--out", "x"], ["--resume and --force exclude each other"]),
        (["train", "--resume", "--out", "x", "--data", "y"], ["--resume takes the settings from the run"]),
        (["train", "--resume", "--out", "x", "--seeds", "5"], ["--resume and --seeds exclude each other"]),
        (
            ["train", "--resume", "--out", "x", "--folds", "5"],
            ["--resume and --folds exclude each other; --resume=auto --folds 5 continues the runs"],
        ),
        (
            ["train", "quickstart", "--resume=auto", "--out", "x", "--seeds", "0"],
            ["--seeds must be at least 1 and at most 100,000 (got 0)"],
        ),
        (["evaluate"], ["RUN", "see refrain evaluate --help, or type for example: refrain evaluate runs/small"]),
        (["score"], ["RUN", "see refrain score --help, or type for example: refrain score runs/small sentences.txt"]),
        (["generate"], ["RUN", "see refrain generate --help, or type for example: refrain generate runs/small"]),
        (["evaluate", "x", "--split", "dev"], ["--split", "train", "valid", "test"]),
        (["evaluate", "x", "--protocol", "best"], ["--protocol", "exact", "zaremba", "awd"]),
        (["evaluate", "x", "--protocol", "awd", "--per-token", "t"], ["--per-token requires --protocol exact"]),
        (["evaluate", "x", "--per-token", ""], ["--per-token: ", "must be a file in a folder that exists"]),
        (["evaluate", "x", "--per-token", "/no/such/t"], ["--per-token: /no/such/t must be a file in a folder"]),
        (["evaluate", "x", "--device", "abacus"], ["--device", "cpu"]),
        (["generate", "x", "--tokens", "-1"], ["--tokens must be at least 0 (got -1)"]),
        (["generate", "x", "--tokens", "two"], ["--tokens", "two"]),
        (["generate", "x", "--samples", "-1"], ["--samples must be at least 1 (got -1)"]),
        (["generate", "x", "--seed", "-1"], ["--seed must be at least 0"]),
        # before the run is looked for
        (["generate", "x", "--top-k", "0"], ["--top-k must be at least 1 (got 0)"]),
        (["generate", "x", "--top-p", "2"], ["--top-p must be greater than 0 and at most 1 (got 2.0)"]),
        (["generate", "x", "--temperature", "-1"], ["--temperature must be at least 0 and finite (got -1.0)"]),
        (["generate", "x", "--seed", str(2**63)], ["--seed must be at least 0 and less than 2**63"]),
        (["generate", "x", "--prompt", "caf\udce9"], ["--prompt is not valid UTF-8"]),
        (["data", "check", "x", "--min-count", "0"], ["--min-count must be at least 1 (got 0)"]),
        (["data", "check", "x", "--unit", "byte", "--min-count", "2"], ["cannot take effect with --unit byte"]),
        (["data", "check", "x", "--unit", "byte", "--errors", "replace"], ["cannot take effect with --unit byte"]),
        (["bench", "trian"], ["unknown bench 'trian'; did you mean 'train'?; known: train"]),
        (["bench", "train", "zaremba-small"], ["give the recipe as an option: --recipe zaremba-small"]),
        (["train", "quickstart", "--epochs", "3"], ["a setting is written without dashes, as in training.epochs=3"]),
        (
            ["train", "quickstart", "--training.epochs=7"],
            ["Unknown option: --training.epochs=7; a setting is written without dashes, as in training.epochs=7;"],
        ),
        (
            ["train", "quickstart", "--epochs", "7"],
            ["refrain: Unknown option: --epochs; a setting", "training.epochs=7;"],
        ),
        (["check", "quickstart", "--seed", "training.epochs=7"], ["as in training.seed=...; see refrain check --help"]),
        (["check", "quickstart", "--hidden-sizes", "[7]"], ["as in model.hidden_sizes=[7]; see refrain check --help"]),
        (["train", "quickstart", "--seed"], ["as in training.seed=...; see refrain train --help"]),
        (
            ["train", "quickstart", "--erors", "strict"],
            ["Unknown option: --erors. Did you mean --errors?; see refrain train"],
        ),
        (
            ["train", "quickstart", "--epoch", "7"],
            ["refrain: Unknown option: --epoch; a setting", "training.epochs=7;"],
        ),
        (["generate", "RUN", "the", "company"], ["give the beginning of the text with --prompt"]),
        (["bench", "train", "--plot", "train.pdf"], ["--plot must end in .png or .svg"]),
        (["bench", "train", "--force"], ["--force cannot take effect without --plot"]),
        (["bench", "train", "--repeats", "0"], ["--repeats", "must be at least 1"]),
        (["bench", "train", "--recipe", "quickstart"], ["choose a recipe without"]),
        (["bench", "train", "--widths", "3"], ["--widths cannot take effect in bench train"]),
        (["bench", "compress", "--cache-window", "5"], ["--cache-window cannot take effect"]),
        (["bench", "cells", "--windows", "5", "model.hidden_sizes=[3]"], ["--windows, model.hidden_sizes cannot take"]),
        (["bench", "sparse", "--recipe", "quickstart"], ["--recipe cannot take effect in bench sparse"]),
        (["bench", "sizes", "--repeats", "3"], ["--repeats cannot take effect in bench sizes"]),
        (["bench", "serve", "--repeats", "3"], ["--repeats cannot take effect in bench serve"]),
        (["bench", "sizes", "--run", "x", "--device", "cuda"], ["bench sizes measures on CPUs only; use --device cpu"]),
        (
            ["bench", "compressors", "--run", "x", "--repeats", "3", "--recipe", "mlstm-bytes", "data.split=[0.8,0.1]"],
            ["--repeats, --recipe, data.split cannot take effect in bench compressors with --run"],
        ),
        (["bench", "cells", "--widths", "3,"], ["--widths must be whole numbers separated by commas"]),
        (["bench", "step", "--device", "cuda"], ["which runs on CPUs only; use --device cpu"]),
    ],
    ids=lambda words: " ".join(words)[:50].replace("\udce9", "?"),
)
def test_usage(mistake, tmp_path, monkeypatch, words, parts):
    monkeypatch.chdir(tmp_path)
    mistake(2, words, *parts)
    assert list(tmp_path.iterdir()) == []


def test_paths_in_place_of_other_words(mistake, tiny_run, write, monkeypatch):
    monkeypatch.chdir(write("app.log", "ant bee\n").parent)
    write("other.log", "ant\n")
    given = "'app.log' is a path, and no {}; give a text with --data: refrain {} --data app.log"
    mistake(2, ["train", "quickstart", "app.log"], given.format("setting", "train quickstart"))
    mistake(2, ["check", "app.log"], given.format("recipe", "check RECIPE"))
    words = ["train", "quickstart", "--data", "app.log", "other.log"]
    mistake(2, words, "'other.log': --data takes one path; give a folder, or a pattern in quotes")
    mistake(2, ["data", "check", "app.log", "other.log"], "it takes one path; give a folder, or a pattern in quotes")
    line = mistake(2, ["sweep", "app.log", "other.log"], "it takes one file; start a sweep for each of them; see")
    assert "pattern" not in line
    mistake(2, ["score", tiny_run, "app.log", "other.log"], "join several with: cat FILE ... | refrain score RUN")
    for command in ("score", "tag"):
        right = f"the run comes first: refrain {command} {tiny_run} app.log"
        mistake(3, [command, "app.log", tiny_run], "app.log: is a file, and", right)
    mistake(2, ["train", "--resume", tiny_run], f"needs the run folder: refrain train --resume --out {tiny_run}")
    mistake(4, ["evaluate", tiny_run.parent], f"is a folder of runs, and not a run; give one of them: {tiny_run}")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_a_bench_on_a_gpu_that_is_not_there(mistake):
    mistake(2, ["bench", "train", "--device", "cuda"], "no CUDA device 'cuda' is available; use 'cpu' or 'auto'")


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("--temperature", "-1", "--temperature must be at least 0 and finite (got -1.0)"),
        ("--temperature", "nan", "--temperature must be at least 0 and finite (got nan)"),
        ("--temperature", "inf", "--temperature must be at least 0 and finite (got inf)"),
        ("--top-k", "0", "--top-k must be at least 1 (got 0)"),
        ("--top-p", "0", "--top-p must be greater than 0 and at most 1 (got 0.0)"),
        ("--top-p", "1.5", "--top-p must be greater than 0 and at most 1 (got 1.5)"),
    ],
)
def test_sampling_out_of_range(mistake, tiny_run, option, value, message):
    mistake(2, ["generate", tiny_run, option, value], message)


def test_all_mistakes_are_shown_a_line_each(refrain, tmp_path, write):
    mine = write("mine.toml", "\n[model]\nhiden_sizes = [3]\ndropout = 1.7\n")
    outcome = refrain("train", mine, "training.epochs=two", "--out", tmp_path / "run")
    assert (outcome.status, outcome.out) == (2, "")
    assert outcome.err.splitlines() == outcome.complaints
    assert sorted(outcome.complaints) == [
        f"refrain: {mine}:3: model.hiden_sizes: unknown key; did you mean 'hidden_sizes'?",
        f"refrain: {mine}:4: model.dropout: must be less than 1.0 (got 1.7)",
        "refrain: command line: training.epochs: must be a whole number (got 'two')",
    ]
    assert not (tmp_path / "run").exists()


def test_a_message_is_one_line_without_control_characters(mistake, tmp_path):
    name = "one\ntwo\r\x1b[31m\x07\x9b\u202e\u2028\udce9[red]:smile:"
    line = mistake(
        2, ["train", tmp_path / f"{name}.toml"], r"one\ntwo\r\x1b[31m\x07\x9b\u202e\u2028\udce9[red]:smile:.toml"
    )
    assert line.isprintable()
    for status, words in (
        (2, [name]), (2, ["recipes", name]), (2, ["train", "quickstart", f"training.epochs={name}"]),
        (2, ["train", "quickstart", f"{name}=1"]), (2, ["train", "quickstart", f"--{name}"]), (2, ["bench", name]),
        (2, ["evaluate", "x", "--split", name]), (3, ["data", "check", name]), (4, ["evaluate", name]),
        (4, ["score", name]), (4, ["sparsity", name]), (2, ["data", name]), (3, ["data", "fetch", name]),
        (2, ["features", "x", "--out", name]), (2, ["generate", "x", "--clamp", name]),
    ):  # fmt: skip
        assert mistake(status, words).isprintable(), words


def test_a_long_message_is_cut_in_its_middle(mistake, refrain):
    line = mistake(4, ["evaluate", "9" * 100_000], "refrain: 999", " … ")
    assert len(line) <= len("refrain: ") + 2000
    line = mistake(2, ["train", "quickstart", f"training.epochs={'9' * 100_000}x"], "refrain: command line: ", "99…')")
    assert len(line) < 200
    outcome = refrain("train", "quickstart", *(f"unknown_{number}=1" for number in range(60)))
    assert outcome.status == 2
    assert len(outcome.complaints) == 21 and outcome.complaints[-1] == "refrain: and 40 more mistakes like these"


def test_help_of_a_command_is_asked_for_in_two_ways(refrain):
    for words in ([], ["train"], ["data", "check"]):
        outcome = refrain("help", *words)
        assert outcome == refrain(*words, "--help") and outcome.status == 0
    assert refrain("-V") == refrain("--version")


def test_usage_names_the_arguments(refrain):
    for name in COMMANDS:
        usage = refrain(name, "--help").out.splitlines()[0]
        assert usage.startswith(f"Usage: refrain {name}") and "ARGS" not in usage
    for name in ("list", "fetch", "check"):
        assert f"Example: refrain data {name}" in refrain("data", name, "--help").out


def test_completion_is_installed_for_a_shell(refrain, mistake, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    outcome = refrain("--install-completion", "--shell", "fish")
    script = tmp_path / ".config" / "fish" / "completions" / "refrain.fish"
    assert (outcome.status, outcome.out) == (0, f"{script}: open a new shell to use it\n")
    assert "evaluate" in script.read_text() and "per-token" in script.read_text()
    monkeypatch.setattr("cyclopts.completion.detect.detect_shell", unknown_shell)
    mistake(2, ["--install-completion"], "--shell bash, zsh, fish or powershell")


def unknown_shell():
    from cyclopts.completion.detect import ShellDetectionError

    raise ShellDetectionError


def test_a_model_that_does_not_fit_into_memory(mistake, train, tiny_corpus, tmp_path):
    # 4 * 10^6 * 10^6 weights of four bytes
    mistake(2, train(tiny_corpus, "model.hidden_sizes=[1000000]"), "not enough memory; lower model.hidden_sizes")
    assert not (tmp_path / "run").exists()


def test_a_device_that_is_not_there(mistake, train, tiny_corpus, tmp_path, monkeypatch):
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)
    mistake(2, train(tiny_corpus, "training.device=cuda"), "no CUDA device 'cuda' is available; use 'cpu' or 'auto'")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("words", [("score", "x", "\ud800y"), ("train", "\ud800.toml"), ("features", "x", "a\0b")])
def test_a_word_that_no_text_can_hold(mistake, words):
    mistake(2, words, "is not valid text; write it in UTF-8, without")


def test_an_unforeseen_error_is_not_hidden(refrain, monkeypatch):
    monkeypatch.setattr("refrain.recipes.description", lambda name: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        refrain("recipes")
    monkeypatch.setattr("refrain.recipes.description", lambda name: next(iter([])).missing)
    with pytest.raises(StopIteration):
        refrain("recipes")


def test_text_settings_take_numbers_as_text(refrain, tmp_path, tiny_corpus, tiny_settings, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "2024").symlink_to(tiny_corpus, target_is_directory=True)
    for name in ("name=2024", 'name="2024"', "name=true", "name=2024.50"):
        done = refrain("check", "zaremba-small", *tiny_settings, name, "data.corpus=2024")
        assert done.status == 0, done.err


@pytest.mark.skipif(os.name == "nt", reason="names on Windows are text")
def test_names_that_are_not_utf8(mistake, tmp_path, tiny_corpus, tiny_settings):
    text = tmp_path / os.fsdecode(b"caf\xe9.txt")
    try:
        text.write_text("the end\n" * 500)
    except OSError:
        pytest.skip("the file system takes only names in UTF-8")
    words = ["train", "zaremba-small", *tiny_settings, "--out", tmp_path / "run"]
    mistake(2, [*words, "--data", text], "--data: the name ", "is not UTF-8, so that a run cannot record it; rename it")
    assert not (tmp_path / "run").exists()
    mistake(2, [*words[:-1], tmp_path / os.fsdecode(b"r\xe9"), "--data", tiny_corpus], "--out: the name ", "rename it")


@pytest.mark.parametrize(("name", "value"), [("RANK", "zero"), ("WORLD_SIZE", "x")])
def test_ranks_that_are_no_numbers(mistake, monkeypatch, name, value):
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv(name, value)
    mistake(2, ["train", "quickstart"], f"the environment variable {name} must be a whole number (got '{value}')")


def test_a_rank_without_others_is_alone(refrain, train, tiny_corpus, monkeypatch):
    monkeypatch.setenv("RANK", "1")
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    assert refrain(*train(tiny_corpus, "training.epochs=1", "--json")).json["epochs"] == 1


def test_ctrl_c_is_reported_in_a_line(monkeypatch, capsys):
    def interrupted(*words, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr("refrain.cli.recipes.recipes", interrupted)
    assert main(["recipes"]) == 130
    assert capsys.readouterr().err == "refrain: stopped\n"


def test_the_help_fits_a_terminal_without_room():
    command = [sys.executable, "-m", "refrain", "train", "--help"]
    environment = {**os.environ, "COLUMNS": "1"}
    found = subprocess.run(command, capture_output=True, text=True, timeout=60, env=environment, check=True)
    assert found.stdout.startswith("Usage: ")


@pytest.mark.parametrize("command", ["compress", "probe"])
def test_a_folder_that_cannot_be_made_is_found_at_once(refrain, tiny_run, write, command):
    file = write("file", "text")
    words = (
        [tiny_run, "--weights", "int8"]
        if command == "compress"
        else [tiny_run, "--data", write("labelled.tsv", "1\tgood\n")]
    )
    done = refrain(command, *words, "--out", file / "below" / "out")
    assert done.status == 4 and str(file) in done.err and "fitting" not in done.err and len(done.err.splitlines()) == 1
