"""The command `refrain compress`."""

import re
import shlex
from pathlib import Path
from typing import Any

from .options import Flag, JsonOption, RunArgument

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
    max_loss: str | None = None,
    finetune_epochs: int = 0,
    data: str | None = None,
    force: Flag = False,
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
        A size to reach: parameters=7M, multiply_adds=50% or bytes=10M, where a percentage is of the size of the run's
        model. Units go first that cost the least loss on the validation text for the size that they save.
    max_loss
        How much the perplexity on the validation text may grow with --to or --threshold without --finetune-epochs; the
        default is 20%. If it grows by more, nothing is written without --force.
    finetune_epochs
        The number of epochs to train the smaller model, with the settings of the run.
    data
        The text to check and measure on: a folder of splits or a file. The default is the corpus of the run, with its
        validation text for --to and --threshold and its test text for the figures.
    force
        Replace what exists at the output path, and write a model that is worse than --max-loss allows.
    """
    target = None if to is None else _target(to)
    allowed = None if max_loss is None else _allowed(max_loss)

    from refrain.errors import UserError
    from refrain.progress import reporter
    from refrain.runs import find_language_model
    from refrain.runs.missing import check_is_there

    from .output import log, log_written, print_json

    if finetune_epochs < 0:
        raise UserError(f"--finetune-epochs must be at least 0 (got {finetune_epochs})")

    check_is_there(run)

    from refrain.assembly import locate
    from refrain.runs.checks import check_apart

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
        max_loss=allowed,
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
    _print_report(found, out)


def _print_report(found: dict[str, Any], out: Path) -> None:
    """Print the figures of the models, side by side, and what comes next."""
    from .output import print_next, table

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
    smaller = shlex.quote(str(out))
    print_next(f"refrain evaluate {smaller}", f"refrain train --from {smaller} --out FINETUNED")


def _target(text: str) -> tuple[str, str]:
    from refrain.errors import UserError

    match = re.fullmatch(r"(parameters|multiply_adds|bytes)=(\d+(?:\.\d+)?(?:[kMG]|%)?)", text)
    if match is None:
        raise UserError(
            "--to must be parameters=N, multiply_adds=N or bytes=N, as in parameters=7M or parameters=50% "
            f"(got {text!r})"
        )
    return match[1], match[2]


def _allowed(text: str) -> float:
    from refrain.config.values import percentage
    from refrain.errors import UserError

    share = percentage(text)
    if share is None:
        raise UserError(f"--max-loss must be a percentage, as in 20% (got {text!r})")
    return share
