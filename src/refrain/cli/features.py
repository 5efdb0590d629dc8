"""`refrain features`."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

if TYPE_CHECKING:
    from refrain.generation import Features

ENDINGS = (".npz", ".safetensors")


def features(
    run: Path,
    /,
    *files: Annotated[str, Parameter(allow_leading_hyphen=True)],
    out: Path,
    per: Literal["line", "document"] = "line",
    layer: int | None = None,
    unit: list[str] | None = None,
    which: Literal["cell", "hidden"] | None = None,
    cleaning: Literal["none", "reviews"] | None = None,
    batch_size: int = 64,
    errors: Literal["strict", "replace"] = "strict",
    device: Literal["auto", "cpu", "cuda"] = "auto",
    weights: Literal["float32", "int8"] = "float32",
    force: Annotated[bool, Parameter(negative=())] = False,
    json: Annotated[bool, Parameter(negative=())] = False,
) -> None:
    """Texts as vectors: what a layer holds after each of them.

    Each text is read on its own, as if a line had ended before it. Writes float32 arrays `hidden` and `cell`, a row a
    text; a layer without a cell state has no `cell`. With --unit also `trace`, a row a token and a column a unit, where
    the rows of text n are those from `offsets[n]` to before `offsets[n + 1]`, and `units`.

    Parameters
    ----------
    run
        A run folder, or one of its checkpoints.
    files
        The texts: files, or folders of files; - or none is standard input.
    out
        Where the arrays go: a file that ends in .npz or .safetensors.
    per
        Whether each line is a text, or each file.
    layer
        Which layer, counting from 0 at the bottom; by default the last.
    unit
        Follow these units over time, such as 3 or 3,5,8.
    which
        What of them is followed; by default the cell state, where there is one.
    cleaning
        reviews: resolve HTML entities, newlines to blanks, a blank before and after. By default as in training.
    batch_size
        How many texts are read side by side.
    errors
        What invalid UTF-8 does: stop (strict) or become U+FFFD (replace).
    device
        Where to compute.
    weights
        int8: every matrix rounded to 127ths of the largest entry of each row; a token reads a quarter of the memory.
    force
        Replace a file that exists.
    json
        Print what was written as one JSON object.
    """
    from refrain.errors import DataError, UserError

    from .output import print_json
    from .texts import document_of, files_of, lines_of, refuse_to_overwrite

    if out.suffix not in ENDINGS:
        raise UserError(f"--out must end in {' or '.join(ENDINGS)} (got {str(out)!r})")
    refuse_to_overwrite([out], force=force)
    if batch_size < 1:
        raise UserError(f"--batch-size must be at least 1 (got {batch_size})")
    units = _units(unit or [])
    if which is not None and not units:
        raise UserError("--which cannot take effect without --unit; both states are written in any case")

    from refrain import runs

    lm = runs.load_language_model(run, device=device, weights=weights)
    sources = files_of(files or ["-"])
    if per == "line":
        texts = [line for file in sources for line in lines_of(file, errors)]
    else:
        texts = [document_of(file, errors) for file in sources]
    if not texts:
        raise DataError("standard input: there is no text")
    found = lm.features(texts, layer=layer, units=units, which=which, cleaning=cleaning, batch_size=batch_size)
    arrays = _arrays(found, units)
    _write(out, arrays)
    shapes = {name: list(array.shape) for name, array in arrays.items()}
    counts = lm.count(texts, cleaning=cleaning)._asdict()
    if json:
        print_json({"out": str(out), **counts, "arrays": shapes})
        return
    print(", ".join(f"{count:,} {name}" for name, count in counts.items()))
    print(f"{out}: {', '.join(f'{name} {tuple(shape)}' for name, shape in shapes.items())}")


def _units(words: Sequence[str]) -> list[int]:
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


def _write(out: Path, arrays: dict[str, Any]) -> None:
    import io

    import numpy as np
    from safetensors.numpy import save

    from refrain.storage.checkpoint import write_atomically

    if out.suffix == ".npz":
        buffer = io.BytesIO()
        np.savez(buffer, **arrays)
        write_atomically(out, buffer.getvalue())
    else:
        write_atomically(out, save(arrays))
