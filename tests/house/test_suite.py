"""What the tests themselves keep: all of them are collected, and no process outlives its test."""

import ast
import os
import pathlib
import subprocess
import sys
import time

import processes
import pytest

ROOT = pathlib.Path(__file__).parents[2]
SETTINGS = ROOT / "pyproject.toml"
RUBBISH = ("build", "dist", "node_modules", "env", "venv")
TESTS = sorted((ROOT / "tests").rglob("*.py"))


def collected(root, environment):
    """The test files below `tests` in which pytest finds tests, when it is called as `make test` calls it."""
    words = [sys.executable, "-m", "pytest", "--collect-only", "-p", "no:cacheprovider", "--no-header"]
    done = subprocess.run(words, cwd=root, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout[-1000:] + done.stderr
    return {line.split("::")[0].split(": ")[0] for line in done.stdout.splitlines() if line.startswith("tests/")}


def test_every_test_file_is_collected(tmp_path, own_environment):
    """By its name, whatever is in it: files of one test stand for ours, as importing ours takes long."""
    (tmp_path / "pyproject.toml").write_text(SETTINGS.read_text())
    ours = {path.relative_to(ROOT) for path in TESTS if path.name.startswith("test_")}
    # names that pytest passes over when it is left to itself, and others that tools read as rubbish
    rubbish = {pathlib.Path("tests", name, f"test_in_{name}.py") for name in RUBBISH}
    for path in ours | rubbish:
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text("def test_something():\n    pass\n")
    assert collected(tmp_path, own_environment) == {path.as_posix() for path in ours | rubbish}


def test_no_test_file_is_left_out_by_a_hook():
    for path in TESTS:
        assert not {"collect_ignore", "collect_ignore_glob", "pytest_ignore_collect"} & set(names(path)), path


def names(path):
    """The names that a file gives to something outside of functions."""
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.FunctionDef):
            yield node.name
        elif isinstance(node, ast.Assign):
            yield from (ast.unparse(target) for target in node.targets)


def calls(path):
    """Each call in a file, by the name that is called."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func), node


@pytest.mark.parametrize("path", TESTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_no_process_outlives_its_test(path):
    """A process that a test starts has a deadline, or is one of `tests/processes.py`, where all of them have one."""
    if path.name == "processes.py":
        return
    for name, call in calls(path):
        if name in ("subprocess.run", "subprocess.check_output", "subprocess.check_call", "subprocess.call"):
            assert "timeout" in {keyword.arg for keyword in call.keywords}, f"line {call.lineno}: no timeout"
        assert not name.endswith((".Popen", ".Process", "start_processes", "mp.spawn")), f"line {call.lineno}: {name}"


def hang(rank, folder):
    (folder / str(os.getpid())).touch()
    time.sleep(1000)


def test_ranks_that_hang_are_killed(monkeypatch, tmp_path):
    # long enough for both to be there
    monkeypatch.setattr(processes, "PATIENCE", 10)
    with pytest.raises(pytest.fail.Exception, match="2 processes of hang have not ended after 10 s"):
        processes.run_ranks(hang, 2, tmp_path)
    for path in tmp_path.iterdir():
        with pytest.raises(ProcessLookupError):
            os.kill(int(path.name), 0)


HANGING = """
import time

def test_hangs():
    time.sleep(1000)

def test_does_not():
    pass
"""


def test_a_test_that_hangs_fails_with_the_place_and_the_next_one_runs(tmp_path, own_environment):
    settings = SETTINGS.read_text()
    assert "\ntimeout = 600\n" in settings
    (tmp_path / "pyproject.toml").write_text(settings.replace("\ntimeout = 600\n", "\ntimeout = 1\n"))
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "test_hanging.py").write_text(HANGING)
    words = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider"]
    done = subprocess.run(words, cwd=tmp_path, env=own_environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 1 and "1 failed, 1 passed" in done.stdout
    assert "time.sleep(1000)" in done.stdout and "Timeout" in done.stdout
