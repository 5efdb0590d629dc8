"""Every option that writes a file or a folder: nothing that exists or is read is replaced, and the file is reported."""

import importlib
import inspect
import os
import signal
import stat
import typing
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from refrain.cli.app import COMMANDS, FUNCTIONS


class Writing(NamedTuple):
    """An option that writes, in a command with names of the folder of `world`.

    Attributes:
        words: the command without the option.
        file: the file that the command writes.
        read: files that the command reads.
        option: what the option is given if it is a folder.
    """

    words: str
    file: str
    read: tuple[str, ...]
    folder: str | None = None


RUN = ("run/config.json", "run/checkpoints/step-1/model.safetensors")
FILES = {
    "evaluate --per-token": Writing("evaluate run --data text.txt", "x.tsv", ("text.txt", *RUN)),
    "evaluate --confusion": Writing("evaluate run --data text.txt", "x.png", ("text.txt", *RUN)),
    "check --layout": Writing("check mine.toml --data corpus", "x.png", ("mine.toml", "corpus/train.txt")),
    "sparsity --plot": Writing("sparsity run", "x.html", RUN),
    "report --out": Writing("report run", "x.html", RUN),
    "plot --out": Writing("plot run", "x.pdf", RUN),
    "bench --plot": Writing("bench train --recipe mine.toml", "x.svg", ("mine.toml",)),
    "features --out": Writing("features run/best text.txt corpus", "x.npz", ("text.txt", "corpus/train.txt", *RUN)),
    "export --out": Writing("export run", "x.onnx", RUN),
    "surprisal --out": Writing("surprisal run text.txt", "x.tsv", ("text.txt", *RUN)),
    "pairs --out": Writing("pairs run text.txt", "x.tsv", ("text.txt", *RUN)),
    "tag --out": Writing("tag run text.txt", "x.conllu", ("text.txt", *RUN)),
    "pack --out": Writing("models pack run", "x.tar", RUN),
    "sweep --best": Writing("sweep mine.toml", "x.toml", ("mine.toml",)),
    "probe --out": Writing(
        "probe run --data corpus --text text.txt",
        "probe/heat-map.html",
        ("text.txt", "corpus/train.txt", *RUN),
        "probe",
    ),
}
FOLDERS = {
    "train --out": (4, "train zaremba-small --data corpus"),
    "compress --out": (4, "compress run"),
    "import_model --out": (4, "import word-language-model run/best/model.safetensors text.txt"),
    "data fetch --out": (3, "data fetch tiny-shakespeare --url http://127.0.0.1:1"),
    "models fetch --out": (4, f"models fetch http://127.0.0.1:1/x.tar --sha256 {'0' * 64}"),
}
# options without which the command does nothing
REQUIRED = ("features --out", "export --out", "report --out", "plot --out", "pack --out")
# folders that several processes share, so that one which exists is used; see test_sweep_command.py
SHARED = {"sweep --out"}
# parameters that name what a command reads
INPUTS = {"run", "data", "start_from", "iss_json", "tokens", "mix", "ngram", "against"}


@pytest.fixture
def world(write, tmp_path, monkeypatch):
    """Files that look like those of a user; the run is none, so that a command which loads it fails with status 4."""
    for name in ("text.txt", "corpus/train.txt", "corpus/valid.txt", "corpus/test.txt", *RUN):
        write(name, "mine\n")
    write("mine.toml", 'extends = "sparse-awd-ptb"\n')
    (tmp_path / "run" / "best").symlink_to("checkpoints/step-1")
    (tmp_path / "probe").mkdir()
    monkeypatch.chdir(tmp_path)
    for name in ("matplotlib.figure", "sklearn.linear_model"):
        pytest.importorskip(name)
    return tmp_path


def words_of(name, *more):
    for package in ("onnx", "onnxruntime") if name == "export --out" else ():
        pytest.importorskip(package)
    writing = FILES[name]
    return [*writing.words.split(), name.split()[-1], writing.folder or writing.file, *more]


