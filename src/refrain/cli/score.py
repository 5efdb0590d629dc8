"""`refrain score`."""

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
    weights: Literal["float32", "int8"] = "float32",
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
    weights
        int8: every matrix rounded to 127ths of the largest entry of each row; a token reads a quarter of the memory.
    json
        Print one JSON object a line.
    """
    from refrain import runs
    from refrain.evaluation import score_lines

    from .output import print_json
    from .texts import lines_of

    lm = runs.load_language_model(run, device=device, weights=weights)
    for line in score_lines(lm.stepper, lm.vocabulary, lines_of(file, errors)):
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
