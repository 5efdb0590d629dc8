"""Commands, errors and exit statuses.

0 done, 2 usage or configuration, 3 data, 4 checkpoint or run folder, 130 and 143 stopped by a signal.
"""

import errno
import os
import signal
import sys
import warnings
from collections.abc import Sequence
from types import FrameType
from typing import Any

from cyclopts import App, CycloptsError

from refrain._version import __version__
from refrain.errors import UserError

COMMANDS = {
    "train": "Train a language model, or continue a run.",
    "evaluate": "Perplexity and other figures of a trained model.",
    "generate": "Write text, as it is drawn.",
    "score": "Nats per line of a file or of standard input.",
    "recipes": "List the recipes, or show one.",
    "data": "List, fetch and look over corpora.",
    "check": "Resolve and build a recipe and run two windows; train nothing.",
    "bench": "Paired measurements of speed on this machine.",
}
REMEDIES = {
    errno.ENOSPC: "free some space or choose another place",
    errno.EDQUOT: "free some of your quota or choose another place",
    errno.EROFS: "choose a place that can be written",
    errno.EACCES: "choose a place that can be written",
    errno.EPERM: "choose a place that can be written",
    errno.EFBIG: "the file size limit is reached; raise it or choose another place",
}


def app() -> App:
    """The command line with all its commands, none of them imported yet."""
    root = App(
        name="refrain",
        help="Recurrent language models that are small, strong and fast.",
        version=__version__,
        help_epilogue="A first model in two minutes: refrain train quickstart",
    )
    for name, line in COMMANDS.items():
        root.command(f"refrain.cli.{name}:{name}", name=name, help=line)
    return root


def run(arguments: Sequence[str] | None = None) -> None:
    """Run a command and leave with its exit status."""
    sys.exit(main(arguments))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; returns its exit status. Mistakes become one line each on standard error."""
    warnings.showwarning = _show_warning
    signal.signal(signal.SIGTERM, _terminate)
    try:
        app()(arguments, exit_on_error=False, print_error=False, result_action="return_value")
        return 0
    except CycloptsError as error:
        return _complain(str(error).strip().replace("\n", " ") + "; see refrain --help", 2)
    except UserError as error:
        return _complain(str(error), error.exit_status)
    except BrokenPipeError:
        # the reader of our output has gone, as in `refrain generate ... | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        place = f"{error.filename}: " if error.filename else ""
        remedy = REMEDIES.get(error.errno or 0, "")
        return _complain(f"{place}{error.strerror or error}" + (f"; {remedy}" if remedy else ""), 4)
    except KeyboardInterrupt:
        return _complain("stopped", 130)
    except BaseException as error:
        status = getattr(error, "exit_status", None)
        if status is None:
            raise
        return _complain(str(error), int(status))


def _complain(text: str, status: int) -> int:
    for line in text.splitlines():
        print(f"refrain: {line}", file=sys.stderr)
    return status


def _show_warning(message: Warning | str, category: type[Warning], *place: Any, **more: Any) -> None:
    print(f"refrain: {message}", file=sys.stderr)


def _terminate(number: int, frame: FrameType | None) -> None:
    # as an exception, so that half-written files are cleaned up on the way out
    raise SystemExit(128 + number)
