"""The command `refrain report`."""

from pathlib import Path
from typing import Annotated

from .options import NAMED, ForceOption, JsonOption


def report(*runs: Annotated[Path, NAMED], out: Path, force: ForceOption = False, json: JsonOption = False) -> None:
    """Write a report of one run or of several, as one HTML page that needs no other file and no network.

    It has the figures, beside the published ones where the recipe has some, the curves with exact values under the
    pointer, the samples, and the settings, data and machine. For a run with sparsity it has pictures of the units and
    the matrices, for a tagger the confusion matrix. With several runs, their curves are drawn over one another, and a
    table has the settings in which they differ.

    A run that ends writes such a page as report.html into its folder.

    Parameters
    ----------
    runs
        Run folders, names of models, or folders with runs in them.
    out
        The file of the page, which must end in .html.
    """
    from refrain.errors import UserError
    from refrain.runs.groups import runs_at
    from refrain.storage.output_checks import check_outputs, run_files
    from refrain.storage.run_layout import REPORT

    from .output import log, log_written, print_json, print_line

    if not runs:
        raise UserError(
            "which runs? give run folders, or a folder of runs, such as: refrain report runs --out all.html"
        )
    if out.suffix not in (".html", ".htm"):
        raise UserError(f"--out must end in .html (got {out.name!r})")
    paths = runs_at(runs)
    # the report that a run has already may be replaced
    read = [file for path in paths for file in run_files(path) if file.name != REPORT]
    check_outputs([("--out", out)], read, force=force)

    from refrain.progress import reporter
    from refrain.runs.reports.folder import read_runs
    from refrain.runs.reports.writing import report_of
    from refrain.storage.output_files import write_files

    notes: list[str] = []
    with reporter().step(f"reading {len(paths):,} run{'s' * (len(paths) > 1)}"):
        found = read_runs(runs, notes.append)
        page = report_of(found)
    write_files([(out, page)], force=force)
    log_written(out)
    for line in notes:
        log(line)
    if json:
        print_json({"out": str(out), "runs": [str(run.path) for run in found], "bytes": len(page.encode())})
    else:
        print_line(f"{len(found):,} run{'s' * (len(found) > 1)}, {len(page.encode()) / 1000:,.0f} kB")
