"""The command `refrain compress`."""

import re
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .options import Flag, JsonOption, LowercaseOption, RunArgument, TokeniseOption, Weights

ROWS = {
    "parameters": "{:,}",
    "bytes": "{:,}",
    "multiply_adds": "{:,}",
    "layer_multiply_adds": "{:,}",
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
    weights: Weights | None = None,
    embedding: str | None = None,
    head: str | None = None,
    zeros: str | None = None,
    max_loss: str | None = None,
    finetune_epochs: int = 0,
    data: str | None = None,
    lowercase: LowercaseOption = False,
    tokenise: TokeniseOption = False,
    force: Flag = False,
    json: JsonOption = False,
) -> None:
    """Write a smaller run: without dead units, which changes nothing, with int8 weights, or with a lower rank.

    The given run is not changed. Prints before and after: parameters, bytes of the weights, multiply-adds per token of
    the model and of its recurrent layers alone, perplexity on the test text of the run, and two speeds that are
    measured in turns: milliseconds per token at batch size 1, and tokens per second at batch size 20 over 35 steps.

    Parameters
    ----------
    out
        The new run folder.
    threshold
        Also treat units as dead if the absolute values of all their weights are below this.
    to
        A size to reach: parameters=7M, multiply_adds=50%, layer_multiply_adds=40% (without those of the head) or
        bytes=10M, where a percentage is of the size of the run's model. Units go first that cost the least loss on the
        validation text for the size that they save. For bytes, weights are int8 unless --weights float32 is given, and
        without --embedding, --head and --zeros, ranks and zeros are tried as well, and what costs the least loss is
        written.
    weights
        int8: store every matrix rounded to 127ths of the largest entry of each row, in a quarter of the bytes. float32:
        store float32. The default is int8 for --to bytes=N, otherwise what the run has. A tagger takes this option
        alone.
    embedding
        rank=N or rank=25%: reduce the rank of the embedding, so that it is N wide. bands=0:100,1000:50,5000:10%: rank
        100 for words from the most frequent on, 50 from word 1000 on, and so on.
    head
        rank=N, rank=25% or bands=0:100,1000:50: reduce the rank of the output layer, or of its bands of words. A matrix
        that embedding and head share takes one of the two options.
    zeros
        50%: set this share of the entries of each matrix to zero, the smallest ones. Zeros are not stored.
    max_loss
        How much the perplexity on the validation text may grow; if it grows by more, nothing is written. The default is
        20%, and no limit with --force or --finetune-epochs.
    finetune_epochs
        The number of epochs to train the smaller model, with the settings of the run.
    data
        The text to check and measure on: a folder of splits or a file. The default is the corpus of the run, with its
        validation text for what changes the model and its test text for the figures.
    force
        Replace what exists at the output path, and without --max-loss write a model however much worse it is.
    """
    options: dict[str, Any] = {
        "threshold": threshold,
        "to": None if to is None else _target(to),
        "embedding_rank": _rank("--embedding", embedding),
        "head_rank": _rank("--head", head),
        "zeros": None if zeros is None else _share("--zeros", zeros),
        "max_loss": None if max_loss is None else _share("--max-loss", max_loss),
        "finetune_epochs": finetune_epochs,
        "lowercase": lowercase,
        "tokenise": tokenise,
    }

    from refrain.progress import reporter

    from .output import log, log_written, print_json

    tagger = _is_tagger(run, out, options, weights, force=force)
    if data is not None:
        from refrain.assembly import locate

        locate(data, log)

    # imports torch
    from refrain.studies import compress as write
    from refrain.studies import compress_tagger as write_tagger

    shared: Any = {"weights": weights, "data": data, "force": force, "log": log, "reports": reporter()}
    found = write_tagger(run, out, **shared) if tagger else write(run, out, **options, **shared)
    log_written(out)
    if json:
        print_json(found)
    elif tagger:
        _print_columns(found, {"parameters": "{:,}", "bytes": "{:,}", "accuracy": "{:.4f}", "nats_per_token": "{:.4f}"})
    else:
        _print_report(found, out)


