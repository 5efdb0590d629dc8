"""Packs a run as one file, a tar of plain data, and unpacks such a file that may come from anyone.

A packed run has what is needed to use the model: settings, figures, card and the best checkpoint without the state from
which training would continue. Nothing in it is executed, and only the names of a run folder are written.
"""

import hashlib
import io
import json
import re
import tarfile
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any, BinaryIO, NamedTuple

from refrain.errors import CheckpointError, DataError, shortened
from refrain.storage.checkpoint import MANIFEST, Checkpoint, flush
from refrain.storage.checkpoint_manifest import DOCUMENT_LIMIT
from refrain.storage.output_files import replace_file
from refrain.storage.plain_json import dumps, loads
from refrain.storage.regular_files import read_regular
from refrain.storage.run_layout import BEST, best_of

from .config_document import experiment_from
from .loading import SavedModel

LARGEST = 2**31
"""Bytes of a packed run."""
MOST_MEMBERS = 100
BLOCK_BYTES = 1 << 20
# what of a run folder is packed beside its best checkpoint
FILES = ("README.md", "config.json", "manifest.json", "metrics.jsonl", "recipe.toml", "summary.json")
# of a checkpoint, what only training reads
LEFT_OUT = ("training.safetensors",)
_MEMBER = re.compile(r"checkpoints/step-[0-9]{1,18}/[A-Za-z0-9_-][A-Za-z0-9._-]{0,99}")
_STEP = re.compile(r"step-[0-9]{1,18}")


class Packed(NamedTuple):
    """A packed run.

    Attributes:
        bytes: the size of the file.
        sha256: its sha256, by which it is recognised when it is fetched.
        members: the names in it.
    """

    bytes: int
    sha256: str
    members: tuple[str, ...]


def pack(saved: SavedModel, out: Path, *, force: bool = False) -> Packed:
    """Write a run as a tar file. The same run gives the same file.

    Args:
        saved: the result of `find` for a run folder.
        out: the file to write.
        force: whether an existing file is replaced.

    Raises:
        CheckpointError: when `saved` is only a checkpoint, or the file exists and `force` is not set.
        OSError: when the file cannot be written.
    """
    run = saved.path
    if not (run / "checkpoints").is_dir():
        raise CheckpointError(f"{run}: is a checkpoint, which lacks the card and the figures; give its run folder")
    contents = dict(_contents(run, saved.checkpoint))
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for name, content in sorted(contents.items()):
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    packed = buffer.getvalue()
    with replace_file(out, force=force) as file:
        file.write(packed)
    return Packed(len(packed), hashlib.sha256(packed).hexdigest(), tuple(sorted(contents)))


def _contents(run: Path, checkpoint: Checkpoint) -> Iterator[tuple[str, bytes]]:
    """Name and content of each file of a packed run."""
    for name in FILES:
        try:
            content = read_regular(run / name, limit=DOCUMENT_LIMIT, follow_links=False)
        except FileNotFoundError:
            continue
        yield name, _without_host(content) if name == "manifest.json" else _without_folders(name, content, run)
    # a copy of a run without links has its best checkpoint in the folder `best`
    own = checkpoint.folder.name
    step = own if _STEP.fullmatch(own) else "step-000000001"
    yield BEST, f"checkpoints/{step}\n".encode()
    manifest: dict[str, Any] = loads(read_regular(checkpoint.folder / MANIFEST, limit=DOCUMENT_LIMIT))
    files: Mapping[str, Any] = manifest["files"]
    kept = {name: entry for name, entry in files.items() if name not in LEFT_OUT}
    for name, entry in kept.items():
        yield f"checkpoints/{step}/{name}", read_regular(checkpoint.folder / name, limit=entry["bytes"])
    yield f"checkpoints/{step}/{MANIFEST}", json.dumps({**manifest, "files": kept}, indent=1).encode()


def _without_folders(name: str, content: bytes, run: Path) -> bytes:
    """The card and the summary of a run with its name, and those of others and of files without absolute paths."""
    if name not in ("README.md", "summary.json"):
        return content
    try:
        summary = loads(read_regular(run / "summary.json", limit=DOCUMENT_LIMIT, follow_links=False))
    except (ValueError, OSError):
        return content
    if not isinstance(summary, dict):
        return content
    names = {key: _last_part(value) for key, value in summary.items() if isinstance(value, str)}
    if isinstance(own := summary.get("run"), str):
        names["run"] = PurePosixPath(names["run"]).name or own
    if name == "summary.json":
        return (dumps(_with_file_names({**summary, **names}), indent=2) + "\n").encode()
    for key, last in names.items():
        content = content.replace(summary[key].encode(), last.encode()) if last != summary[key] else content
    return content


