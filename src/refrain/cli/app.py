"""The commands, how errors are printed, and the exit statuses.

0: success, 2: wrong usage or settings, 3: wrong data, 4: wrong checkpoint or run folder, 5: another process that trains
the same model is lost, 130 and 143: stopped by a signal.
"""

import errno
import inspect
import os
import re
import signal
import sys
import warnings
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from types import FrameType
from typing import TYPE_CHECKING, Any

from cyclopts import App, CycloptsError

from refrain._signals import send_dropped_signals_again
from refrain._version import __version__
from refrain.errors import UserError
from refrain.parallel.environment import are_started
from refrain.storage.plain_text import log_line, visible

from .output import follow
from .remedies import memory_remedy, with_remedies
from .streams import ReaderLeft, flush_output, open_streams
from .usage import check_words, with_auto, without_help_command, wrong_words

if TYPE_CHECKING:
    from cyclopts.help import HelpPanel
    from rich.console import Console, ConsoleOptions

COMMANDS = {
    "train": "Train a language model or a tagger, or continue a run.",
    "evaluate": "Measure trained models: perplexity or accuracy, and more.",
    "generate": "Generate text, printed token by token.",
    "score": "Score lines of text in nats, or choose from n-best lists.",
    "surprisal": "Surprisal of each word of sentences, in bits, as a table.",
    "pairs": "Accuracy on minimal pairs by phenomenon, with 95 % intervals.",
    "tag": "Tag text and write CoNLL-U.",
    "features": "Texts as vectors: the state of a layer after each text.",
    "probe": "Fit a logistic probe on a model's states, and find the best single unit.",
    "sparsity": "Report the zeros, the dead units and the sizes of a model, with pictures.",
    "compress": "Write a smaller run: without dead units, in int8, or with lower ranks.",
    "import": "Make a run of a model that another program has trained.",
    "export": "Write a model as ONNX, as C or for sherpa-onnx, checked to compute the same.",
    "serve": "Answer requests for scores, next words, text and tags over HTTP or standard input.",
    "recipes": "List the recipes, or show one of them.",
    "runs": "List the runs in a folder with their states and figures.",
    "watch": "Show the runs that are training, in the terminal or as a page.",
    "sweep": "Train a recipe with many settings, by workers that share a folder.",
    "compare": "Compare runs: settings, figures over seeds, and paired tests on a text.",
    "report": "Write a page about one run or several: figures, curves, samples, settings.",
    "plot": "Draw the curves of runs for a paper, as PNG, SVG or PDF.",
    "data": "List, fetch and check corpora.",
    "models": "List, fetch and pack models that are ready to use.",
    "check": "Build a recipe and train on a few windows, to check settings, memory and time.",
    "bench": "Measure speed on this machine in paired runs.",
}
EXAMPLES = {
    "train": "refrain train zaremba-small --data PATH/TO/ptb training.epochs=5",
    "evaluate": "refrain evaluate runs/small --split valid --protocol zaremba",
    "generate": "refrain generate runs/small --prompt 'the company' --top-p 0.9",
    "score": "refrain score runs/small sentences.txt",
    "surprisal": "refrain surprisal runs/small items.csv --column text --out words.csv",
    "pairs": "refrain pairs runs/small blimp/anaphor_gender_agreement.jsonl",
    "tag": "refrain tag runs/tagger sentences.txt --tokenised",
    "features": "refrain features runs/small sentences.txt --out states.npz",
    "probe": "refrain probe runs/small --data PATH/TO/reviews --out probe",
    "sparsity": "refrain sparsity runs/sparse --plot sparse.html",
    "compress": "refrain compress runs/sparse --out runs/small",
    "import": "refrain import word-language-model model.pt vocab.txt --out runs/imported",
    "export": "refrain export runs/small --format onnx --out small.onnx",
    "serve": "refrain serve runs/small runs/tagger --port 8000",
    "recipes": "refrain recipes zaremba-medium",
    "runs": "refrain runs runs --sort figure",
    "watch": "refrain watch runs",
    "sweep": "refrain sweep dropout.toml --workers 2",
    "compare": "refrain compare runs --split test --format markdown",
    "report": "refrain report runs/small runs/dropout --out both.html",
    "plot": "refrain plot runs/small --out curves.pdf",
    "check": "refrain check zaremba-large --data PATH/TO/ptb",
    "bench": "refrain bench train --recipe zaremba-small",
}
# the usage of commands, where a name is clearer than [ARGS]
USAGE = {
    "train": "refrain train [OPTIONS] RECIPE|FILE.toml [SETTING=VALUE ...]",
    "evaluate": "refrain evaluate [OPTIONS] RUN [RUN ...]",
    "score": "refrain score [OPTIONS] RUN [FILE|-]",
    "surprisal": "refrain surprisal [OPTIONS] RUN [FILE|-]",
    "pairs": "refrain pairs [OPTIONS] RUN FILE|FOLDER|- ...",
    "tag": "refrain tag [OPTIONS] RUN [FILE|-]",
    "features": "refrain features --out FILE [OPTIONS] RUN [FILE|FOLDER|- ...]",
    "import": "refrain import --out DIR [OPTIONS] FORMAT FILE [FILE ...]",
    "serve": "refrain serve [OPTIONS] RUN [RUN ...]",
    "recipes": "refrain recipes [OPTIONS] [NAME]",
    "runs": "refrain runs [OPTIONS] [FOLDER]",
    "watch": "refrain watch [OPTIONS] [FOLDER]",
    "sweep": "refrain sweep [OPTIONS] FILE.toml",
    "compare": "refrain compare [OPTIONS] RUN [RUN ...]",
    "report": "refrain report --out FILE.html [OPTIONS] RUN [RUN ...]",
    "plot": "refrain plot --out FILE.png|svg|pdf [OPTIONS] RUN [RUN ...]",
    "check": "refrain check [OPTIONS] RECIPE|FILE.toml [SETTING=VALUE ...]",
    "bench": "refrain bench [OPTIONS] NAME [SETTING=VALUE ...]",
}
# commands whose names are keywords of Python -> the function
FUNCTIONS = {"import": "import_model"}
# the length of a message, and the number of messages, beyond which nobody reads on
MOST_CHARACTERS = 2000
MOST_MISTAKES = 50
REMEDIES = {
    errno.ENOSPC: "free some space or choose another folder",
    errno.EDQUOT: "free some of your quota or choose another folder",
    errno.EROFS: "choose a folder that can be written",
    errno.EACCES: "choose a folder that can be written",
    errno.EPERM: "choose a folder that can be written",
    errno.EFBIG: "the file size limit is reached; raise it or choose another folder",
}


