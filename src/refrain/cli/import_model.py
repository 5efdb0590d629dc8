"""The command `refrain import`."""

from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from .corpus import resolved_corpus
from .options import ForceOption, JsonOption


def import_model(
    format: str,
    files: Annotated[list[Path], Parameter(negative=())],
    /,
    *,
    out: Path,
    data: str | None = None,
    lowercase: Annotated[bool, Parameter(negative=())] = False,
    force: ForceOption = False,
    json: JsonOption = False,
) -> None:
    """Make a run of a model that another program has trained.

    The run can be given to evaluate, generate, score, probe, compress and train --from like any other. Nothing in the
    files is run: pickles are read as plain data.

    Parameters
    ----------
    format
        awd-lstm, icefall-rnn-lm, openai-mlstm, pytorch-lstm or word-language-model.
    files
        The file of the model and its vocabulary: a list of words, tokens.txt, or the folder of the training text.
        openai-mlstm: the files 0.npy to 14.npy, or their folder. pytorch-lstm: also a TOML file with the names of the
        tensors.
    out
        The new run folder.
    data
        The corpus that the run reads by default. If it is left out, this is the folder of the training text, if that
        was given.
    lowercase
        The model was trained on lower-case text, so texts are converted to lower case.
    """
    from refrain.data.locating import locate
    from refrain.importers.table import check_request

    from .output import log, log_written, print_json

    check_request(format, files, out, force=force)
    if data is not None:
        locate(data, log)

    # imports torch
    from refrain.importers import import_model as write
    from refrain.progress import reporter

    with reporter().step(f"reading {files[0]}"):
        found: dict[str, Any] = write(
            format,
            files,
            out,
            data=resolved_corpus(data),
            lowercase=lowercase,
            force=force,
            log=log,
        )
    log_written(out)
    if json:
        print_json(found)
        return
    _print_report(found)


def _print_report(found: dict[str, Any]) -> None:
    """Print what was imported, and what comes next."""
    from refrain.importers.importing import commands

    from .output import print_line, print_next

    sizes = "-".join(str(size) for size in (found["embedding_size"], *found["hidden_sizes"]))
    print_line(f"{found['model']} {sizes}, {found['parameters']:,} parameters, vocabulary {found['vocabulary']:,}")
    for note in found["notes"]:
        print_line(f"note: {note}")
    print()
    print_next(*commands(found))
