"""`refrain compress`."""

import re
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

ROWS = {
    "parameters": "{:,}",
    "bytes": "{:,}",
    "multiply_adds": "{:,}",
    "perplexity": "{:,.2f}",
    "ms_per_token": "{:.3f}",
    "tokens_per_second": "{:,.0f}",
}


def compress(
    run: Path,
    /,
    *,
    out: Path,
    threshold: float | None = None,
    to: str | None = None,
    finetune_epochs: int = 0,
    data: str | None = None,
    force: Annotated[bool, Parameter(negative=())] = False,
    json: Annotated[bool, Parameter(negative=())] = False,
) -> None:
    """Write a physically smaller run without the dead units of another, proved to compute the same.

    Prints before and after: parameters, bytes of the weights, multiply-adds a token, perplexity on the run's own test
    text, milliseconds a token at batch 1 and tokens per second at batch 20 over 35 steps, in turns.

    Parameters
    ----------
    run
        A run folder, or one of its checkpoints. It is not changed.
    out
        The new run folder.
    threshold
        Units all of whose weights are smaller than this in size are dead as well.
    to
        A size to come down to, by dropping the weakest units: parameters=7M, multiply_adds=2M or bytes=10M.
    finetune_epochs
        Train the smaller model for so many epochs, with the run's settings.
    data
        Text to prove and measure on, a folder of splits or a file; by default the run's own test text.
    force
        Replace a run that stands at --out.
    json
        Print one JSON object.
    """
    target = None if to is None else _target(to)

    from refrain.errors import UserError
    from refrain.studies.compress import compress as write

    from .output import print_json, say, table

    if finetune_epochs < 0:
        raise UserError(f"--finetune-epochs must be at least 0 (got {finetune_epochs})")

    found: dict[str, Any] = write(
        run, out, threshold=threshold, to=target, finetune_epochs=finetune_epochs, data=data, force=force, log=say
    )
    if json:
        print_json(found)
        return
    columns = [name for name in ("before", "after", "finetuned") if name in found]
    rows = [["", *columns]]
    widths = found["before"]["widths"]
    rows += [[name, *(f"{found[column]['widths'][name]:,}" for column in columns)] for name in widths]
    rows += [[name, *(form.format(found[column][name]) for column in columns)] for name, form in ROWS.items()]
    print(table(rows))
    print(
        f"log-probabilities equal the masked model's to {found['max_abs_difference']:.1e} in float64, "
        f"{found['float32_difference']:.1e} in float32"
    )
    print(f"\nnext: refrain evaluate {out}    refrain train RECIPE --from {out} ...")


def _target(text: str) -> tuple[str, int]:
    from refrain.config.sparsity import counted
    from refrain.errors import UserError

    match = re.fullmatch(r"(parameters|multiply_adds|bytes)=(\d+(?:\.\d+)?[kMG]?)", text)
    if match is None:
        raise UserError(f"--to must be parameters=N, multiply_adds=N or bytes=N, as in parameters=7M (got {text!r})")
    return match[1], round(float(counted(match[2])))