def _is_tagger(run: Path, out: Path, options: dict[str, Any], weights: Weights | None, *, force: bool) -> bool:
    """Whether a run is that of a tagger, after checks of the paths and the options."""
    from refrain.errors import UserError
    from refrain.runs.missing import check_is_there

    if options["finetune_epochs"] < 0:
        raise UserError(f"--finetune-epochs must be at least 0 (got {options['finetune_epochs']})")
    check_is_there(run)

    from refrain.runs import find, find_language_model
    from refrain.runs.checks import check_apart

    check_apart(run, out, force=force)
    if find(run).is_tagger:
        _refuse_for_a_tagger(options, weights)
        return True
    find_language_model(run)
    return False


def _refuse_for_a_tagger(options: dict[str, Any], weights: Weights | None) -> None:
    from refrain.errors import UserError

    from .evaluate_tagger import refuse

    names = {name: f"--{name.removesuffix('_rank').replace('_', '-')}" for name in options}
    refuse({names[name]: value or None for name, value in options.items()}, "with a tagger")
    if weights is None:
        raise UserError("of a tagger, the weights can be stored in int8 only; give --weights int8")


def _print_columns(found: dict[str, Any], forms: dict[str, str], rows: Sequence[list[str]] = ()) -> None:
    """Print some figures of the models, side by side."""
    from .output import table

    columns = [name for name in ("before", "after", "finetuned") if name in found]
    own = [[name, *(form.format(found[column][name]) for column in columns)] for name, form in forms.items()]
    print(table([["", *columns], *rows, *own]))


def _print_report(found: dict[str, Any], out: Path) -> None:
    """Print the figures of the models, side by side, and what comes next."""
    from .output import print_next

    columns = [name for name in ("before", "after", "finetuned") if name in found]
    widths = list(dict.fromkeys(name for column in columns for name in found[column]["widths"]))
    rows = [[name, *(_width(found[column]["widths"].get(name)) for column in columns)] for name in widths]
    _print_columns(found, ROWS, rows)
    rounded = " before rounding" if found["weights"] == "int8" else ""
    model = "model with these units set to zero" if any(found["removed"].values()) else "model of the run"
    print(
        f"log-probabilities{rounded} equal those of the {model} to {found['max_abs_difference']:.1e} in float64, "
        f"{found['float32_difference']:.1e} in float32"
    )
    print()
    smaller = shlex.quote(str(out))
    print_next(f"refrain evaluate {smaller}", f"refrain train --from {smaller} --out FINETUNED")


def _width(size: int | None) -> str:
    """The size of a width, which only the other model may have."""
    return "" if size is None else f"{size:,}"


def _rank(option: str, text: str | None) -> str | list[tuple[int, str]] | None:
    """A rank, or the first word of each band and its rank."""
    from refrain.errors import UserError

    if text is None:
        return None
    rank = r"(\d{1,9}(?:\.\d{1,9})?%|\d{1,9})"
    if match := re.fullmatch(f"rank={rank}", text):
        return match[1]
    bands = [re.fullmatch(rf"(\d{{1,9}}):{rank}", band) for band in text.removeprefix("bands=").split(",")]
    if text.startswith("bands=") and all(bands):
        return [(int(band[1]), band[2]) for band in bands if band]
    raise UserError(
        f"{option} must be rank=N or a percentage of the width, as in rank=64 or rank=25%, or the first word and the "
        f"rank of each band, as in bands=0:64,1000:25% (got {text!r})"
    )


def _target(text: str) -> tuple[str, str]:
    from refrain.errors import UserError

    match = re.fullmatch(
        r"(parameters|multiply_adds|layer_multiply_adds|bytes)=(\d+(?:\.\d+)?(?:[kKMG]|%)?)", text.removesuffix("B")
    )
    if match is None or (text.endswith("B") and match[1] != "bytes"):
        raise UserError(
            "--to must be parameters=N, multiply_adds=N, layer_multiply_adds=N or bytes=N, as in parameters=7M, "
            "parameters=50% or bytes=2MB "
            f"(got {text!r})"
        )
    return match[1], match[2].replace("K", "k")


def _share(option: str, text: str) -> float:
    from refrain.config.values import percentage
    from refrain.errors import UserError

    share = percentage(text)
    if share is None:
        raise UserError(f"{option} must be a percentage, as in 20% (got {text!r})")
    return share
