"""The folder of a sweep.

sweep.toml   a copy of the file                   sweep.json   what decides its cells, as a hash, and its seeds
cells/       0001, 0002, ...: a run for each cell  claims/      which worker trains a cell
results/     0001.json, ...: how a cell has ended  settings/    what optuna has chosen for a cell
"""

import shlex
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import Field

from refrain.errors import CheckpointError, UserError
from refrain.storage.checkpoint import write_atomically, write_once
from refrain.storage.documents import Document, Index, checked
from refrain.storage.plain_json import dumps, loads
from refrain.storage.regular_files import read_regular
from refrain.storage.run_folder import TEXT_LIMIT

from .claims import generations
from .plan import Cell, Sweep

FORMAT = 1
FOLDERS = ("cells", "claims", "results", "settings")
Ended = Literal["done", "failed", "pruned"]


class PlanEntry(Document):
    """`sweep.json`."""

    format: Index
    sha256: str
    seeds: Annotated[list[Index], Field(min_length=1)] | None


class Result(Document):
    """`results/NUMBER.json`."""

    cell: Index
    state: Ended
    valid: dict[str, Any]
    test: dict[str, Any]
    seconds: float
    worker: str
    finished: str
    error: str = ""


class Chosen(NamedTuple):
    """What optuna has chosen for a cell: the id of its trial, and the settings."""

    trial: int
    settings: dict[str, Any]


