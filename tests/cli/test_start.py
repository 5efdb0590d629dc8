"""A wrong path or word is reported before torch is imported, and no command imports what it does not need.

The commands run in a process of their own, in which an import of torch fails, or in which those of others are listed.
"""

import json
import os
import subprocess
import sys
from typing import get_args

import pytest

from refrain.cli import options
from refrain.config import experiment
from refrain.recipes import RECIPES

# what takes a second of processor time and more, and is needed by nobody who measures or trains
HEAVY = ("torch._dynamo", "torch._inductor", "sympy", "scipy", "sklearn", "matplotlib", "torch.utils.tensorboard")
WITHOUT_TORCH = """
import json, sys

BLOCKED = ("torch", "scipy", "sklearn", "matplotlib")

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in BLOCKED:
            raise AssertionError(f"{name} was imported")

sys.meta_path.insert(0, Blocked())
import contextlib, io
from refrain.cli.app import main
for words in json.loads(sys.argv[1]):
    errors, out = io.StringIO(), io.StringIO()
    with contextlib.redirect_stderr(errors), contextlib.redirect_stdout(out):
        status = main(words)
    print(json.dumps([status, errors.getvalue(), out.getvalue()]))
"""
IMPORTED = """
import contextlib, io, json, sys
from refrain.cli.app import main
for words in json.loads(sys.argv[1]):
    errors = io.StringIO()
    with contextlib.redirect_stderr(errors), contextlib.redirect_stdout(io.StringIO()):
        status = main(words)
    print(json.dumps([words, status, [name for name in json.loads(sys.argv[2]) if name in sys.modules]]))
    assert not status, errors.getvalue()
"""