def app(described: str = "") -> App:
    """The application with all its commands, whose modules are imported when they are called.

    Args:
        described: the command whose help is asked for, which is described at length.
    """
    root = App(
        name="refrain",
        help="Recurrent language models that are small, strong and fast.",
        version=__version__,
        version_flags=("--version", "-V"),
        help_format="plaintext",
        help_formatter=_Help(),
        # `main` reports it
        suppress_keyboard_interrupt=False,
        help_epilogue="refrain help COMMAND describes a command. Example: refrain train quickstart",
    )
    for name, line in COMMANDS.items():
        # `data` and `models` have subcommands, which set their own examples
        more = {"help_epilogue": f"Example: {EXAMPLES[name]}"} if name in EXAMPLES else {}
        more |= {"usage": f"Usage: {USAGE[name]}"} if name in USAGE else {}
        function = FUNCTIONS.get(name, name)
        root.command(f"refrain.cli.{function}:{function}", name=name, help=line, **more)
    completion = "refrain.cli.completion:install_completion"
    # these have subcommands, and no docstring
    if described in COMMANDS and described not in ("data", "models"):
        root[described].help = _description(root[described])
    root.command(completion, name="--install-completion", help="Complete commands in your shell.", group="Shell")
    return root


def _description(command: App) -> str:
    """What the docstring of a command says before its parameters, each paragraph as one line."""
    text = (inspect.getdoc(command.default_command) or "").partition("\nParameters\n")[0].strip()
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in text.split("\n\n"))


