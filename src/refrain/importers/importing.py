"""Import of a language model: its files are read by a format, and an ordinary run folder is written."""

import contextlib
import hashlib
import shlex
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from refrain.arguments import path_of
from refrain.assembly.model import build_language_model
from refrain.config import Experiment, Training
from refrain.data import Corpus
from refrain.data.locating import NO_CORPUS
from refrain.errors import CheckpointError, UnwritableError
from refrain.models import LanguageModel
from refrain.runs.config_document import config_document
from refrain.runs.manifest import manifest
from refrain.storage.checkpoint import discard, temporary_path
from refrain.storage.output_checks import run_parts
from refrain.storage.regular_files import open_regular
from refrain.storage.replacing import holds_run, move_run
from refrain.storage.run_folder import RunFolder
from refrain.training import load_weights

from .awd_lstm import read_awd_lstm
from .icefall import read_icefall
from .imported import Imported, Request
from .openai_mlstm import read_openai_mlstm
from .pytorch_lstm import read_pytorch_lstm
from .table import FORMATS, check_request
from .word_language_model import read_word_language_model

PART_BYTES = 1 << 20
READERS: Mapping[str, Callable[[Request], Imported]] = {
    "awd-lstm": read_awd_lstm,
    "icefall-rnn-lm": read_icefall,
    "openai-mlstm": read_openai_mlstm,
    "pytorch-lstm": read_pytorch_lstm,
    "word-language-model": read_word_language_model,
}
"""What reads the files of each format of `FORMATS`."""


def import_model(
    format: str,
    files: str | Path | Sequence[str | Path],
    out: str | Path,
    *,
    data: str | None = None,
    lowercase: bool = False,
    force: bool = False,
    log: Callable[[str], None] = lambda line: None,
) -> dict[str, Any]:
    """Write a run folder with a language model that another program has trained. Nothing in its files is run.

    Args:
        format: a name in `FORMATS`.
        files: the files of the model and its vocabulary, as the format has them; or the path of a single one.
        out: the run folder, which must be new or empty.
        data: the corpus that the run reads by default; None is the training text, if it was among the files.
        lowercase: whether the model was trained on lower-case text.
        force: replace an existing run at `out`.
        log: called with a line of text before steps that take long.

    Returns:
        The content of `summary.json`: `run`, `format`, `files` with the sha256 of each, `parameters`, `vocabulary`,
        `model`, `corpus` or None, and `notes` about what differs from the program that trained the model.

    Raises:
        UserError: when the format is unknown, the files are not those of the format, or one is in `out`.
        DataError: when the vocabulary cannot be read or does not fit the weights.
        CheckpointError: when the model cannot be read or expressed, `out` exists or cannot be written, or another
            process writes to it.
    """
    given = [files] if isinstance(files, str | Path) else files
    paths = [path_of(file, "each file") for file in given]
    out = path_of(out, "out")
    check_request(format, paths, out, force=force)
    imported = READERS[format](Request(paths, data, lowercase, log))
    settings = Training(state="reset-per-document") if imported.resets else Training()
    experiment = Experiment(name="imported", data=imported.data, model=imported.model, training=settings)
    model = _filled(experiment, imported)
    source = {"format": format, "files": [_described(path) for path in _listed(paths)]}
    report = {
        "run": str(out),
        **source,
        "model": imported.model.cell.kind,
        "embedding_size": imported.model.embedding_size,
        "hidden_sizes": list(imported.model.hidden_sizes),
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "vocabulary": len(imported.vocabulary),
        "corpus": None if imported.data.corpus == NO_CORPUS else imported.data.corpus,
        "notes": imported.notes,
    }
    corpus = imported.corpus or Corpus("(imported)", imported.vocabulary, {})
    _write(RunFolder(out), experiment, imported, model, corpus, source, report, force=force)
    return report


def _filled(experiment: Experiment, imported: Imported) -> LanguageModel:
    """The model of the settings with the imported weights."""
    model = build_language_model(experiment, imported.vocabulary)
    load_weights(model, imported.weights)
    return model.eval()


def _listed(paths: Sequence[Path]) -> list[Path]:
    """The files, and those in folders."""
    return [file for path in paths for file in (sorted(path.iterdir()) if path.is_dir() else [path]) if file.is_file()]


def _described(path: Path) -> dict[str, Any]:
    digest, size = hashlib.sha256(), 0
    try:
        with open_regular(path) as file:
            while part := file.read(PART_BYTES):
                digest.update(part)
                size += len(part)
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read ({error.strerror})") from None
    return {"file": str(path.resolve()), "bytes": size, "sha256": digest.hexdigest()}


def _write(
    folder: RunFolder,
    experiment: Experiment,
    imported: Imported,
    model: LanguageModel,
    corpus: Corpus,
    source: Mapping[str, Any],
    report: Mapping[str, Any],
    *,
    force: bool,
) -> None:
    """Write the run folder. A run that exists there is replaced when all is written, so that a failure keeps it."""
    try:
        folder.path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UnwritableError(f"{folder.path}: cannot be written ({error.strerror}); choose another --out") from None
    with folder.locked() as lock:
        replaces = holds_run(folder, force=force)
        fresh = RunFolder(temporary_path(folder.path / "run"))
        try:
            fresh.create()
            config = config_document(experiment)
            fresh.write_json("config.json", config)
            fresh.write_json("manifest.json", manifest(experiment, corpus, model, "") | {"imported": dict(source)})
            weights: dict[str, Tensor] = {name: each.detach() for name, each in model.named_parameters()}
            documents = {
                "config": config,
                "vocabulary": imported.vocabulary.document(),
                "training": {"position": {"step": 1}, "imported_from": dict(source)},
            }
            fresh.save(1, {"model": weights}, documents, best=1)
            fresh.write_json("summary.json", dict(report))
            fresh.write_text("README.md", card_of(report))
            lock.check()
            move_run(fresh.path, folder.path)
        except BaseException as error:
            discard(fresh.path)
            if not replaces:
                for part in run_parts(folder.path):
                    discard(part)
                with contextlib.suppress(OSError):
                    folder.path.rmdir()
            if isinstance(error, UnwritableError):
                # of the files that are gone, the user knows the place where they would be
                raise UnwritableError(str(error).replace(str(fresh.path), str(folder.path))) from None
            raise


def card_of(report: Mapping[str, Any]) -> str:
    """The README of an imported run.

    Args:
        report: the content of `summary.json`.
    """
    sizes = "-".join(str(size) for size in (report["embedding_size"], *report["hidden_sizes"]))
    lines = [
        "# An imported language model",
        "",
        f"{report['model']} {sizes}, {report['parameters']:,} parameters, vocabulary {report['vocabulary']:,}.",
        f"Imported from the format {report['format']} ({FORMATS[report['format']]}).",
        "Nothing was trained or measured here.",
        *[line for note in report["notes"] for line in ("", note)],
        "",
        "| file | bytes | sha256 |",
        "|---|---|---|",
        *(f"| {Path(each['file']).name} | {each['bytes']:,} | {each['sha256']} |" for each in report["files"]),
        "",
        "```sh",
        *commands(report),
        "```",
    ]
    return "\n".join(lines) + "\n"


def commands(report: Mapping[str, Any]) -> tuple[str, str]:
    """The commands that a user may run next, as they are typed in a shell.

    Args:
        report: the content of `summary.json`.
    """
    run = shlex.quote(report["run"])
    text = "" if report["corpus"] else " --data PATH/TO/TEXT"
    return f"refrain evaluate {run}{text}", f"refrain generate {run} --tokens 50"