def _last_part(text: str) -> str:
    """The last part of an absolute path of any system; another text as it is."""
    kind = PurePosixPath if PurePosixPath(text).is_absolute() else PureWindowsPath
    return kind(text).name or text if kind(text).is_absolute() else text


def _without_host(content: bytes) -> bytes:
    """The manifest of a run without the name of the machine that trained it, and the folders of imported files."""
    try:
        manifest = loads(content)
    except ValueError:
        return content
    if not isinstance(manifest, dict):
        return content
    kept = {name: value for name, value in manifest.items() if name != "host"}
    if isinstance(imported := kept.get("imported"), dict):
        kept["imported"] = _with_file_names(imported)
    return (dumps(kept, indent=2) + "\n").encode()


def _with_file_names(document: dict[str, Any]) -> dict[str, Any]:
    """A document in which the files that a model was imported from have no folders."""
    files = document.get("files")
    if not isinstance(files, list):
        return document
    return {
        **document,
        "files": [
            {**each, "file": _last_part(each["file"])}
            if isinstance(each, dict) and isinstance(each.get("file"), str)
            else each
            for each in files
        ],
    }


def unpack(file: BinaryIO, folder: Path) -> None:
    """Unpack a run into an empty folder, and compare every file of its checkpoint with the manifest.

    Args:
        file: the tar file.
        folder: an existing, empty folder. After an error it may hold a part of the run.

    Raises:
        DataError: when the file is not a packed run: it is no tar, has a link, a name that no run has, a name twice, or
            too much data.
        CheckpointError: when the run in it is damaged, or needs a newer version.
        OSError: when a file cannot be written.
    """
    seen: set[str] = set()
    total = 0
    try:
        with tarfile.open(fileobj=file, mode="r:") as tar:
            for member in tar:
                total += member.size
                _check_member(member, seen, total)
                seen.add(member.name)
                target = folder.joinpath(*PurePosixPath(member.name).parts)
                target.parent.mkdir(parents=True, exist_ok=True)
                source = tar.extractfile(member)
                assert source is not None
                with target.open("xb") as written:
                    while block := source.read(BLOCK_BYTES):
                        written.write(block)
                if target.stat().st_size != member.size:
                    raise DataError(f"is not complete ({member.name} is cut short)")
                flush(target)
    except (tarfile.TarError, EOFError, ValueError, OverflowError, RecursionError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"is not a tar file as refrain models pack writes it ({shortened(str(error), 200)})") from None
    _check_run(folder, seen)


def _check_member(member: tarfile.TarInfo, seen: set[str], total: int) -> None:
    """Check a member before it is written."""
    name = shortened(member.name, 100)
    if not (member.name in FILES or member.name == BEST or _MEMBER.fullmatch(member.name)):
        raise DataError(f"holds {name!r}, which is no part of a packed run")
    if member.type not in (tarfile.REGTYPE, tarfile.AREGTYPE) or member.sparse is not None:
        raise DataError(f"holds {name}, which is not a plain file")
    if member.name in seen:
        raise DataError(f"holds {name} twice")
    if len(seen) == MOST_MEMBERS:
        raise DataError(f"holds more than {MOST_MEMBERS} files")
    if member.size < 0 or total > LARGEST:
        raise DataError(f"holds more than {LARGEST:,} bytes")


def _check_run(folder: Path, members: set[str]) -> None:
    """Check that what was unpacked is a run with one whole checkpoint, and nothing beside it."""
    try:
        best = best_of(folder) if BEST in members else None
        if best is None:
            raise DataError(f"is not a packed run (it holds no {BEST})")
        checkpoint = Checkpoint(best)
        step = f"checkpoints/{best.name}"
        files = loads(read_regular(best / MANIFEST, limit=DOCUMENT_LIMIT))["files"]
        known = {*FILES, BEST, f"{step}/{MANIFEST}", *(f"{step}/{name}" for name in files)}
        if more := sorted(members - known):
            raise DataError(f"holds {more[0]}, which the manifest of its checkpoint does not list")
        experiment_from(checkpoint.document("config"), checkpoint.folder)
    except CheckpointError as error:
        # the folder has a temporary name, which tells nobody anything
        raise CheckpointError(str(error).replace(f"{folder}/", "the packed run: ")) from None
