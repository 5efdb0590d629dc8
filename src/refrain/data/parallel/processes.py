"""Doing a job with the pieces of a text, in this process or in several that it starts.

The processes are started as commands and speak JSON through pipes. So they share nothing with this process, whose
threads and GPU make a fork unsafe, need no guard in the user's script, and unpickle nothing.
"""

import contextlib
import json
import os
import queue
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import chain, islice
from typing import Any

from refrain.errors import BinaryFileError, CheckpointError, DataError, InvalidUTF8Error, MachineError, UserError
from refrain.storage.folders import CacheError

from ..text.files import Piece, Spans, size_of
from ..text.pieces import as_document
from .jobs import Job, job_of

SMALL_BYTES = 20_000_000
"""A text of fewer bytes is read by this process alone unless a number of processes is given."""
MOST_WORKERS = 8
"""The largest number of processes that is chosen without being given."""

_WORKER = "refrain.data.parallel.worker"
_ERRORS: dict[str, type[UserError]] = {
    error.__name__: error
    for error in (UserError, DataError, InvalidUTF8Error, BinaryFileError, CheckpointError, MachineError, CacheError)
}
# libraries of the processes must not start threads of their own
_ENVIRONMENT = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
_PATIENCE = 0.5

Task = tuple[int, tuple[Piece, ...]]
Answer = dict[str, Any]


def is_small(texts: Iterable[Spans], workers: int | None) -> bool:
    """Whether texts are read as one, without cutting them in pieces.

    Args:
        texts: the texts.
        workers: the number of processes that the user gives, or None.
    """
    return workers is None and sum(map(size_of, texts)) < SMALL_BYTES


def usable_processors() -> int:
    """The number of processors that this process may use."""
    # absent on macOS and Windows
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def command_of(module: str) -> list[str]:
    """The command that calls the function `main` of a module in a process with the same Python and search path."""
    code = f"import json, sys; sys.path[:] = json.loads(sys.argv[1]); from {module} import main; main()"
    # -P, or a file of the current folder could take the place of a module
    return [sys.executable, "-P", "-c", code, json.dumps([path or os.getcwd() for path in sys.path])]


def do_job(
    name: str,
    settings: Mapping[str, Any],
    groups: Iterable[tuple[Piece, ...]],
    *,
    workers: int | None,
    take: Callable[[Any], None] = lambda result: None,
    here: Callable[[], Job] | None = None,
) -> list[Any]:
    """Do a job with the pieces of a text.

    Args:
        name: the name of the job.
        settings: its settings as plain data; every process finds its own number as `worker` in them.
        groups: the pieces, in groups that one process reads.
        workers: the number of processes; None is the number of processors, at most 8. As many are started as there are
            groups, and with one the job is done in this process.
        take: called with the result of each group, in the order of the groups.
        here: makes the job of this process; None makes it from the settings.

    Returns:
        What each process knows of all its pieces, in the order of the processes.

    Raises:
        MachineError: when a process cannot be started or has ended.
        UserError: the error that a process reports; of several, that of the first group.
    """
    every = iter(enumerate(groups))
    allowed = workers or min(usable_processors(), MOST_WORKERS)
    first = list(islice(every, allowed))
    tasks = chain(first, every)
    if len(first) <= 1 or allowed == 1:
        job = here() if here is not None else job_of(name, {**settings, "worker": 0})
        for number, pieces in tasks:
            take(job.work(number, pieces))
        return [job.finish()]
    with _started(len(first), name, settings) as processes:
        return _Dispatch(processes, tasks, take).run()


@contextlib.contextmanager
def _started(count: int, name: str, settings: Mapping[str, Any]) -> Iterator[list["subprocess.Popen[str]"]]:
    """Processes with a job; none is left at the end."""
    command = command_of(_WORKER)
    processes: list[subprocess.Popen[str]] = []
    try:
        for number in range(count):
            try:
                process = subprocess.Popen(
                    command,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    encoding="ascii",
                    env={**os.environ, **_ENVIRONMENT},
                )
            except OSError as error:
                raise MachineError(
                    f"data.workers: a process that reads the text cannot be started ({error.strerror}); "
                    "read it without with data.workers=1"
                ) from None
            processes.append(process)
            _send(process, {"job": name, "settings": {**settings, "worker": number}})
        yield processes
    finally:
        for process in processes:
            process.kill()
        for process in processes:
            process.wait()
            for pipe in (process.stdin, process.stdout):
                # what was not sent is of no use
                with contextlib.suppress(OSError):
                    if pipe is not None:
                        pipe.close()


