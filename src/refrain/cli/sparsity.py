"""The command `refrain sparsity`."""

import shlex
from pathlib import Path
from typing import Any

from .options import ForceOption, JsonOption, RunArgument


def sparsity(
    run: RunArgument,
    /,
    *,
    plot: Path | None = None,
    force: ForceOption = False,
    json: JsonOption = False,
) -> None:
    """Report the zeros and the dead units of a trained model, and its sizes with and without them.

    A unit is dead if the model computes the same without it; refrain compress removes it. The run is not changed.

    Parameters
    ----------
    plot
        A file for pictures of the matrices, the group norms and the training curves: FILE.png, or FILE.html for one
        self-contained page. Needs the extra `plot`.
    """
    from refrain.errors import UserError
    from refrain.storage.output_checks import run_files

    from .loading import load_language_model
    from .output import check_picture, log_written, print_json, table

    if plot is None and force:
        raise UserError("--force cannot take effect without --plot")
    if plot is not None:
        check_picture("--plot", plot, (".png", ".html"), run_files(run), force=force)

    from refrain.progress import reporter
    from refrain.storage.output_files import write_files

    reports = reporter()
    lm = load_language_model(run, reports)

    from refrain.config.sparsity import SIZE_LABELS
    from refrain.studies.sparsity_files import sparsity_page, sparsity_picture, sparsity_report

    with reports.step("counting zeros and dead units"):
        found: dict[str, Any] = {"run": str(run), "checkpoint": lm.folder.name, **sparsity_report(lm)}
    if plot is not None:
        with reports.step("drawing the pictures"):
            picture = sparsity_page(lm) if plot.suffix == ".html" else sparsity_picture(lm)
        write_files([(plot, picture)], force=force)
        log_written(plot)
    if json:
        print_json(found)
        return
    head = ["width", "units", "dead", "left"]
    print(table([head, *([name, *(f"{row[key]:,}" for key in head[1:])] for name, row in found["widths"].items())]))
    print()
    print(table([["tensor", "shape", "zeros", "rows of zeros", "columns of zeros"], *_tensors(found["tensors"])]))
    print()
    rows = [["", "now", "compacted", "share"]]
    for key, words in SIZE_LABELS.items():
        now = found[key]
        compact = found[f"compact_{key}"]
        # 0 are the layers of a network that has none under `stack.`
        if now:
            rows.append([words, f"{now:,}", f"{compact:,}", f"{compact / now:.1%}"])
    print(table(rows))
    print()
    _print_what_comes_next(run, found["widths"])


def _print_what_comes_next(run: Path, widths: dict[str, Any]) -> None:
    from .output import print_line, print_next

    gone = [width for width, row in widths.items() if row["dead"] == row["units"]]
    if gone:
        print_line(
            f"all units of {gone[0]} are dead, so that nothing passes through them: this model cannot be compacted; "
            "train with a weaker penalty or a larger target"
        )
    elif any(row["dead"] for row in widths.values()):
        print_next(f"refrain compress {shlex.quote(str(run))} --out SMALL")
    else:
        print_line("no unit is dead: compaction has nothing to remove")


def _tensors(found: dict[str, Any]) -> list[list[str]]:
    return [
        [
            name,
            " x ".join(f"{length:,}" for length in row["shape"]),
            f"{row['zeros']:.1%}",
            *("" if row[key] is None else f"{row[key]:,}" for key in ("zero_rows", "zero_columns")),
        ]
        for name, row in found.items()
    ]
