"""The command `refrain features`."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from .options import (
    BatchSizeOption,
    CleaningOption,
    DeviceOption,
    ErrorsOption,
    ForceOption,
    JsonOption,
    LayerOption,
    LowercaseOption,
    RunArgument,
    TokeniseOption,
    WeightsOption,
)

if TYPE_CHECKING:
    from refrain.generation import Features

ENDINGS = (".npz", ".safetensors")


def features(
    run: RunArgument,
    /,
    *files: Annotated[str, Parameter(allow_leading_hyphen=True)],
    out: Path,
    per: Literal["line", "document"] = "line",
    layer: LayerOption = None,
    unit: Annotated[list[str] | None, Parameter(negative=())] = None,
    which: Literal["cell", "hidden"] | None = None,
    cleaning: CleaningOption = None,
    lowercase: LowercaseOption = False,
    tokenise: TokeniseOption = False,
    batch_size: BatchSizeOption = 64,
    errors: ErrorsOption = "strict",
    device: DeviceOption = "auto",
    weights: WeightsOption = None,
    force: ForceOption = False,
    json: JsonOption = False,
) -> None:
    """Texts as vectors: the state of a layer after each text.

    Each text is read independently, after a line end. Writes the float32 arrays `hidden` and `cell` with a row for each
    text; a layer without a cell state has no `cell`. --unit adds `units` and `trace`. `trace` has a row for each token
    and a column for each unit; text n has the rows `offsets[n]` up to, but not including, `offsets[n + 1]`.

    Parameters
    ----------
    files
        The texts: files, or folders of files. Standard input is read if no file is given, or for -.
    out
        A file for the arrays, which ends in .npz or .safetensors.
    per
        Whether each line or each file is a text.
    unit
        Units to follow over time, such as 3 or 3,5,8.
    which
        The state of the units to follow. The default is the cell state, or the hidden state if the layer has no other.
    """
    from refrain.errors import DataError, UserError
    from refrain.progress import reporter
    from refrain.storage.output_checks import check_outputs, run_files

    from .loading import load_language_model
    from .output import log_written, print_json, print_line
    from .texts import check_files, document_of, files_of, lines_of, log_unknown

    if out.suffix not in ENDINGS:
        raise UserError(f"--out must end in {' or '.join(ENDINGS)} (got {str(out)!r})")
    check_outputs([("--out", out)], [*run_files(run), *(files or ["-"])], force=force)
    units = _parse_units(unit or [])
    if batch_size < 1:
        raise UserError(f"--batch-size must be at least 1 (got {batch_size})")
    if which is not None and not units:
        raise UserError("--which cannot take effect without --unit; leave it out, both states are written")
    sources = files_of(files or ["-"])
    check_files(sources)
    reports = reporter()
    lm = load_language_model(run, reports, device=device, weights=weights, lowercase=lowercase, tokenise=tokenise)
    if per == "line":
        texts = [line for file in sources for line in lines_of(file, errors)]
    else:
        texts = [document_of(file, errors) for file in sources]
    if not texts:
        raise DataError("standard input: contains no text; give at least one line")
    found = lm.features(
        texts, layer=layer, units=units, which=which, cleaning=cleaning, batch_size=batch_size, track=reports.track
    )
    arrays = _arrays(found, units)
    with reports.step(f"writing {out}"):
        _write(out, arrays, force)
    log_written(out)
    counts = lm.count(texts, cleaning=cleaning)._asdict()
    log_unknown(lm.vocabulary, {"the texts": counts}, priced=False)
    if json:
        print_json({"out": str(out), **counts, "arrays": {name: list(array.shape) for name, array in arrays.items()}})
        return
    print(", ".join(f"{count:,} {name}" for name, count in counts.items()))
    print_line(f"{out}: {', '.join(f'{name} {array.shape}' for name, array in arrays.items())}")


def _parse_units(words: Sequence[str]) -> list[int]:
    from refrain.errors import UserError

    units = []
    for part in ",".join(words).split(",") if words else []:
        try:
            units.append(int(part))
        except ValueError:
            raise UserError(f"--unit takes whole numbers, such as 3 or 3,5,8 (got {part!r})") from None
    return units


def _arrays(found: "Features", units: Sequence[int]) -> dict[str, Any]:
    import numpy as np
    import torch

    arrays: dict[str, Any] = {"hidden": found.hidden.numpy()}
    if found.cell is not None:
        arrays["cell"] = found.cell.numpy()
    if units:
        arrays["trace"] = torch.cat(found.traces).numpy()
        arrays["offsets"] = np.cumsum([0, *(len(trace) for trace in found.traces)])
        arrays["units"] = np.array(units)
    return arrays


def _write(out: Path, arrays: dict[str, Any], force: bool) -> None:
    import numpy as np
    from safetensors.numpy import save

    from refrain.storage.output_files import replace_file

    with replace_file(out, force=force) as file:
        if out.suffix == ".npz":
            np.savez(file, **arrays)
        else:
            file.write(save(arrays))
