"""`refrain sparsity`."""

from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

SIZES = {"parameters": "parameters", "multiply_adds": "multiply-adds a token"}


def sparsity(
    run: Path,
    /,
    *,
    plot: Path | None = None,
    force: Annotated[bool, Parameter(negative=())] = False,
    json: Annotated[bool, Parameter(negative=())] = False,
) -> None:
    """What is zero in a trained model, which units are dead, and what it costs with and without them.

    A dead unit is one that the model computes the same without; refrain compress takes it out. The run is not changed.

    Parameters
    ----------
    run
        A run folder, or one of its checkpoints.
    plot
        Also draw matrices, norms of groups and the course of training: FILE.png, or FILE.html as one page that needs
        nothing else. Needs the extra `plot`.
    force
        Replace a file that stands at --plot.
    json
        Print one JSON object.
    """
    from refrain.errors import UserError

    from .output import print_json, table
    from .texts import refuse_to_overwrite

    if plot is None and force:
        raise UserError("--force cannot take effect without --plot")
    if plot is not None and plot.suffix not in (".png", ".html"):
        raise UserError(f"--plot must end in .png or .html (got {plot.name!r})")
    if plot is not None:
        refuse_to_overwrite([plot], force=force, option="--plot")

    from refrain import runs
    from refrain.storage.checkpoint import write_atomically
    from refrain.studies.sparsity_files import sparsity_page, sparsity_picture, sparsity_report

    lm = runs.load_language_model(run)
    found: dict[str, Any] = {"run": str(run), "checkpoint": lm.folder.name, **sparsity_report(lm)}
    if plot is not None:
        write_atomically(plot, sparsity_page(lm) if plot.suffix == ".html" else sparsity_picture(lm))
    if json:
        print_json(found)
        return
    head = ["width", "units", "dead", "left"]
    print(table([head, *([name, *(f"{row[key]:,}" for key in head[1:])] for name, row in found["widths"].items())]))
    print()
    print(table([["tensor", "shape", "zeros", "rows of zeros", "columns of zeros"], *_tensors(found["tensors"])]))
    print()
    rows = [["", "now", "compacted", "of now"]]
    for key, words in SIZES.items():
        now, compact = found[key], found[f"compact_{key}"]
        rows.append([words, f"{now:,}", f"{compact:,}", f"{compact / now:.1%}"])
    print(table(rows))
    dead = any(row["dead"] for row in found["widths"].values())
    print(
        f"\nnext:  refrain compress {run} --out SMALL"
        if dead
        else "\nno unit is dead: compaction has nothing to remove"
    )


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
