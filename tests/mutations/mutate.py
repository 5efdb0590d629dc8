"""Make one mistake after the other in a copy of the tree, and see that the tests notice each.

    python tests/mutations/mutate.py [WORD]     only mutations with the word in their name, file or tests

The working tree is only read. The exit status is 1 when a mutation survives, 2 when one cannot be made or its tests do
not pass without it.
"""

import argparse
import concurrent.futures
import os
import pathlib
import queue
import re
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
from typing import NamedTuple

ROOT = pathlib.Path(__file__).parents[2]
LIST = pathlib.Path(__file__).with_name("mutations.toml")
COPIED = ("src", "tests", "wheels", "pyproject.toml", "README.md", "CHANGELOG.md", "docs")
# a mutation may let a test run for ever, which is a way to notice it
PATIENCE = 240


class Mutation(NamedTuple):
    """A mistake of one line: its name, old and new text, and the tests that notice it."""

    name: str
    old: str
    new: str
    tests: str


def mutations(word=""):
    """The mutations of the list that have a word in their name or their tests."""
    listed = [Mutation(**entry) for entry in tomllib.loads(LIST.read_text(encoding="utf-8"))["mutation"]]
    return [mutation for mutation in listed if word in mutation.name or word in mutation.tests]


def mutated(mutation, root):
    """The file of a tree that has the old text, and its content with the new one.

    Raises:
        ValueError: when the mutation cannot be made.
    """
    files = [path for ending in ("py", "cpp", "h") for path in (root / "src" / "refrain").rglob(f"*.{ending}")]
    contents = {path: path.read_text(encoding="utf-8") for path in files}
    counts = {path: text.count(mutation.old) for path, text in contents.items() if mutation.old in text}
    if sum(counts.values()) != 1:
        places = ", ".join(f"{count} in {path.relative_to(root)}" for path, count in counts.items()) or "none"
        raise ValueError(f"{mutation.name}: the old text must stand in the package once; found {places}")
    (path,) = counts
    content = contents[path].replace(mutation.old, mutation.new)
    if content == contents[path] or "\n" in mutation.old + mutation.new:
        raise ValueError(f"{mutation.name}: must change one line")
    if path.suffix == ".py":
        compile(content, str(path), "exec")
    return path, content


def words_of(mutation, root):
    """What pytest is called with.

    Raises:
        ValueError: when the test file is not there, or twice.
    """
    name, *more = mutation.tests.split(" ")
    found = list((root / "tests").rglob(name))
    if len(found) != 1:
        raise ValueError(f"{mutation.name}: {len(found)} files are called {name}")
    return [str(found[0]), *more]


def run_tests(mutation, tree):
    """The exit status of pytest, 0 where the tests pass and 1 where one fails, and the name of that one."""
    environment = {
        **os.environ,
        "PYTHONPATH": str(tree / "src"),
        "OMP_NUM_THREADS": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    words = [sys.executable, "-m", "pytest", "-x", "-p", "no:cacheprovider", "-p", "no:xdist"]
    words += [f"--basetemp={tree.parent / tree.name}-scratch", *words_of(mutation, tree)]
    try:
        done = subprocess.run(words, cwd=tree, env=environment, capture_output=True, text=True, timeout=PATIENCE)
    except subprocess.TimeoutExpired:
        return 1, f"{PATIENCE} s are over"
    if done.returncode not in (0, 1):
        print(done.stdout[-2000:], done.stderr[-2000:], file=sys.stderr)
    failed = re.search(r"^(?:FAILED|ERROR) \S*?(\w+\.py::\S+)", done.stdout, re.MULTILINE)
    return done.returncode, failed[1] if failed else ""


def copy(to):
    """A copy of the tree, without what was compiled."""
    to.mkdir()
    for name in COPIED:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, to / name, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
        else:
            shutil.copy(ROOT / name, to / name)
    return to


def outcome(mutation, tree):
    """Which file is changed, whether its tests notice, and which of them."""
    path, content = mutated(mutation, tree)
    original = path.read_text(encoding="utf-8")
    path.write_text(content, encoding="utf-8")
    try:
        status, failed = run_tests(mutation, tree)
    finally:
        path.write_text(original, encoding="utf-8")
    # a mistake by which the process is killed is noticed as well
    result = (
        "caught" if status < 0 else {0: "SURVIVED", 1: "caught"}.get(status, f"broken: pytest leaves with {status}")
    )
    return path.relative_to(tree / "src" / "refrain"), result, failed or mutation.tests


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("word", nargs="?", default="", help="only mutations with this in their name or tests")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="how many are tried at a time")
    parser.add_argument("--quick", action="store_true", help="take for granted that the tests pass without a mutation")
    options = parser.parse_args()
    chosen = mutations(options.word)
    try:
        for mutation in chosen:
            mutated(mutation, ROOT)
            words_of(mutation, ROOT)
    except (ValueError, SyntaxError) as error:
        print(f"cannot be made: {error}", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory() as scratch:
        return try_all(chosen, pathlib.Path(scratch), options.jobs, quick=options.quick)


def try_all(chosen, scratch, jobs, *, quick):
    """Try mutations in as many copies as there are jobs, and print a table; the exit status."""
    trees = queue.SimpleQueue()
    for number in range(jobs):
        trees.put(copy(scratch / str(number)))

    def in_a_tree(work, mutation):
        tree, started = trees.get(), time.monotonic()
        try:
            return work(mutation, tree), time.monotonic() - started
        finally:
            trees.put(tree)

    first_of = {} if quick else {mutation.tests: mutation for mutation in reversed(chosen)}
    results = []
    pool = concurrent.futures.ThreadPoolExecutor(jobs)
    try:
        passing = pool.map(lambda mutation: in_a_tree(run_tests, mutation), first_of.values())
        failing = [failed for (status, failed), _ in passing if status]
        for failed in failing:
            print(f"does not pass without a mutation: {failed}", file=sys.stderr)
        if failing:
            return 2
        found = pool.map(lambda mutation: in_a_tree(outcome, mutation), chosen)
        for mutation, ((path, result, tests), seconds) in zip(chosen, found, strict=True):
            print(f"{result:8} {seconds:4.0f} s  {mutation.name} | {path} | {tests}", flush=True)
            results.append(result)
    finally:
        pool.shutdown(cancel_futures=True)
    print(f"{results.count('caught')} of {len(results)} mutations caught")
    return 0 if set(results) <= {"caught"} else 1 if "SURVIVED" in results else 2


if __name__ == "__main__":
    sys.exit(main())