class SweepFolder:
    """The folder of a sweep.

    Args:
        path: the folder.
        sweep: the sweep.
    """

    def __init__(self, path: Path, sweep: Sweep) -> None:
        self.path, self.sweep = path, sweep
        self.claims = path / "claims"

    def open(self, *, create: bool = True) -> None:
        """Create the folder, or check that it is that of this sweep; new seeds are added to it.

        Args:
            create: whether the folder is created, and seeds are added.

        Raises:
            CheckpointError: when it is the folder of another sweep or holds other files, is missing and not to be
                created, or cannot be written.
        """
        known = self.path / "sweep.json"
        if not known.exists() and self.path.is_dir() and any(not _is_own(path) for path in self.path.iterdir()):
            raise CheckpointError(f"{self.path}: holds other files than those of a sweep; choose another --out")
        if not known.exists() and not create:
            raise CheckpointError(
                f"{self.path}: no sweep was started here; start it with: "
                f"{self._command(self.sweep.path, self.sweep.corpus)}"
            )
        if create:
            self._create(known)
        document = self._read(known, PlanEntry)
        self._compare(document, grow=create)

    def _create(self, known: Path) -> None:
        try:
            for name in FOLDERS:
                (self.path / name).mkdir(parents=True, exist_ok=True)
            write_once(known, dumps(self._document(), indent=2) + "\n")
            write_once(self.path / "sweep.toml", self.sweep.text())
        except OSError as error:
            raise CheckpointError(f"{self.path}: cannot be written ({error.strerror}); choose another --out") from None

    def _document(self) -> dict[str, Any]:
        return {"format": FORMAT, "sha256": self.sweep.sha256, "seeds": self.sweep.space.seeds}

    def _compare(self, found: PlanEntry, *, grow: bool) -> None:
        if found.format != FORMAT:
            raise CheckpointError(f"{self.path}: is a sweep of format {found.format}; update refrain-lm")
        if found.sha256 != self.sweep.sha256:
            raise CheckpointError(
                f"{self.path}: is the folder of a sweep with other cells (sha256 {found.sha256[:12]}..., and that of "
                f"{self.sweep.path} is {self.sweep.sha256[:12]}...); choose another --out, or go on with that sweep, "
                f"with the --data that it was started with, if any: {self._command(self.path / 'sweep.toml', None)}"
            )
        own, seeds = found.seeds or [], self.sweep.space.seeds or []
        if own == seeds[: len(own)] and (own or not seeds):
            if len(seeds) > len(own) and grow:
                write_atomically(self.path / "sweep.json", dumps(self._document(), indent=2) + "\n")
            if grow:
                self._keep_text()
            return
        raise CheckpointError(
            f"{self.path}: has the seeds {own or 'of the recipe'}, and {self.sweep.path} has {seeds or 'none'}; seeds "
            "can only be added at the end of the list"
        )

    def _keep_text(self) -> None:
        """Keep the file of the sweep as it is now: with more seeds, or so that it can be read from here."""
        text, copy = self.sweep.text(), self.path / "sweep.toml"
        if read_regular(copy, limit=TEXT_LIMIT, follow_links=False) != text.encode():
            write_atomically(copy, text)

    def _command(self, file: Path, corpus: str | None) -> str:
        """The command that trains a sweep in this folder."""
        data = ["--data", corpus] if corpus is not None else []
        return shlex.join(["refrain", "sweep", str(file), "--out", str(self.path), *data])

    def _read(self, path: Path, form: Any) -> Any:
        remedy = "restore the file from a copy, or remove it; the next worker writes it again"
        return checked(form, _json_in(path, remedy), path, remedy)

    def run(self, number: int) -> Path:
        """The run folder of a cell."""
        return self.path / "cells" / f"{number:04d}"

    def ended(self) -> set[int]:
        """The numbers of the cells that have a result."""
        names = [path.name.removesuffix(".json") for path in (self.path / "results").glob("*.json")]
        return {int(name) for name in names if name.isdigit()}

    def result_path(self, number: int) -> Path:
        """The file that says how a cell has ended."""
        return self.path / "results" / f"{number:04d}.json"

    def result(self, number: int) -> Result | None:
        """How a cell has ended; None where it has not."""
        path = self.result_path(number)
        if not path.exists():
            return None
        found: Result = self._read(path, Result)
        return found

    def write_result(self, result: Result) -> bool:
        """Write how a cell has ended; False where it has a result already."""
        return write_once(self.result_path(result.cell), dumps(result.model_dump(), indent=2) + "\n")

    def chosen(self, number: int) -> Chosen | None:
        """What optuna has chosen for a cell; None where it has not chosen yet."""
        path = self._settings_path(number)
        if not path.exists():
            return None
        remedy = "restore the file from a copy"
        found = _json_in(path, remedy)
        if (
            not isinstance(found, dict)
            or type(found.get("trial")) is not int
            or type(found.get("settings")) is not dict
        ):
            raise CheckpointError(f"{path}: has no trial and settings; {remedy}")
        return Chosen(found["trial"], found["settings"])

    def write_chosen(self, number: int, chosen: Chosen) -> None:
        """Write what optuna has chosen for a cell, unless another process has done so already."""
        write_once(self._settings_path(number), dumps(chosen._asdict(), indent=2) + "\n")

    def replace_chosen(self, number: int, chosen: Chosen) -> None:
        """Write another trial for a cell that is trained again."""
        write_atomically(self._settings_path(number), dumps(chosen._asdict(), indent=2) + "\n")

    def _settings_path(self, number: int) -> Path:
        return self.path / "settings" / f"{number:04d}.json"

    def check_index(self, number: int) -> None:
        """Check that there is a cell with a number.

        Raises:
            UserError: when there is none.
        """
        if not 1 <= number <= self.sweep.number:
            raise UserError(f"--index must be from 1 to {self.sweep.number}, the number of cells (got {number})")

    def cell(self, number: int) -> Cell | None:
        """A cell; None for one whose settings optuna has not chosen yet.

        Raises:
            UserError: when settings that optuna has chosen are refused.
        """
        if self.sweep.space.method != "optuna":
            return self.sweep.cell(number)
        chosen = self.chosen(number)
        return None if chosen is None else self.sweep.cell(number, chosen.settings)

    def settings(self, number: int) -> dict[str, Any] | None:
        """What the sweep varies in a cell; None where optuna has not chosen yet."""
        if self.sweep.space.method != "optuna":
            return self.sweep.settings(number)
        chosen = self.chosen(number)
        return None if chosen is None else self.sweep.settings(number, chosen.settings)

    def generations(self) -> dict[int, int]:
        """The number of each claimed cell -> the latest generation of its claims."""
        return generations(self.claims)


def _json_in(path: Path, remedy: str) -> Any:
    """The content of a JSON file."""
    try:
        return loads(read_regular(path, limit=TEXT_LIMIT, follow_links=False))
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read ({error.strerror})") from None
    except ValueError as error:
        raise CheckpointError(f"{path}: is not JSON ({error}); {remedy}") from None


def _is_own(path: Path) -> bool:
    return path.name in (*FOLDERS, "sweep.toml") or path.name.startswith(".tmp-")