class _Help:
    """Formats the help as usual, but wraps its texts for the terminal only, not where a docstring ends a line."""

    def __call__(self, console: "Console", options: "ConsoleOptions", panel: "HelpPanel") -> None:
        """Print one table."""
        from cyclopts.help import DefaultFormatter
        from rich.text import Text

        for entry in panel.entries:
            text = getattr(entry.description, "primary_renderable", None)
            if isinstance(text, Text):
                text.plain = text.plain.replace("\n", " ")
        DefaultFormatter()(console, options, panel)

    def render_usage(self, console: "Console", options: "ConsoleOptions", usage: Any) -> None:
        """Print the line of usage."""
        from cyclopts.help import DefaultFormatter

        DefaultFormatter().render_usage(console, options, usage)


def run(arguments: Sequence[str] | None = None) -> None:
    """Run a command and exit with its status."""
    open_streams()
    try:
        status = main(arguments)
    finally:
        flush_output()
    sys.exit(status)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit status. Each error is printed as one line on standard error."""
    warnings.showwarning = _show_warning
    send_dropped_signals_again()
    for name in ("SIGTERM", "SIGUSR1"):
        # Windows has no SIGUSR1
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), _terminate)
    words = sys.argv[1:] if arguments is None else list(arguments)
    try:
        check_words(words)
        words = with_auto(without_help_command(words, COMMANDS))
        described = words[0] if words and not {"--help", "-h"}.isdisjoint(words) else ""
        with _together(words):
            app(described)(words, exit_on_error=False, print_error=False, result_action="return_value")
        if sys.stdout is not None:
            sys.stdout.flush()
        return 0
    except CycloptsError as error:
        return _complain([wrong_words(error, words, COMMANDS, EXAMPLES)], 2)
    except UserError as error:
        return _complain(with_remedies(error, words), error.exit_status)
    except FloatingPointError as error:
        return _complain([str(error)], 4)
    except (ReaderLeft, BrokenPipeError):
        # the reader needs no more, as in `refrain generate ... | head`
        return 0
    except OSError as error:
        name = f"{error.filename}: " if error.filename else ""
        remedy = REMEDIES.get(error.errno or 0, "")
        return _complain([f"{name}{error.strerror or error}" + (f"; {remedy}" if remedy else "")], 4)
    except (MemoryError, RuntimeError) as error:
        if not isinstance(error, MemoryError) and not re.search(r"allocate memory|out of memory", str(error)):
            raise
        return _complain([f"not enough memory; {memory_remedy(words)}"], 2)
    except KeyboardInterrupt:
        return _complain(["stopped"], 130)
    except BaseException as error:
        status = getattr(error, "exit_status", None)
        if status is None:
            raise
        return _complain([str(error)], int(status))


def _together(words: Sequence[str]) -> AbstractContextManager[Any]:
    """The context in which several processes train one model, if torchrun has started this one."""
    if words[:1] != ["train"] or "--help" in words or "-h" in words or not are_started():
        return nullcontext()
    # one line names the rank that is lost, in place of torch's traces
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    if int(os.environ["RANK"]):
        follow()
    from refrain.parallel import joined

    return joined()


def _complain(mistakes: Sequence[str], status: int) -> int:
    """Print one line for each mistake, long ones without their middle."""
    from refrain.progress import end_reports

    end_reports()
    for mistake in mistakes[:MOST_MISTAKES]:
        log_line(f"refrain: {_shortened(visible(mistake))}")
    if (more := len(mistakes) - MOST_MISTAKES) > 0:
        log_line(f"refrain: and {more:,} more mistake{'s' * (more > 1)}")
    return status


def _shortened(text: str) -> str:
    half = MOST_CHARACTERS // 2
    return text if len(text) <= MOST_CHARACTERS else f"{text[: half - 1]} … {text[2 - half :]}"


def _show_warning(message: Warning | str, category: type[Warning], *location: Any, **more: Any) -> None:
    log_line(f"refrain: {_shortened(visible(' '.join(str(message).split())))}")


def _terminate(number: int, frame: FrameType | None) -> None:
    # an exception, so that half-written files are removed on exit
    raise SystemExit(128 + signal.SIGTERM)