def in_process(code, *arguments, folder):
    words = [sys.executable, "-c", code, *map(json.dumps, arguments)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done


@pytest.fixture(scope="module")
def place(tmp_path_factory, tiny_corpus, tiny_run):
    """A folder with a run, a corpus, a file and a folder that are in the way of an output."""
    folder = tmp_path_factory.mktemp("start")
    (folder / "run").symlink_to(tiny_run, target_is_directory=True)
    (folder / "corpus").symlink_to(tiny_corpus, target_is_directory=True)
    (folder / "taken.txt").write_text("precious\n")
    (folder / "taken.npz").write_text("precious\n")
    (folder / "taken.png").write_text("precious\n")
    (folder / "taken").mkdir()
    (folder / "taken" / "a.txt").write_text("a b c\n")
    (folder / "reviews").mkdir()
    return folder


TRAIN = ["train", "zaremba-small", "--data", "corpus"]
MISTAKES = [
    (["evaluate", "nope"], 4, "nope: no such run folder"),
    (["evaluate", "run", "--data", "nope"], 3, "nope: no such file or folder"),
    (["evaluate", "run", "--method", "cache", "--cache-share", "3"], 2, "share must be at least 0"),
    (["evaluate", "run", "--skip-bad"], 2, "--skip-bad: cannot take effect with a language model"),
    (["evaluate", "run", "--per-token", "nope/x.tsv"], 2, "--per-token"),
    (["compare", "nope"], 4, "nope: no run is here"),
    (["compare", "run", "--data", "nope"], 3, "nope: no such file or folder"),
    (["score", "nope"], 4, "nope: no such run folder"),
    (["score", "run", "nope.txt"], 3, "nope.txt"),
    (["surprisal", "nope"], 4, "nope: no such run folder"),
    (["surprisal", "run", "nope.txt"], 3, "nope.txt"),
    (["surprisal", "run", "taken.txt", "--out", "taken.npz"], 2, "--out"),
    (["surprisal", "run", "taken.txt", "--column", "item"], 3, "the table has no rows"),
    (["pairs", "nope", "taken.txt"], 4, "nope: no such run folder"),
    (["pairs", "run", "nope.jsonl"], 3, "nope.jsonl"),
    (["pairs", "run", "taken.txt"], 3, "no JSON object"),
    (["pairs", "run"], 2, "no file of minimal pairs"),
    (["score", "run", "taken.txt", "--nbest"], 3, "is not the id of a hypothesis"),
    (["tag", "nope"], 4, "nope: no such run folder"),
    (["tag", "run", "taken.txt"], 4, "a tagger is needed"),
    (["tag", "run", "taken.txt", "--out", "taken.npz"], 4, "exists"),
    (["features", "nope", "taken.txt", "--out", "x.npz"], 4, "nope: no such run folder"),
    (["features", "run", "nope.txt", "--out", "x.npz"], 3, "nope.txt"),
    (["features", "run", "taken.txt", "--out", "taken.npz"], 4, "exists"),
    (["features", "run", "taken.txt", "--out", "x.npz", "--unit", "one"], 2, "--unit takes whole numbers"),
    (["probe", "nope", "--data", "reviews"], 4, "nope: no such run folder"),
    (["probe", "run", "--data", "nope"], 3, "nope"),
    (["probe", "run", "--data", "reviews"], 3, "reviews"),
    (["sparsity", "nope"], 4, "nope: no such run folder"),
    (["sparsity", "run", "--plot", "taken.png"], 4, "exists"),
    (["compress", "nope", "--out", "x"], 4, "nope: no such run folder"),
    (["compress", "run", "--out", "taken"], 4, "taken: exists already"),
    (["compress", "run", "--out", "x", "--data", "nope"], 3, "nope: no such file or folder"),
    (["compress", "run", "--out", "x", "--to", "half"], 2, "--to must be"),
    (["export", "nope", "--format", "c", "--no-proof", "--out", "x"], 4, "nope: no such run folder"),
    (["export", "run", "--format", "tflite", "--out", "x"], 2, "--format must be one of"),
    (["generate", "nope"], 4, "nope: no such run folder"),
    (["generate", "run", "--tokens", "-1"], 2, "--tokens must be at least 0"),
    (["data", "check", "nope"], 3, "nope: no such file or folder"),
    (["data", "check", "corpus", "--unit", "letter"], 2, "--unit must be one of"),
    (["data", "fetch", "nope"], 3, "unknown corpus"),
    (["data", "nope"], 2, "unknown command"),
    (["check", "zaremba-small", "--data", "nope"], 3, "nope: no such file or folder"),
    (["check", "nope"], 2, "unknown recipe"),
    (["train", "zaremba-small", "--data", "nope"], 3, "nope: no such file or folder"),
    (["train", "pos-default", "--data", "nope"], 3, "nope: no such file or folder"),
    (["train", "pos-default", "--data", "taken"], 3, "taken"),
    (["train", "nope"], 2, "unknown recipe"),
    ([*TRAIN, "training.epoch=3"], 2, "training.epoch: unknown key"),
    ([*TRAIN, "training.epochs=two"], 2, "must be"),
    ([*TRAIN, "--from", "nope"], 4, "nope: no such run folder"),
    ([*TRAIN, "--out", "taken"], 4, "taken: exists already"),
    (["train", "--resume", "--out", "nope"], 4, "nope: no such run folder"),
    (["train", "--resume", "--out", "taken"], 4, "taken"),
    (["bench", "nope"], 2, "unknown bench"),
    (["bench", "train", "--repeats", "0"], 2, "at least 1"),
    (["nope"], 2, "nope"),
]
TABLES = [
    ["runs", "."],
    ["watch", "."],
    ["data"],
    ["data", "list"],
    ["recipes"],
    ["recipes", "zaremba-small"],
    ["--help"],
    ["evaluate", "--help"],
]
CORPUS = [["data", "check", "corpus"]]


def test_mistakes_are_reported_and_tables_are_shown_without_torch(place):
    words = [words for words, *_ in MISTAKES] + TABLES + CORPUS
    done = in_process(WITHOUT_TORCH, words, folder=place)
    results = [json.loads(line) for line in done.stdout.splitlines()]
    for (words, status, part), (found, errors, out) in zip(MISTAKES, results, strict=False):
        lines = [line for line in errors.splitlines() if line.startswith("refrain: ")]
        assert (found, out, len(lines)) == (status, "", 1), (words, errors)
        assert part in lines[0], words
    for words, (found, errors, out) in zip(TABLES + CORPUS, results[len(MISTAKES) :], strict=True):
        assert found == 0 and out, (words, errors)


def test_what_is_missing_is_reported_without_the_settings_of_models(place):
    others = ("train", "probe")  # these need a recipe, or scikit-learn
    runs = [words for words, *_, part in MISTAKES if part == "nope: no such run folder" and words[0] not in others]
    corpora = [["data", "check", "nope"], ["check", "zaremba-small", "--data", "nope"], [*TRAIN[:3], "nope"]]
    done = in_process(
        WITHOUT_TORCH.replace('("torch",', '("torch", "numpy", "pydantic",'), runs + corpora, folder=place
    )
    statuses = [json.loads(line)[0] for line in done.stdout.splitlines()]
    assert statuses == [4] * len(runs) + [3] * len(corpora)
    assert len(runs) >= 6


def test_the_protocols_of_the_command_line_are_those_of_the_settings():
    assert get_args(options.Protocol) == get_args(experiment.Protocol)


def test_loading_in_python_reports_a_wrong_path_without_torch(place):
    code = WITHOUT_TORCH.partition("import contextlib")[0] + (
        "import refrain\n"
        "for path in ('nope', 'taken', 'taken.txt'):\n"
        "    try:\n"
        "        refrain.load(path)\n"
        "    except refrain.CheckpointError as error:\n"
        "        print(error)\n"
    )
    lines = in_process(code, folder=place).stdout.splitlines()
    assert [line.partition(":")[0] for line in lines] == ["nope", "taken", "taken.txt"]


COMMANDS = [
    ["evaluate", "run"],
    ["evaluate", "run", "--method", "dynamic+cache", "--search", "2"],
    ["score", "run", "taken.txt"],
    ["surprisal", "run", "taken.txt", "--out", "surprisal.tsv"],
    ["features", "run", "taken.txt", "--out", "states.npz"],
    ["generate", "run", "--tokens", "3"],
    ["sparsity", "run"],
]


def test_commands_do_not_import_what_they_do_not_need(place, tiny_settings):
    small = ["zaremba-small", "--data", "corpus", *tiny_settings]
    training = [
        ["check", *small],
        ["train", *small, "training.epochs=1", "training.optimizer=adam", "--out", "adam"],
        ["train", *small, "training.epochs=1", "--out", "sgd"],
        ["train", "--resume", "--out", "sgd"],
    ]
    for code in in_process(IMPORTED, COMMANDS + training, HEAVY, folder=place).stdout.splitlines():
        words, status, heavy = json.loads(code)
        assert (status, heavy) == (0, []), words


def test_a_loaded_model_does_not_import_what_it_does_not_need(place):
    code = (
        "import json, sys, refrain\n"
        "lm = refrain.load('run')\n"
        "lm.score('ant bee .'), lm.generate('ant', tokens=3), lm.features(['ant bee'])\n"
        # as the sizes of a model are checked before it is built
        "import torch\n"
        "from refrain.assembly.model import build_model\n"
        "from refrain.config import Experiment\n"
        "with torch.device('meta'):\n"
        "    for each in map(refrain.recipe, json.loads(sys.argv[2])):\n"
        "        isinstance(each, Experiment) and build_model(each.model, 9000)\n"
        "print([name for name in json.loads(sys.argv[1]) if name in sys.modules])\n"
    )
    assert in_process(code, HEAVY, list(RECIPES), folder=place).stdout == "[]\n"
