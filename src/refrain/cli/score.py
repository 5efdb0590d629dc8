"""`refrain score`."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter


def score(
    run: Path,
    file: Annotated[str, Parameter(allow_leading_hyphen=True)] = "-",
    /,
    *,
    errors: Literal["strict", "replace"] = "strict",
    device: Literal["auto", "cpu", "cuda"] = "auto",
    json: Annotated[bool, Parameter(negative=())] = False,
) -> None:
    """Nats per line of a file or of standard input.

    Each line is scored on its own, as if another line had ended before it, its own end included. Prints nats, tokens,
    unknown words and the line, separated by tabs.

    Parameters
    ----------
    run
        A run folder, or one of its checkpoints.
    file
        The text; - is standard input.
    errors
        What invalid UTF-8 does: stop (strict) or become U+FFFD (replace).
    device
        Where to compute.
    json
        Print one JSON object a line.
    """
    from refrain import build
    from refrain.evaluation import score_lines

    from .output import print_json

    lm = build.load(run, device=device)
    for line in score_lines(lm.model, lm.vocabulary, _lines(file, errors)):
        figure = line.figure
        if json:
            print_json(
                {
                    "nats": figure.nats,
                    "tokens": figure.tokens,
                    "nats_per_token": figure.nats_per_token,
                    "perplexity": figure.perplexity,
                    "unknown": line.unknown,
                    "text": line.text,
                }
            )
        else:
            print(f"{figure.nats:.4f}\t{figure.tokens}\t{line.unknown}\t{line.text}", flush=True)


def _lines(file: str, errors: Literal["strict", "replace"]) -> Iterator[str]:
    from refrain.data.text import blocks, whole
    from refrain.errors import DataError

    if file != "-":
        for text in blocks(whole(Path(file)), errors):
            yield from text.split("\n")[:-1]
        return
    offset = 0
    for raw in sys.stdin.buffer:
        try:
            line = raw.decode("utf-8", errors).removesuffix("\n")
            yield line if offset else line.removeprefix("\ufeff")
        except UnicodeDecodeError as error:
            raise DataError(
                f"standard input: invalid UTF-8 at byte {offset + error.start}; --errors replace goes on"
            ) from None
        offset += len(raw)