def test_the_table_has_every_option_that_writes():
    found = set()
    for command in COMMANDS:
        name = FUNCTIONS.get(command, command)
        module = importlib.import_module(f"refrain.cli.{name}")
        several = {"data": ("fetch", "check"), "models": ("fetch", "pack")}
        functions = [getattr(module, each) for each in several.get(command, (name,))]
        for function in functions:
            # two commands have one of this name
            label = f"{command} fetch" if function.__name__ == "fetch" else function.__name__
            hints = typing.get_type_hints(function)
            for name, parameter in inspect.signature(function).parameters.items():
                is_path = Path in (hints[name], *typing.get_args(hints[name]))
                if is_path and name not in INPUTS and parameter.kind is parameter.KEYWORD_ONLY:
                    found.add(f"{label} --{name.replace('_', '-')}")
    assert found == {*FILES, *FOLDERS, *SHARED}


@pytest.mark.parametrize("name", FILES)
def test_what_exists_is_refused_before_the_work(name, world, write, mistake, tree):
    write(FILES[name].file, "mine")
    before = tree(world)
    mistake(
        4,
        words_of(name),
        f"{name.split()[-1]}: {FILES[name].file} exists; choose another path, or replace it with --force",
    )
    assert tree(world) == before


@pytest.mark.parametrize("link", [os.link, os.symlink])
@pytest.mark.parametrize("name", FILES)
def test_what_is_read_is_refused_also_with_force(name, link, world, mistake, tree):
    output = world / FILES[name].file
    for path in FILES[name].read:
        link(world / path, output)
        before = tree(world)
        for more in ([], ["--force"]):
            mistake(
                2,
                words_of(name, *more),
                f"{name.split()[-1]}: {FILES[name].file} is also read, so it is never replaced",
            )
        assert tree(world) == before
        output.unlink()


@pytest.mark.parametrize("name", [name for name in FILES if name not in REQUIRED])
def test_force_without_a_file_is_refused(name, world, mistake):
    mistake(
        2,
        [*FILES[name].words.removesuffix(" --text text.txt").split(), "--force"],
        "--force cannot take effect without --",
    )


@pytest.mark.parametrize("name", FILES)
def test_a_file_in_a_folder_that_is_missing(name, world, mistake):
    if FILES[name].folder is None:
        words = [*words_of(name)[:-1], f"gone/{FILES[name].file}"]
        mistake(2, words, f"{name.split()[-1]}: gone/{FILES[name].file} must be a file in a folder that exists")


@pytest.mark.parametrize(("name", "case"), FOLDERS.items(), ids=FOLDERS)
def test_a_folder_that_exists_is_refused_before_the_work(name, case, world, write, mistake, tree):
    status, words = case
    write("out/mine", "mine")
    before = tree(world)
    mistake(status, [*words.split(), name.split()[-1], "out"], "out: exists already")
    if "fetch" not in name:
        mistake(4, [*words.split(), "--out", "out", "--force"], "out: holds other files than those of a run")
    assert tree(world) == before


@pytest.mark.parametrize(
    "words",
    [
        ["zaremba-small", "--data", "{corpus}", "--from", "run"],
        ["zaremba-small", "--data", "{corpus}", "--from", "run/best"],
        ["zaremba-small", "--data", "run"],
        ["zaremba-small", "--data", "run/samples"],
        ["run/recipe.toml", "--data", "{corpus}"],
    ],
)
def test_a_run_is_not_replaced_by_one_that_reads_it(run_copy, mistake, tree, tiny_corpus, monkeypatch, words):
    monkeypatch.chdir(run_copy.parent)
    before = tree(run_copy)
    words = [word.format(corpus=tiny_corpus) for word in words]
    mistake(2, ["train", *words, "--out", "run", "--force"], "--out:", "is also read, so it is never replaced")
    assert tree(run_copy) == before


