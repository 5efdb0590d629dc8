"""Prepares a text once in a process of its own, and measures the time and the memory of all processes.

Standard input is the unit, the path and the options of the text as JSON, and standard output the figures. The packages
above this one import torch, which would be a part of the memory.
"""

import hashlib
import json
import os
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from refrain.errors import UserError

from ..text.files import raw_blocks, size_of, whole
from ..text.splits import SPLITS
from ..text.token_file import TokenFile
from ..units.table import UNITS
from ..units.unit import TextOptions

# seconds between two looks at the memory
INTERVAL = 0.02


def main() -> None:
    """Prepare the text of the request, and print the seconds, bytes, peak memory and a hash of the ids.

    Of a mistake of the user, `user_error` is printed, the name of the error and its messages.
    """
    try:
        found = _measured(json.load(sys.stdin))
    except UserError as error:
        found = {"user_error": [type(error).__name__, *error.mistakes]}
    print(json.dumps(found))


def _measured(request: dict[str, Any]) -> dict[str, Any]:
    unit, path = UNITS[request["unit"]], Path(request["path"])
    options = TextOptions(**request["options"])
    with tempfile.TemporaryDirectory(dir=request["folder"]) as cache:
        os.environ["REFRAIN_CACHE"] = cache
        memory = Memory()
        started = time.perf_counter()
        texts = unit.find_splits(path, options, SPLITS, lambda line: None)
        corpus = unit.open(path.name, texts, options, None, lambda line: None)
        seconds = time.perf_counter() - started
        peak = memory.stop()
        digest = hashlib.sha256()
        for split in corpus.splits.values():
            assert isinstance(split.tokens, TokenFile)
            for block in raw_blocks(whole(split.tokens.path)[0]):
                digest.update(block)
        size = sum(size_of(split.source) for split in corpus.splits.values())
    return {"seconds": seconds, "bytes": size, "peak": peak, "ids": digest.hexdigest()}


class Memory:
    """The largest memory that this process and those that it starts have at once, as seen every 20 ms."""

    def __init__(self) -> None:
        self._peak: int | None = resident_bytes()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def stop(self) -> int | None:
        """The largest sum of the resident memory; None where the system does not report it."""
        self._ended.set()
        self._thread.join()
        return self._peak

    def _watch(self) -> None:
        while not self._ended.wait(INTERVAL) and self._peak is not None:
            self._peak = max(self._peak, resident_bytes() or 0)


def resident_bytes() -> int | None:
    """The resident memory of this process and of those that it has started; None where that is not reported."""
    try:
        return _resident(os.getpid())
    except (OSError, AttributeError):
        return None


def _resident(process: int) -> int:
    try:
        pages = int(Path(f"/proc/{process}/statm").read_text().split()[1])
        tasks = list(Path(f"/proc/{process}/task").iterdir())
        children = [int(child) for task in tasks for child in (task / "children").read_text().split()]
    except OSError:
        # a process that has ended in the meantime
        if process == os.getpid():
            raise
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE") + sum(map(_resident, children))
