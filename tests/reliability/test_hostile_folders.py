"""Folders of strangers: no command executes, follows or waits for what somebody has put into a run folder."""

import hashlib
import os
import pickle
import shutil
import socket
import subprocess
import sys

import pytest
from bounds import memory_limit, time_limit
from payloads import PAYLOADS, Canary, Place, python_modules
from stopping import train_and_stop

from refrain.cli.app import main
from refrain.recipes import recipe

SECONDS, MEGABYTES = 10, 1500
# the commands that read a run, with the place of the run, a text, labelled tables and a folder to write to
COMMANDS = [
    "evaluate {run}",
    "generate {run} --tokens 3 --seed 1",
    "score {run} {text}",
    "tag {run} {text} --tokenised",
    "features {run} {text} --out {out}/states.npz",
    "probe {run} --data {tables}",
    "sparsity {run}",
    "runs {run}",
    "compare {run} --data {text}",
    "compress {run} --out {out}/small",
    "train --resume --out {run} --quiet",
    "train {recipe} --force --out {run} --quiet",
    "train {recipe} --from {run} --out {out}/run --quiet",
]


@pytest.fixture(scope="module")
def words(tiny_settings, tiny_corpus):
    return ["zaremba-small", *tiny_settings, "--data", str(tiny_corpus)]


@pytest.fixture(scope="module")
def victim(tmp_path_factory, tiny_settings, tiny_corpus):
    """A run that was stopped in its second epoch."""
    experiment = recipe("zaremba-small", *tiny_settings, data=str(tiny_corpus))
    return train_and_stop(experiment, tmp_path_factory.mktemp("victim") / "run", 40)


@pytest.fixture
def no_network(monkeypatch):
    def refuse(*words, **more):
        raise AssertionError("the network was used")

    for name in ("socket", "create_connection", "getaddrinfo"):
        monkeypatch.setattr(socket, name, refuse)


def look(folder):
    """Names, contents, links and times of all below a folder."""
    found = {}
    for path in sorted([folder, *folder.rglob("*")]):
        state = path.lstat()
        content = path.read_bytes() if path.is_file() and not path.is_symlink() else b""
        target = os.readlink(path) if path.is_symlink() else ""
        found[path] = (hashlib.sha256(content).hexdigest(), target, state.st_mtime_ns, state.st_mode, state.st_nlink)
    return found


@pytest.fixture
def surroundings(victim, write, tmp_path):
    """A folder outside of the run, which nobody may touch, and what the commands need."""
    outside = tmp_path / "outside"
    shutil.copytree(victim, outside / "run", symlinks=True)
    write("outside/precious.txt", "precious\n" * 100)
    for split in ("train", "dev", "test"):
        write(
            f"tables/{split}.tsv", "".join(f"{'ab'[n % 2]}\tant bee {'cat' if n % 2 else 'dog'}\n" for n in range(20))
        )
    write("text.txt", "ant bee\n")
    return outside


@pytest.mark.filterwarnings("always")
@pytest.mark.parametrize("payload", PAYLOADS, ids=lambda payload: payload.__name__)
def test_hostile_folders(payload, victim, surroundings, words, tmp_path, trials, report, no_network, unflushed, capsys):
    before = look(surroundings)
    turn = PAYLOADS.index(payload)
    count = trials(2, len(COMMANDS))
    statuses = []
    for command in [COMMANDS[(turn * 3 + step * 4) % len(COMMANDS)] for step in range(count)]:
        base = tmp_path / f"base-{len(statuses)}"
        run = shutil.copytree(victim, base / "run", symlinks=True)
        (base / "out").mkdir()
        payload(Place(run, surroundings, tmp_path / "canary"))
        places = {"run": run, "text": tmp_path / "text.txt", "tables": tmp_path / "tables", "out": base / "out"}
        line = [each for word in command.split() for each in (words if word == "{recipe}" else [word.format(**places)])]
        capsys.readouterr()
        with time_limit(SECONDS), memory_limit(MEGABYTES):
            statuses.append(main(line))
        out, err = capsys.readouterr()
        assert statuses[-1] in (0, 2, 3, 4), line
        assert "not enough memory" not in err, line
        assert not {"\x1b", "\x07", "\x00"} & {*out, *err}, (line, err)
        assert not (tmp_path / "canary").exists(), line
        assert look(surroundings) == before, line
    report("hostile folders", f"{payload.__name__}: {count} commands, {statuses.count(0)} of them went on")


def test_the_canary_sings_where_it_is_executed(tmp_path):
    pickle.loads(pickle.dumps(Canary(tmp_path / "canary")))
    assert (tmp_path / "canary").read_text() == "executed"


def test_modules_in_the_current_folder_are_not_imported(victim, tmp_path, own_environment):
    """The command is started in a run folder with modules of the names of packages."""
    run = shutil.copytree(victim, tmp_path / "run", symlinks=True)
    python_modules(Place(run, tmp_path, tmp_path / "canary"))
    # as the script of the command, whose folder is not the current one
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "refrain").write_text("from refrain.cli.app import run\n\nrun()\n")
    done = subprocess.run(
        [sys.executable, tmp_path / "bin" / "refrain", "evaluate", "."],
        cwd=run,
        env=own_environment,
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.returncode == 0, done.stderr
    assert not (tmp_path / "canary").exists()