def test_runs_of_seeds_are_not_replaced_by_some_that_read_them(run_copy, mistake, tree, tiny_corpus):
    folder = run_copy.parent / "seeds"
    (folder).mkdir()
    run_copy.rename(folder / "seed-1")
    (folder / "seeds.json").write_text("{}")
    before = tree(folder)
    words = ["train", "zaremba-small", "--data", tiny_corpus, "--from", folder / "seed-1", "--seeds", "2"]
    mistake(2, [*words, "--out", folder, "--force"], "is also read, so it is never replaced")
    assert tree(folder) == before


def test_the_corpus_of_a_run_is_read_as_well(refrain, mistake, tiny_run, tiny_corpus, tmp_path):
    output = tmp_path / "x.txt"
    os.link(tiny_corpus / "test.txt", output)
    mistake(2, ["evaluate", tiny_run, "--per-token", output, "--force"], "--per-token:", "x.txt is also read")
    assert output.read_text() == (tiny_corpus / "test.txt").read_text()


@pytest.mark.parametrize(
    "words",
    [
        ["evaluate", "--per-token", "x.tsv"],
        ["sparsity", "--plot", "x.html"],
        ["features", "t.txt", "--out", "x.npz"],
        ["report", "--out", "x.html"],
        ["plot", "--out", "x.png"],
    ],
)
def test_a_file_is_replaced_and_reported(refrain, tiny_run, write, tmp_path, monkeypatch, words):
    pytest.importorskip("matplotlib")
    monkeypatch.chdir(tmp_path)
    output = write(words[-1], "old")
    output.chmod(0o640)
    write("t.txt", "ant bee\n")
    outcome = refrain(words[0], tiny_run, *words[1:], "--force", "--json")
    assert outcome.json and outcome.err.endswith(f"wrote {words[-1]}\n")
    assert output.stat().st_size > 100
    assert os.name != "posix" or stat.S_IMODE(output.stat().st_mode) == 0o640
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted({words[-1], "t.txt"})


@pytest.mark.parametrize(("name", "status"), [("SIGINT", 130), ("SIGTERM", 143), ("SIGUSR1", 143)])
def test_nothing_stays_of_a_command_that_was_stopped(refrain, tiny_run, write, tmp_path, monkeypatch, name, status):
    if not hasattr(signal, name):
        pytest.skip(f"this system has no {name}")

    def stop(file, **arrays):
        file.write(b"half")
        os.kill(os.getpid(), getattr(signal, name))

    monkeypatch.setattr(np, "savez", stop)
    # processes that run tests side by side ignore this signal
    signal.signal(signal.SIGINT, signal.default_int_handler)
    output = write("x.npz", "old")
    words = ["features", tiny_run, write("t.txt", "ant\n"), "--out", output, "--force"]
    if name == "SIGINT":
        done = refrain(*words)
        assert (done.status, done.complaints) == (status, ["refrain: stopped"])
    else:
        with pytest.raises(SystemExit, match=str(status)):
            refrain(*words)
    assert output.read_text() == "old"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["t.txt", "x.npz"]


@pytest.mark.parametrize("ending", [".json", ".parquet", ".html", ".PNG"])
def test_a_table_is_not_written_to_a_file_of_another_kind(mistake, world, ending):
    words = ["evaluate", "run", "--per-token", f"x{ending}"]
    mistake(
        2, words, f"--per-token: x{ending} is to be a table; end it in .csv for commas, or in .tsv or .txt for tabs"
    )


@pytest.mark.parametrize("option", ["evaluate --confusion", "check --layout"])
def test_a_picture_is_not_written_to_a_file_of_another_kind(mistake, world, option):
    words = [*words_of(option)[:-1], "x.txt"]
    mistake(2, words, f"{option.split()[1]} must end in .png (got 'x.txt')")
