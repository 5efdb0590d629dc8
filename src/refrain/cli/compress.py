"""The command `refrain compress`."""

import re
from pathlib import Path
from typing import Any

from .options import ForceOption, JsonOption, RunArgument

ROWS = {
    "parameters": "{:,}",
    "bytes": "{:,}",
    "multiply_adds": "{:,}",
    "perplexity": "{:,.2f}",
    "ms_per_token": "{:.3f}",
    "tokens_per_second": "{:,.0f}",
}


def compress(
    run: RunArgument,
    /,
    *,
    out: Path,
    threshold: float | None = None,
    to: str | None = None,
    finetune_epochs: int = 0,
    data: str | None = None,
    force: ForceOption = False,
    json: JsonOption = False,
) -> None:
    """Write a smaller run without the dead units of a run, checked to compute the same.

    The given run is not changed. Prints before and after: parameters, bytes of the weights, multiply-adds per token,
    perplexity on the test text of the run, and two speeds that are measured in turns: milliseconds per token at batch
    size 1, and tokens per second at batch size 20 over 35 steps.

    Parameters
    ----------
    out
        The new run folder.
    threshold
        Also treat units as dead if the absolute values of all their weights are below this.
    to
        A size to reach by removing the weakest units: parameters=7M, multiply_adds=2M or bytes=10M.
    finetune_epochs
        The number of epochs to train the smaller model, with the settings of the run.
    data
        The text to check and measure on: a folder of splits or a file. The default is the test text of the run.
    """
    target = None if to is None else _target(to)

    from refrain.assembly import locate
    from refrain.errors import UserError
    from refrain.progress import reporter
    from refrain.runs import find_language_model
    from refrain.runs.checks import check_apart

    from .output import log, log_written, print_json, print_line, table

    if finetune_epochs < 0:
        raise UserError(f"--finetune-epochs must be at least 0 (got {finetune_epochs})")

    check_apart(run, out, force=force)
    find_language_model(run)
    if data is not None:
        locate(data, log)

    # imports torch
    from refrain.studies.compress import compress as write

    found: dict[str, Any] = write(
        run,
        out,
        threshold=threshold,
        to=target,
        finetune_epochs=finetune_epochs,
        data=data,
        force=force,
        log=log,
        reports=reporter(),
    )
    log_written(out)
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
    print()
    print_line(f"next: refrain evaluate {out}    refrain train RECIPE --from {out} ...")


def _target(text: str) -> tuple[str, int]:
    from refrain.config.sparsity import counted
    from refrain.errors import UserError

    match = re.fullmatch(r"(parameters|multiply_adds|bytes)=(\d+(?:\.\d+)?[kMG]?)", text)
    if match is None:
        raise UserError(f"--to must be parameters=N, multiply_adds=N or bytes=N, as in parameters=7M (got {text!r})")
    return match[1], round(float(counted(match[2])))
