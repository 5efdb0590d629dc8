"""The command `refrain check`."""

from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from .options import NAMED, DataOption, ForceOption, JsonOption
from .recipe_text import log_missing_start, resolved
from .train_settings import recipe_and_settings


def check(
    recipe: str | None = None,
    /,
    *settings: str,
    data: DataOption = None,
    start_from: Annotated[Path | None, NAMED, Parameter(name="--from")] = None,
    iss_json: Path | None = None,
    layout: Path | None = None,
    force: ForceOption = False,
    json: JsonOption = False,
) -> None:
    """Build a recipe and train on a few windows, to check settings, memory and time.

    Prints the sizes, the memory and the expected training time. No run is saved.

    Parameters
    ----------
    recipe
        A recipe's name or a TOML file. Not needed with --from.
    settings
        Settings such as training.epochs=3.
    start_from
        Start from the best weights of a run, as refrain train does: whether the recipe fits them is checked, too.
    iss_json
        A JSON file of iss-rnns, whose settings are used: learning rate, dropout and penalties.
    layout
        A PNG file for a picture of the sparse layers and the sparse embedding.
    """
    from .corpus import corpus_inputs, resolved_corpus

    recipe, settings = recipe_and_settings("check", recipe, settings, data=data)
    corpus = resolved_corpus(data)

    from refrain.errors import UserError

    from .output import check_picture, log, log_written, print_json

    if recipe is None and start_from is None:
        raise UserError("which recipe? try: refrain check quickstart, or see: refrain recipes")
    if layout is None and force:
        raise UserError("--force cannot take effect without --layout")
    given = str(iss_json) if iss_json else None
    experiment = resolved(recipe, settings, corpus, given, start_from, quiet=False)
    if layout is not None:
        inputs = [*filter(None, (recipe, given)), *corpus_inputs(experiment.data.corpus)]
        check_picture("--layout", layout, (".png",), inputs, force=force)

    from refrain.progress import reporter
    from refrain.runs.checks import check_training

    check_training(experiment, None, start_from)
    log_missing_start(None if start_from else recipe, "without one, refrain train starts it from random weights")
    with reporter().step("building the model and training on a few windows"):
        from refrain.runs.trial import trial

        found = trial(experiment, log=log, layout=layout, force=force, start_from=start_from)
    if layout is not None:
        log_written(layout)
    if json:
        print_json({"ok": True, **found})
        return
    _print(found, experiment.training.epochs, experiment.training.max_minutes)


def _print(found: dict[str, Any], epochs: int, max_minutes: float | None) -> None:
    from refrain.assembly.backend import describe_backends
    from refrain.progress import duration
    from refrain.runs.outline import start_text

    from .output import print_line

    if found["start"] is not None:
        print_line(f"start        {start_text(found['start'])}")
    print(f"parameters   {found['parameters']:,}")
    longest = max(map(len, found["widths"]), default=0)
    for name, size in found["widths"].items():
        print(f"  {name:{longest}}  {size:,}")
    for name, plan in found["plans"].items():
        for number, line in enumerate(str(plan).splitlines()):
            print_line(line if number else f"{name}  {line}")
    for band in found["bands"]:
        print(f"vectors of {band['width']:4}: {band['words']:,} words, {band['share']:.1%} of the training text")
    print(f"windows      {found['windows']:,} per epoch, {found['windows'] * epochs:,} in all")
    print_line(describe_backends(found["backend"]).replace(" ", "      ", 1))
    print(f"threads      {found['threads']}")
    if found["peak_memory_bytes"] is not None:
        print(f"memory       {found['peak_memory_bytes'] / 1e6:,.0f} MB at its peak")
    limited = max_minutes is not None and found["seconds"] >= round(60 * max_minutes, 1)
    what = "at most, by training.max_minutes" if limited else "of training expected (without validation)"
    print(f"time         {duration(found['seconds'])} {what}")
    print("ok")