class _Dispatch:
    """Gives groups of pieces to processes as they ask for them, and takes the results in order.

    One thread a process sends a group and waits for its answer, since pipes can be waited for in no other way on every
    system.
    """

    def __init__(
        self, processes: list["subprocess.Popen[str]"], tasks: Iterator[Task], take: Callable[[Any], None]
    ) -> None:
        self._processes = processes
        self._tasks = tasks
        self._take = take
        self._lock = threading.Lock()
        # number of the group, or -1 - number of the process that has finished; its answer
        self._answers: queue.SimpleQueue[tuple[int, Answer]] = queue.SimpleQueue()

    def run(self) -> list[Any]:
        """Do all tasks, and return what each process knows of all its pieces."""
        for number in range(len(self._processes)):
            threading.Thread(target=self._attend, args=(number,), daemon=True).start()
        waiting: dict[int, Answer] = {}
        finished: dict[int, Any] = {}
        taken = 0
        while len(finished) < len(self._processes):
            try:
                # waiting for a time, because an endless wait cannot be interrupted on Windows
                number, answer = self._answers.get(timeout=_PATIENCE)
            except queue.Empty:
                continue
            if number < 0:
                finished[-1 - number] = _result(answer)
                continue
            waiting[number] = answer
            # an error is raised when its turn comes, so that it is always that of the first group
            while taken in waiting:
                self._take(_result(waiting.pop(taken)))
                taken += 1
        return [finished[number] for number in range(len(self._processes))]

    def _attend(self, number: int) -> None:
        """Give groups to a process until there are no more, or until it fails."""
        index = -1 - number
        try:
            while (task := self._next()) is not None:
                answer = _exchange(self._processes[number], {"number": task[0], "pieces": as_document(task[1])})
                if "ended" in answer:
                    break
                self._answers.put((task[0], answer))
                if "result" not in answer:
                    return
            else:
                answer = _exchange(self._processes[number], None)
        except Exception as error:
            answer = {"raised": error}
        self._answers.put((index, answer))

    def _next(self) -> Task | None:
        # a process gets its groups in order, because they are sent as they are taken
        with self._lock:
            return next(self._tasks, None)


def _exchange(process: "subprocess.Popen[str]", request: Mapping[str, Any] | None) -> Answer:
    """Send a request to a process, and return its answer."""
    assert process.stdout is not None
    try:
        _send(process, request)
        line = process.stdout.readline()
    except (OSError, ValueError):
        line = ""
    if not line:
        code = process.wait()
        return {"ended": f"with status {code}" if code >= 0 else f"by signal {-code}"}
    answer: Answer = json.loads(line)
    return answer


def _send(process: "subprocess.Popen[str]", request: Mapping[str, Any] | None) -> None:
    assert process.stdin is not None
    # a process that has ended is noticed when its answer is awaited
    with contextlib.suppress(BrokenPipeError):
        process.stdin.write(json.dumps(request) + "\n")
        process.stdin.flush()


def _result(answer: Answer) -> Any:
    """The result of an answer; an error of the process is raised here."""
    if "raised" in answer:
        raise answer["raised"]
    if "ended" in answer:
        raise MachineError(
            f"a process that reads the text ended {answer['ended']}; free some memory, or read the text with fewer "
            "processes, as with data.workers=1"
        )
    if "user_error" in answer:
        name, *mistakes = answer["user_error"]
        raise _ERRORS.get(name, UserError)(*mistakes)
    if "os_error" in answer:
        number, words, path = answer["os_error"]
        raise OSError(number, words, path)
    if "failure" in answer:
        raise RuntimeError(f"a process that reads the text failed:\n{answer['failure']}")
    return answer["result"]
