"""A process that has imported everything and forks the processes of a trial, each of which then starts in milliseconds.

It calls functions of test files by name, with the environment, the output and the deadline that the caller gives.
"""

import contextlib
import os
import signal
import sys
import time
import traceback

from processes import PATIENCE, forking, started

from refrain.training.interrupt import SIGNALS


class Fork:
    """A forked process.

    Attributes:
        pid: its number, which stays its own until its end was seen by `poll` or `wait`.
        output: the file with what it has printed, on both streams.
    """

    def __init__(self, connection, pid, output):
        self._connection, self.pid, self.output = connection, pid, output
        self._status = None

    def poll(self):
        """Its exit status, negative for a signal; None while it runs."""
        if self._status is None:
            self._connection.send(("poll", self.pid))
            self._status = self._connection.recv()
        return self._status

    def wait(self, seconds=PATIENCE):
        """Its exit status, or None when it has not ended in time."""
        end = time.monotonic() + seconds
        while self.poll() is None and time.monotonic() < end:
            time.sleep(0.002)
        return self._status

    def signal(self, number):
        if self._status is None:
            os.kill(self.pid, number)

    def text(self):
        return self.output.read_text(encoding="utf-8")

    def complaint(self):
        """The one line in which a command has reported its error."""
        text = self.text()
        assert "Traceback" not in text, text
        (line,) = [line for line in text.splitlines() if line.startswith("refrain: ")]
        return line


class ForkServer:
    """The caller's end. Output goes to files in a folder, one a process."""

    def __init__(self, connection, folder):
        self._connection, self._folder, self._count = connection, folder, 0

    def start(self, target, *arguments):
        self._count += 1
        output = self._folder / f"output-{self._count}.txt"
        environment = {name: value for name, value in os.environ.items() if name.startswith("REFRAIN")}
        self._connection.send(("start", target, arguments, str(output), environment))
        return Fork(self._connection, self._connection.recv(), output)

    def status(self, target, *arguments):
        """Call a function in a process of its own: the process, which has ended, and its exit status."""
        fork = self.start(target, *arguments)
        status = fork.wait()
        assert status is not None, f"{target.__name__} has not ended after {PATIENCE} s"
        return fork, status


@contextlib.contextmanager
def fork_server(folder):
    here, there = forking().Pipe()
    with started(serve, there):
        there.close()
        yield ForkServer(here, folder)
        here.close()


def serve(connection):
    import torch

    import refrain.cli.train
    import refrain.recipes
    import refrain.runs  # noqa: F401

    torch.set_num_threads(1)
    # an optimiser imports a large part of torch when it is made
    torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    while True:
        try:
            request = connection.recv()
        except EOFError:
            return
        match request:
            case "start", target, arguments, output, environment:
                pid = os.fork()
                if pid == 0:
                    connection.close()
                    _call(target, arguments, output, environment)
                connection.send(pid)
            case "poll", pid:
                ended, status = os.waitpid(pid, os.WNOHANG)
                connection.send(os.waitstatus_to_exitcode(status) if ended else None)


def _call(target, arguments, output, environment):
    """Call `target` and end the process with what it returns, or 1 when it raises."""
    status = 1
    try:
        for number in SIGNALS:
            signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
        # ends the process, should it outlive the test
        signal.alarm(PATIENCE)
        handle = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        os.dup2(handle, 1)
        os.dup2(handle, 2)
        os.environ.update(environment)
        status = target(*arguments) or 0
    except SystemExit as end:
        status = int(end.code or 0)
    except KeyboardInterrupt:
        status = 130
    except BaseException:
        traceback.print_exc()
    finally:
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError, ValueError):
                stream.flush()
        os._exit(status)
