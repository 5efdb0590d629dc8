"""The formats that models are imported from, and the checks of a request that need no torch."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from refrain.errors import UserError, nearest
from refrain.storage.output_checks import check_folder, run_parts
from refrain.storage.run_folder import RunFolder

FORMATS: Mapping[str, str] = {
    "awd-lstm": "awd-lstm-lm and mos",
    "icefall-rnn-lm": "icefall's rnn_lm and the package rnnlm",
    "openai-mlstm": "the byte-level multiplicative LSTM with the sentiment unit",
    "pytorch-lstm": "any LSTM language model, with a TOML file of names",
    "word-language-model": "word_language_model and colorlessgreenRNNs",
}
"""What each format is, by name."""


def check_request(format: str, files: Sequence[str | Path], out: str | Path, *, force: bool) -> None:
    """Check a request before torch is imported: the format is known, the files exist, and `out` is free.

    Args:
        format: a name in `FORMATS`.
        files: the files.
        out: the run folder.
        force: whether an existing run at `out` is replaced.

    Raises:
        UserError: when the format is unknown, a file is missing or is in `out`.
        CheckpointError: when `out` exists.
    """
    if format not in FORMATS:
        raise UserError(f"unknown format {format!r}{nearest(format, FORMATS)}; known: {', '.join(FORMATS)}")
    for file in files:
        if not os.path.exists(file):
            raise UserError(f"{file}: no such file")
    RunFolder(Path(out)).check_available(force=force)
    check_folder("--out", Path(out), run_parts(Path(out)), list(files))
