"""`refrain check`."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter


def check(
    recipe: str,
    /,
    *settings: str,
    data: str | None = None,
    layout: Path | None = None,
    json: Annotated[bool, Parameter(negative=())] = False,
) -> None:
    """Resolve and build a recipe and run two windows; train nothing.

    Prints sizes, memory and the time that training would take.

    Parameters
    ----------
    recipe
        A recipe's name or a TOML file.
    settings
        Settings such as training.epochs=3.
    data
        The corpus: a folder of splits, a text file, or a name; for bytes any folder or a pattern.
    layout
        Draw the layout of sparse layers and of a sparse embedding into this PNG file.
    json
        Print one JSON object.
    """
    from refrain.recipes import recipe as build_recipe

    from .corpus import as_kept

    experiment = build_recipe(recipe, *settings, data=as_kept(data))

    from refrain.runs.trial import trial
    from refrain.training.progress import duration

    from .output import print_json, say

    found = trial(experiment, say=say, layout=layout)
    if json:
        print_json({"ok": True, **found})
        return
    print(f"parameters   {found['parameters']:,}")
    for name, size in found["widths"].items():
        print(f"  {name:18} {size:,}")
    for name, plan in found["plans"].items():
        print(f"{name}  {plan}")
    for band in found["bands"]:
        print(f"vectors of {band['width']:4}: {band['words']:,} words, {band['share']:.1%} of the training text")
    print(f"windows      {found['windows']:,} an epoch, {found['windows'] * experiment.training.epochs:,} in all")
    print(f"memory       {found['peak_memory_bytes'] / 1e6:,.0f} MB at its peak")
    print(f"time         {duration(found['seconds'])} of training expected (validation not counted)")
    print("ok")
