"""The command `refrain probe`."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from .options import (
    BatchSizeOption,
    CleaningOption,
    DeviceOption,
    ErrorsOption,
    Flag,
    ForceOption,
    JsonOption,
    LayerOption,
    LowercaseOption,
    RunArgument,
    StateOption,
    TokeniseOption,
)

if TYPE_CHECKING:
    from refrain.studies.probing import Probing
    from refrain.trained.language_model import TrainedLanguageModel


def probe(
    run: RunArgument,
    /,
    *,
    data: Path,
    out: Path | None = None,
    text: Annotated[str | None, Parameter(allow_leading_hyphen=True)] = None,
    which: StateOption = None,
    layer: LayerOption = None,
    cleaning: CleaningOption = None,
    lowercase: LowercaseOption = False,
    tokenise: TokeniseOption = False,
    baselines: Flag = False,
    batch_size: BatchSizeOption = 64,
    errors: ErrorsOption = "strict",
    device: DeviceOption = "auto",
    force: ForceOption = False,
    json: JsonOption = False,
) -> None:
    """Fit a logistic probe on a model's states, and find the best single unit.

    A logistic regression with an L1 penalty predicts the label of a text from the state of the model after the text. It
    is fitted on the training table. The strength of the penalty and the best single unit are chosen on the validation
    table; the test table is only measured. States are not scaled. Needs the extra `probe`.

    Parameters
    ----------
    data
        A folder with a training, a validation and a test table of two labels: train.csv, dev.csv and test.csv with the
        columns `label` and `sentence` (or `text`), or .tsv or .txt files with a label, a tab and a text on each line.
    out
        A folder for probe.json, histogram.png, heat-map.png and heat-map.html of the best unit.
    text
        A text file for the heat map, instead of some of the test texts; - is standard input.
    baselines
        Also fit the probe on the words of the texts and on the states of the untrained network, and compare.
    """
    from refrain.errors import UserError

    from .loading import load_language_model
    from .output import log, log_written, print_json
    from .texts import check_files, log_unknown

    if batch_size < 1:
        raise UserError(f"--batch-size must be at least 1 (got {batch_size})")
    for option, given in (("--text", text is not None), ("--force", force)):
        if given and out is None:
            raise UserError(f"{option} cannot take effect without --out")

    from refrain import runs
    from refrain.data.text.labelled import read_labelled
    from refrain.evaluation.probe import sklearn
    from refrain.pictures import check_matplotlib
    from refrain.progress import reporter

    written = [] if out is None else _check_out(out, run, [data, *([text] if text else [])], force=force)
    check_files([] if text is None else [text])
    saved = runs.find_language_model(run)
    tables = read_labelled(data, errors)
    # missing packages are reported before anything is computed
    sklearn("linear_model")
    if out is not None:
        check_matplotlib()
    reports = reporter()
    lm = load_language_model(saved, reports, device=device, lowercase=lowercase, tokenise=tokenise)

    from refrain.studies.probing import View
    from refrain.studies.probing import probe as fit

    view = View(layer, which, cleaning, batch_size)
    probing = fit(lm, tables, view, baselines=baselines, log=log, reports=reports)
    if out is not None:
        with reports.step("drawing the pictures"):
            _write(out, lm, probing, text, errors, force=force)
        log_written(*written)
    found = {"run": str(run), "checkpoint": lm.folder.name, "data": str(data), **probing.document()}
    log_unknown(lm.vocabulary, {split: found[split] for split in probing.counts}, priced=False)
    (print_json if json else _report)(found)


def _check_out(out: Path, run: Path, read: Sequence[str | Path], *, force: bool) -> list[Path]:
    """The files to write, after a check that they may be written."""
    from refrain.errors import UserError
    from refrain.pictures.probe import FILES
    from refrain.storage.output_checks import check_outputs, check_writable, run_files

    if out.exists() and not out.is_dir():
        raise UserError(f"--out must be a folder (got {str(out)!r})")
    check_writable(out)
    written = [out / name for name in FILES]
    if out.is_dir():
        check_outputs([("--out", file) for file in written], [*run_files(run), *read], force=force)
    return written


def _write(
    out: Path,
    lm: "TrainedLanguageModel",
    probing: "Probing",
    text: str | None,
    errors: Literal["strict", "replace"],
    *,
    force: bool,
) -> None:
    from refrain.storage.output_files import write_files
    from refrain.studies.probe_files import files, passages, some_test_texts

    from .texts import document_of

    texts, names = some_test_texts(probing) if text is None else ([document_of(text, errors)], [text])
    contents = files(probing, passages(lm, probing, texts, names), _notes(lm))
    out.mkdir(parents=True, exist_ok=True)
    write_files([(out / name, content) for name, content in contents.items()], force=force)


def _notes(lm: "TrainedLanguageModel") -> list[str]:
    sizes = "-".join(str(size) for size in lm.config["model"]["hidden_sizes"])
    piece = lm.vocabulary.piece
    return [
        f"{lm.config['name']}: {lm.config['model']['cell']['kind']} {sizes}, {lm.folder.name}.",
        f"The colour of each {piece} is the value of the unit after it; point at it to read the value.",
        "The colours change at the threshold that separates the labels best.",
    ]


def _report(found: dict[str, Any]) -> None:
    from .output import print_line, table

    def percent(share: float | None) -> str:
        return "" if share is None else f"{100 * share:.2f}"

    low, high = found["interval"]
    print_line(f"{found['units']:,} units: {found['which']} state of layer {found['layer']} of {found['checkpoint']}")
    print(f"test accuracy  {percent(found['accuracy'])} %  (95 % interval {percent(low)} to {percent(high)})")
    print(f"units used     {found['units_used']:,}  (C = {found['C']:g}{', not converged' * (not found['converged'])})")
    low, high = found["best_unit_interval"]
    print_line(
        f"best unit      {found['best_unit']}: alone {percent(found['best_unit_accuracy'])} %  "
        f"(95 % interval {percent(low)} to {percent(high)}); label {found['best_unit_above']} "
        f"above {found['best_unit_threshold']:.4g}"
    )
    head = ["", "features", "used", "C", "train %", "valid %", "test %", "best unit %", "p"]
    rows = [
        [
            row["name"],
            f"{row['features']:,}",
            f"{row['units_used']:,}{'' if row['converged'] else ' *'}",
            f"{row['C']:g}",
            *(percent(row[f"{split}_accuracy"]) for split in ("train", "valid", "test")),
            percent(row["best_unit_accuracy"]),
            "" if row["p_value"] is None else f"{row['p_value']:.2g}",
        ]
        for row in found["rows"]
    ]
    print()
    print(table([head, *rows]))
    if not all(row["converged"] for row in found["rows"]):
        print("\n* not converged")
