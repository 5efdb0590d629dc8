"""Checks of the files that the command `refrain evaluate` writes."""

from pathlib import Path

from .corpus import corpus_inputs
from .output import check_picture


def check_outputs(
    run: Path, data: str | Path | None, per_token: Path | None, confusion: Path | None, *, force: bool
) -> None:
    """Check that the results can be written, and that no file of the run or of the text would be replaced.

    Args:
        run: the run folder or checkpoint folder.
        data: the text to measure on, or None for that of the run, which is known after the run has been loaded.
        per_token: the file for the table of tokens.
        confusion: the file for the picture of the confusion matrix.
        force: whether files that exist are replaced.

    Raises:
        UserError: when a file cannot be written, has a wrong ending, exists or is read.
    """
    from refrain.errors import UserError
    from refrain.storage import output_checks
    from refrain.storage.plain_text import check_table_ending

    if force and per_token is None and confusion is None:
        raise UserError("--force cannot take effect without --per-token or --confusion")
    inputs = [*output_checks.run_files(run), *(corpus_inputs(data) if data is not None else [])]
    if per_token is not None:
        check_table_ending("--per-token", per_token)
        output_checks.check_outputs([("--per-token", per_token)], inputs, force=force)
    if confusion is not None:
        check_picture("--confusion", confusion, (".png",), inputs, force=force)
