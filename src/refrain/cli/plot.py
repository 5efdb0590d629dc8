"""The command `refrain plot`."""

import math
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from .options import NAMED, ForceOption, JsonOption

CurveName = Literal["main", "accuracy", "learning-rate", "gradient-norm", "speed", "sparsity", "all"]
AxisName = Literal["epoch", "step", "minutes"]
ENDINGS = (".png", ".svg", ".pdf")
# of the runs that are not drawn for the same reason
MOST_NAMED = 5


def plot(
    *runs: Annotated[Path, NAMED],
    out: Path,
    curves: CurveName = "main",
    by: AxisName = "epoch",
    reference: Annotated[list[str] | None, Parameter(negative=())] = None,
    force: ForceOption = False,
    json: JsonOption = False,
) -> None:
    """Draw the curves of one run or of several for a paper. Needs the extra `plot`.

    A picture is as wide as a column if it has one chart, and as the text if it has more.

    Parameters
    ----------
    runs
        Run folders, or folders with runs in them.
    out
        The file of the picture: FILE.png, FILE.svg or FILE.pdf.
    curves
        main: perplexity on the training and the validation text, bits per byte of a byte model, or accuracy and nats
        of a tagger, and what training.train_accuracy counts. accuracy: accuracies alone. sparsity: zeros, units, and
        the size once compacted. all: every curve of the report.
    by
        What the horizontal axis counts: epochs, steps of the optimiser, or minutes of training.
    reference
        NAME=VALUE, a horizontal line in the first chart, such as a published perplexity; may be repeated.
    """
    from refrain.errors import UserError
    from refrain.runs.groups import runs_at
    from refrain.storage.output_checks import run_files

    from .output import check_picture, log, log_written, print_json, print_line

    if not runs:
        raise UserError("which runs? give run folders, or a folder of runs, such as: refrain plot runs --out all.pdf")
    references = [_parse_reference(word) for word in reference or []]
    paths = runs_at(runs)
    check_picture("--out", out, ENDINGS, [file for path in paths for file in run_files(path)], force=force)

    from refrain.pictures.curves import curves_picture
    from refrain.progress import reporter
    from refrain.runs.reports.drawing import drawing_of
    from refrain.runs.reports.folder import read_runs
    from refrain.storage.output_files import write_files

    notes: list[str] = []
    with reporter().step("drawing the curves"):
        found = read_runs(runs, notes.append)
        charts, drawn, left_out = drawing_of(found, curves, by, references)
        ending: Literal["png", "svg", "pdf"] = (
            "svg" if out.suffix == ".svg" else "pdf" if out.suffix == ".pdf" else "png"
        )
        picture = curves_picture(charts, file_format=ending)
    write_files([(out, picture)], force=force)
    log_written(out)
    for line in notes:
        log(line)
    # runs for one reason are one line
    for reason in dict.fromkeys(each.reason for each in left_out):
        names = [str(each.path) for each in left_out if each.reason == reason]
        more = f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
        log(f"note: not drawn: {', '.join(names[:MOST_NAMED])}{more}: {reason}")
    if json:
        print_json({"out": str(out), "runs": [str(path) for path in drawn], "charts": [each.title for each in charts]})
    else:
        print_line(f"{len(charts)} chart{'s' * (len(charts) > 1)}: {'; '.join(each.title for each in charts)}")


def _parse_reference(word: str) -> tuple[str, float]:
    """Parse a value of --reference, NAME=VALUE."""
    from refrain.errors import UserError

    name, found, value = word.rpartition("=")
    try:
        number = float(value)
    except ValueError:
        number = math.nan
    if not found or not name.strip() or not math.isfinite(number):
        raise UserError(f"--reference takes NAME=VALUE, such as paper=82.7 (got {word!r})")
    return name.strip(), number
