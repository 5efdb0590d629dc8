"""The bench `sizes`: bytes against perplexity, for trained models in many ways of compression."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .output import log, print_json, table

COLUMNS = ["", "parameters", "zeros", "float32 bytes", "perplexity", "int8 bytes", "perplexity"]
DTYPES = ("float32", "int8")


def bench_sizes(paths: Sequence[Path], data: str | None, device: str, *, json: bool) -> None:
    """Measure trained models, and print a row for each way of compression.

    Args:
        paths: run folders or checkpoints of language models with one vocabulary.
        data: the text, as for compress; None is the corpus of the first run.
        device: the device that was asked for.
        json: whether one JSON object is printed instead of the table.

    Raises:
        UserError: when no run is given, the vocabularies differ, or a GPU was asked for.
        DataError: when the text is missing.
    """
    from refrain.errors import UserError
    from refrain.runs import find_language_model

    if not paths:
        raise UserError("bench sizes measures trained models; give the folder of one with --run")
    if device == "cuda":
        raise UserError("--device: bench sizes measures on CPUs only; use --device cpu")
    saved = {str(path): find_language_model(path) for path in paths}

    from refrain.data.units.table import same_tokens
    from refrain.progress import reporter

    documents = {name: each.checkpoint.document("vocabulary") for name, each in saved.items()}
    first, *_ = documents.values()
    for name, document in documents.items():
        if not same_tokens(document, first):
            raise UserError(f"{name}: has another vocabulary than {paths[0]}; measure it on its own")

    # imports torch
    from refrain.studies.sizes import sizes_of, texts_of

    from .loading import load_language_model

    reports = reporter()
    models = {name: load_language_model(each, reports) for name, each in saved.items()}
    valid, test, text = texts_of(next(iter(models.values())), data, log)
    rows = []
    for row in sizes_of(models, valid, test, reports):
        rows.append(row)
        log(_line(row))
    if json:
        print_json({"bench": "sizes", "text": text, "rows": rows})
        return
    log(f"perplexities on {text}")
    print(table([COLUMNS, *([*_cells(row)] for row in rows)]))


def _cells(row: dict[str, Any]) -> list[str]:
    figures = [(f"{row[dtype]['bytes']:,}", f"{row[dtype]['perplexity']:.2f}") for dtype in DTYPES]
    zeros = f"{row['zeros']:.0%}" if row["zeros"] >= 0.005 else ""
    return [row["name"], f"{row['parameters']:,}", zeros, *(cell for pair in figures for cell in pair)]


def _line(row: dict[str, Any]) -> str:
    return ", ".join(f"{name} {cell}".strip() for name, cell in zip(COLUMNS, _cells(row), strict=True) if cell)
