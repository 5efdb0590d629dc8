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
TESTS = sorted((ROOT / "tests").rglob("*.py"))


def collected(root, environment):
    """The test files below `tests` in which pytest finds tests, when it is called as `make test` calls it."""
    words = [sys.executable, "-m", "pytest", "--collect-only", "-p", "no:cacheprovider", "--no-header"]
    done = subprocess.run(words, cwd=root, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout[-1000:] + done.stderr
    return {line.split("::")[0].split(": ")[0] for line in done.stdout.splitlines() if line.startswith("tests/")}


def in_the_tree(root):
    return {path.relative_to(root).as_posix() for path in (root / "tests").rglob("test_*.py")}


def test_every_test_file_is_collected(own_environment):
    assert collected(ROOT, own_environment) == in_the_tree(ROOT)


@pytest.mark.parametrize("name", ["build", "dist", "node_modules", "env", "venv"])
def test_no_name_of_a_folder_hides_its_tests(name, tmp_path, own_environment):
    """The names that pytest passes over when it is left to itself, and others that tools read as rubbish."""
    (tmp_path / "pyproject.toml").write_text(SETTINGS.read_text())
    folder = tmp_path / "tests" / name
    folder.mkdir(parents=True)
    (folder / "test_something.py").write_text("def test_something():\n    pass\n")
    assert collected(tmp_path, own_environment) == {f"tests/{name}/test_something.py"} == in_the_tree(tmp_path)


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
