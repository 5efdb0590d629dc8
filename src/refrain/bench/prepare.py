"""Preparing a text by one process and by several: speed, and the memory of all processes."""

import json
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from refrain.config import Data
from refrain.data.parallel.processes import command_of
from refrain.errors import BinaryFileError, DataError, InvalidUTF8Error, UserError

from .timing import row

DISTINCT = 500_000
"""Distinct words of the made text, besides those that occur once."""
COMMON = 8000
"""The rank after which words become rare faster."""
RARE = 300
"""One word of so many occurs once."""
LINE_WORDS = 24
_LETTERS = "aeno"
_ERRORS: dict[str, type[UserError]] = {
    error.__name__: error for error in (DataError, InvalidUTF8Error, BinaryFileError)
}


def bench_prepare(data: Data, *, megabytes: int, workers: int, repeats: int) -> list[dict[str, Any]]:
    """Measure how fast a text is prepared by one process, and by several of them in turns.

    Each measurement is made by a process of its own, with an empty cache, and ends when the corpus is open. The text is
    in the cache of the system.

    Args:
        data: the data settings; a corpus of the name `made` is a text that is written first.
        megabytes: the size of that text in MB.
        workers: the number of processes that are compared with one.
        repeats: the number of measurements of each.

    Returns:
        A row for each number of processes, in MB of text per second. `megabytes` is the largest sum of the resident
        memory of all processes that was seen in any measurement; None on systems that do not report it.

    Raises:
        UserError: when the text is missing or damaged; a `DataError` for most mistakes.
        RuntimeError: when a measurement fails.
    """
    with tempfile.TemporaryDirectory(prefix="refrain-bench-") as folder:
        if data.corpus == MADE:
            data = data.model_copy(update={"corpus": str(Path(folder, "text.txt"))})
            with Path(data.corpus).open("w", encoding="ascii") as file:
                file.writelines(made_text(megabytes * 1_000_000))
        found: dict[int, list[dict[str, Any]]] = {1: [], workers: []}
        for _ in range(repeats):
            for number, figures in found.items():
                figures.append(_measured(data.model_copy(update={"workers": number}), folder))
    rates = {number: [each["bytes"] / 1e6 / each["seconds"] for each in figures] for number, figures in found.items()}
    rows = []
    for number, figures in found.items():
        ratios = [rate / single for rate, single in zip(rates[number], rates[1], strict=True)]
        made = row(f"{number} process{'es' * (number > 1)}", rates[number], "MB/s", ratios=ratios)
        peaks = [each["peak"] / 1e6 for each in figures if each["peak"] is not None]
        rows.append({**made, "megabytes": max(peaks, default=None)})
    # the ids are the same, or something is wrong
    assert len({each["ids"] for figures in found.values() for each in figures}) == 1
    return rows


MADE = "made"


def made_text(size: int) -> Iterator[str]:
    """A text of about `size` bytes, whose words have the frequencies of a natural language.

    Frequencies fall with the rank as in Zipf's law, and faster beyond 8,000 words (Ferrer i Cancho and Solé, 2001). One
    word of 300 occurs once, so that the number of distinct words grows with the text: 0.15 million in 20 MB, and about
    1.1 million in 1 GB.
    """
    draw = np.random.default_rng(1)
    ranks = np.arange(1, DISTINCT + 1)
    edges = np.cumsum(1 / (ranks + 2.7) * np.minimum(1, (COMMON / ranks) ** 0.7))
    words: npt.NDArray[np.object_] = np.array([_spelled(rank) for rank in range(1, DISTINCT + 1)], np.object_)
    written = once = 0
    while written < size:
        chosen = words[np.searchsorted(edges, draw.random(LINE_WORDS * 4000) * edges[-1])]
        rare = np.flatnonzero(draw.random(len(chosen)) * RARE < 1)
        chosen[rare] = [f"{_spelled(once + number)}x{number}" for number in range(len(rare))]
        once += len(rare)
        chosen[LINE_WORDS - 1 :: LINE_WORDS] += "\n"
        block = " ".join(chosen.tolist()).replace("\n ", "\n")
        written += len(block)
        yield block


def _spelled(number: int) -> str:
    letters = []
    while number:
        number, letter = divmod(number, len(_LETTERS))
        letters.append(_LETTERS[letter])
    return "".join(letters) or "a"


def _measured(data: Data, folder: str) -> dict[str, Any]:
    options = data.model_dump(exclude={"corpus", "unit", "vocabulary"})
    request = {"unit": data.unit, "path": data.corpus, "options": options, "folder": folder}
    done = subprocess.run(
        command_of("refrain.data.parallel.measure"), input=json.dumps(request), capture_output=True, encoding="utf-8"
    )
    if done.returncode:
        raise RuntimeError(f"a measurement failed:\n{done.stderr}")
    found: dict[str, Any] = json.loads(done.stdout)
    if "user_error" in found:
        name, *mistakes = found["user_error"]
        raise _ERRORS.get(name, UserError)(*mistakes)
    return found
