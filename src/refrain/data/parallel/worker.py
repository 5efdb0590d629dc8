"""A process that does a job with the pieces of a text, as another process asks for by lines of JSON."""

import json
import os
import queue
import signal
import sys
import threading
import traceback
from typing import Any, TextIO

from refrain.errors import UserError

from ..text.pieces import from_document
from .jobs import job_of


def main() -> None:
    """Read the job from the first line of standard input and the numbers of its pieces from the others.

    A line is answered by a line. The process ends when standard input does, whatever it is doing, and leaves an
    interrupt of the keyboard, which reaches all processes, to the one that has started it.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # a package that prints must not disturb the answers
    answers = os.fdopen(os.dup(1), "w", encoding="ascii")
    os.dup2(2, 1)
    asked: queue.SimpleQueue[Any] = queue.SimpleQueue()
    threading.Thread(target=_read, args=(sys.stdin, asked), daemon=True).start()
    try:
        first = asked.get()
        job = job_of(first["job"], first["settings"])
        while (request := asked.get()) is not None:
            _answer(answers, job.work(request["number"], from_document(request["pieces"])))
        _answer(answers, job.finish())
    except UserError as error:
        _write(answers, {"user_error": [type(error).__name__, *error.mistakes]})
    except MemoryError:
        remedy = "free some memory, or read the text with fewer processes, as with data.workers=1"
        _write(answers, {"user_error": ["UserError", f"a process that reads the text has no memory left; {remedy}"]})
    except OSError as error:
        _write(answers, {"os_error": [error.errno, error.strerror, str(error.filename or "")]})
    except Exception:
        _write(answers, {"failure": traceback.format_exc()})


def _read(source: TextIO, asked: "queue.SimpleQueue[Any]") -> None:
    for line in source:
        asked.put(json.loads(line))
    # the process that asks has ended or needs no more
    os._exit(0)


def _answer(answers: TextIO, result: Any) -> None:
    _write(answers, {"result": result})


def _write(answers: TextIO, document: dict[str, Any]) -> None:
    try:
        answers.write(json.dumps(document) + "\n")
        answers.flush()
    except OSError:
        # nobody reads the answers any more
        os._exit(0)
