"""The command `refrain models`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import App, Parameter

from .options import ForceOption, JsonOption, RunArgument

if TYPE_CHECKING:
    from refrain.runs.listing import RunEntry

models = App(
    name="models",
    help="List, fetch and pack models that are ready to use.",
    help_epilogue="Example: refrain models fetch https://HOST/PATH/TO/small.tar --sha256 HASH",
)
COMMANDS = ("list", "fetch", "pack")


@models.default
def default(*words: Annotated[str, Parameter(show=False)], json: JsonOption = False) -> None:
    """List the models that have a name.

    Parameters
    ----------
    words
        No words are allowed; each is reported as an unknown command.
    """
    from refrain.errors import UserError, nearest

    if words:
        raise UserError(
            f"unknown command 'models {words[0]}'{nearest(words[0], COMMANDS)}; known: {', '.join(COMMANDS)}"
        )
    show(json=json)


@models.command(name="list", help_epilogue="Example: refrain models list runs")
def show(folder: Path | None = None, /, *, json: JsonOption = False) -> None:
    """List the models that come with refrain and those that were fetched, or those in a folder.

    Parameters
    ----------
    folder
        A folder with runs in it, looked for four levels deep.
    """
    from refrain.errors import CheckpointError
    from refrain.runs.listing import entry_of, find_runs
    from refrain.runs.named import BUNDLED, bundled_names, fetched_folder, fetched_names

    from .output import log, print_json, print_line, table

    if folder is None:
        places = [(name, BUNDLED / name, "comes with refrain") for name in bundled_names()]
        places += [(name, fetched_folder() / name, "fetched") for name in fetched_names()]
    elif not folder.is_dir():
        raise CheckpointError(f"{folder}: no such folder; give one with runs, such as that of --out")
    else:
        places = [(str(path), path, "run folder") for path in find_runs(folder)]
    entries = [(name, entry_of(path), origin) for name, path, origin in places]
    if json:
        print_json({"models": [_document(*each) for each in entries]})
        return
    if not entries:
        print_line(f"{folder}: no runs" if folder else "no models")
        return
    print(table([["model", "kind", "trained on", "parameters", "size", "test", "from"], *(_row(*e) for e in entries)]))
    for name, entry, _ in entries:
        if entry.note:
            log(f"{name}: {entry.note}")
    if folder is None:
        print("\nEvery command takes these names in place of a run folder, as in: refrain generate python-docs")


def _document(name: str, entry: "RunEntry", origin: str) -> dict[str, Any]:
    settings = entry.settings
    data = settings.get("data")
    tagger = settings.get("task") == "tagger"
    data = data if isinstance(data, dict) else {}
    return {
        "name": name,
        "kind": "tagger" if tagger else "language model",
        "unit": "word" if tagger else data.get("unit"),
        "corpus": data.get("corpus"),
        "parameters": entry.parameters,
        "bytes": entry.bytes,
        "state": entry.state,
        "test": entry.test,
        "origin": origin,
        "run": str(entry.path),
    }


def _row(name: str, entry: "RunEntry", origin: str) -> list[str]:
    from refrain.runs.figure_names import deciding, text_of_figure

    found = _document(name, entry, origin)
    figure = deciding(entry.test, entry.unit)
    return [
        name,
        found["kind"] if found["kind"] == "tagger" else f"{found['unit']}s",
        str(found["corpus"] or "-"),
        "-" if entry.parameters is None else f"{entry.parameters:,}",
        f"{entry.bytes / 1e6:,.1f} MB",
        "-" if figure is None else f"{figure.replace('_', ' ')} {text_of_figure(figure, entry.test[figure])}",
        origin if entry.state == "finished" else f"{origin}, {entry.state}",
    ]


@models.command(help_epilogue="Example: refrain models fetch https://HOST/PATH/TO/small.tar --sha256 HASH")
def fetch(url: str, /, *, sha256: str, out: Path | None = None, json: JsonOption = False) -> None:
    """Fetch a packed model from a web server or a file, and check every hash.

    It is then found by the name of the file without .tar, or in the folder that --out names. Nothing is kept if the
    file is another one than the hash says, or holds anything but a run.

    Parameters
    ----------
    url
        The address of the file: http, https or file.
    sha256
        The sha256 of the file, as refrain models pack prints it. Take it from whom you trust.
    out
        The run folder to make. The default is a folder of the cache, in which the model is found by its name.
    """
    from refrain.runs.fetching import fetch_run

    from .output import log, log_written, print_json, print_line

    folder = fetch_run(url, sha256, out=out, log=log)
    log_written(folder)
    name = folder.name if out is None else str(folder)
    if json:
        print_json({"name": name, "run": str(folder)})
    else:
        print_line(f"{name}: ready; its card is {folder / 'README.md'}")


@models.command(help_epilogue="Example: refrain models pack runs/small --out small.tar")
def pack(run: RunArgument, /, *, out: Path, force: ForceOption = False, json: JsonOption = False) -> None:
    """Write a model as one file that others can fetch, and print its sha256.

    The file is a tar with the settings, the figures, the card and the best checkpoint of a run, without the state from
    which training would continue and without the name of the machine. The same run gives the same file.

    Parameters
    ----------
    out
        The file to write.
    """
    from refrain.runs import find
    from refrain.storage.output_checks import check_outputs, run_files

    from .output import log_written, print_json, print_line

    check_outputs([("--out", out)], run_files(run), force=force)
    saved = find(run)

    from refrain.runs.packed import pack as write

    packed = write(saved, out, force=force)
    log_written(out)
    if json:
        print_json({"file": str(out), "bytes": packed.bytes, "sha256": packed.sha256, "members": list(packed.members)})
    else:
        print_line(f"{packed.sha256}  {out}  ({packed.bytes:,} bytes)")
