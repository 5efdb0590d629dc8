"""Commands, errors and exit statuses.

0 done, 2 usage or configuration, 3 data, 4 checkpoint or run folder, 130 and 143 stopped by a signal.
"""

import errno
import io
import os
import re
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
    "train": "Train a language model or a tagger, or continue a run.",
    "evaluate": "Perplexity or accuracy and other figures of a trained model.",
    "generate": "Write text, as it is drawn.",
    "score": "Nats per line of a file or of standard input.",
    "tag": "Tag text, into CoNLL-U.",
    "features": "Texts as vectors: what a layer holds after each of them.",
    "probe": "A logistic probe on a model's states, and its best single unit.",
    "sparsity": "What is zero in a model, which units are dead, and its sizes; pictures of it.",
    "compress": "Write a physically smaller run, proved to compute the same.",
    "recipes": "List the recipes, or show one.",
    "data": "List, fetch and look over corpora.",
    "check": "Resolve and build a recipe and run two windows; train nothing.",
    "bench": "Paired measurements of speed on this machine.",
}
EXAMPLES = {
    "train": "refrain train zaremba-small --data PATH/TO/ptb --out runs/small training.epochs=5",
    "evaluate": "refrain evaluate runs/small --split valid --protocol zaremba",
    "generate": "refrain generate runs/small --prompt 'the company' --tokens 50 --top-p 0.9",
    "score": "refrain score runs/small sentences.txt",
    "tag": "refrain tag runs/tagger sentences.txt --tokenised",
    "features": "refrain features runs/small sentences.txt --out states.npz",
    "probe": "refrain probe runs/small --data PATH/TO/reviews --out probe",
    "sparsity": "refrain sparsity runs/sparse --plot sparse.html",
    "compress": "refrain compress runs/sparse --out runs/small",
    "recipes": "refrain recipes zaremba-medium",
    "check": "refrain check zaremba-large --data PATH/TO/ptb",
    "bench": "refrain bench train --recipe zaremba-small",
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
        help_format="plaintext",
        help_epilogue="Example: refrain train quickstart",
    )
    for name, line in COMMANDS.items():
        # `data` has commands of its own and brings its example along
        more = {"help_epilogue": f"Example: {EXAMPLES[name]}"} if name in EXAMPLES else {}
        root.command(f"refrain.cli.{name}:{name}", name=name, help=line, **more)
    return root


def run(arguments: Sequence[str] | None = None) -> None:
    """Run a command and leave with its exit status."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # a terminal of another encoding shows what it can
            stream.reconfigure(errors="replace")
    status = main(arguments)
    try:
        sys.stdout.flush()
    except OSError:
        # what cannot be written any more would be tried again when Python ends
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(status)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; returns its exit status. Mistakes become one line each on standard error."""
    warnings.showwarning = _show_warning
    signal.signal(signal.SIGTERM, _terminate)
    try:
        app()(arguments, exit_on_error=False, print_error=False, result_action="return_value")
        sys.stdout.flush()
        return 0
    except CycloptsError as error:
        said = str(error).strip().rstrip(".").replace("\n", " ")
        return _complain(f"{said}; {_hint(error.command_chain or (), said)}{_remedy(error.command_chain or ())}", 2)
    except UserError as error:
        return _complain(str(error), error.exit_status)
    except FloatingPointError as error:
        return _complain(str(error), 4)
    except BrokenPipeError:
        # the reader of our output has gone, as in `refrain generate ... | head`
        return 0
    except OSError as error:
        place = f"{error.filename}: " if error.filename else ""
        remedy = REMEDIES.get(error.errno or 0, "")
        return _complain(f"{place}{error.strerror or error}" + (f"; {remedy}" if remedy else ""), 4)
    except (MemoryError, RuntimeError) as error:
        if not isinstance(error, MemoryError) and not re.search(r"allocate memory|out of memory", str(error)):
            raise
        return _complain("not enough memory; lower model.hidden_sizes, training.batch_size or --samples", 2)
    except KeyboardInterrupt:
        return _complain("stopped", 130)
    except BaseException as error:
        status = getattr(error, "exit_status", None)
        if status is None:
            raise
        return _complain(str(error), int(status))


def _hint(chain: Sequence[str], said: str) -> str:
    """What was probably meant by words that a command does not know."""
    if chain and chain[0] in ("train", "check", "bench") and "Unknown option" in said:
        return "a setting is a word without dashes, as training.epochs=3; "
    if chain and chain[0] == "generate" and "Unused Tokens" in said:
        return "the beginning of the text goes behind --prompt, in quotes; "
    return ""


def _remedy(chain: Sequence[str]) -> str:
    """Where to read on after a mistake in the words of a command, and what could have been typed."""
    name = " ".join(chain)
    example = f", or type for example: {EXAMPLES[name]}" if name in EXAMPLES else ""
    return f"see {' '.join(['refrain', *chain, '--help'])}{example}"


def _complain(text: str, status: int) -> int:
    for line in text.splitlines():
        print(f"refrain: {line}", file=sys.stderr)
    return status


def _show_warning(message: Warning | str, category: type[Warning], *place: Any, **more: Any) -> None:
    print(f"refrain: {message}", file=sys.stderr)


def _terminate(number: int, frame: FrameType | None) -> None:
    # as an exception, so that half-written files are cleaned up on the way out
    raise SystemExit(128 + number)
