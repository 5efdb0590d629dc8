"""General compressors on the text that a model of bytes is measured on.

A compressor knows nothing before the first byte, and a model has read the training text. So each compressor is measured
twice: on the text alone, and by what the text adds to the compressed training text in front of it. It also adapts to
the text, as a model does by a method such as the longest matches.
"""

import bz2
import importlib
import lzma
import time
from collections.abc import Callable, Mapping
from typing import Any

from refrain.errors import DataError

UNIT = "bits/byte"
ZSTD_LEVEL = 22


def compressors() -> dict[str, Callable[[bytes], bytes]]:
    """The compressors that this Python has, by name: xz and bzip2, and zstd in Python 3.14 or with `zstandard`."""
    found: dict[str, Callable[[bytes], bytes]] = {
        "xz -9e": lambda text: lzma.compress(text, preset=9 | lzma.PRESET_EXTREME),
        "bzip2 -9": lambda text: bz2.compress(text, 9),
    }
    zstd = _zstd()
    if zstd is not None:
        found[f"zstd -{ZSTD_LEVEL}"] = lambda text: zstd(text, level=ZSTD_LEVEL)
    return found


def _zstd() -> Callable[..., bytes] | None:
    for module in ("compression.zstd", "zstandard"):
        try:
            compress: Callable[..., bytes] = importlib.import_module(module).compress
        except ImportError:
            continue
        return compress
    return None


def bench_compressors(
    train: bytes,
    text: bytes,
    models: Mapping[str, tuple[float, float | None]],
    *,
    log: Callable[[str], None] = lambda line: None,
) -> list[dict[str, Any]]:
    """Measure the compressors beside models of bytes.

    Args:
        train: the training text, which the models have read.
        text: the text that is measured.
        models: for each model, by name, the bits for a byte of the text, and the seconds of its training if known.
        log: called with the name of each compressor before it is measured.

    Returns:
        A row for each model, then for each compressor. `median` is the number of bits for a byte of the text, with the
        training text known; `alone` is that of the text by itself, None for models; `ratio` is `median` divided by that
        of the first row, and `seconds` the time to train, or to compress the training text and the text after it.

    Raises:
        DataError: when the text is empty.
    """
    if not text:
        raise DataError("bench compressors: the text that is to be measured is empty; give a longer one")
    rows: list[dict[str, Any]] = []
    for name, (bits, seconds) in models.items():
        rows.append(_row(name, bits, None, seconds))
    for name, compress in compressors().items():
        log(f"compressing with {name}")
        started = time.perf_counter()
        both = len(compress(train + text))
        elapsed = time.perf_counter() - started
        added = both - len(compress(train))
        rows.append(_row(name, 8 * added / len(text), 8 * len(compress(text)) / len(text), elapsed))
    return [{**row, "ratio": row["median"] / rows[0]["median"]} for row in rows]


def _row(name: str, bits: float, alone: float | None, seconds: float | None) -> dict[str, Any]:
    return {"name": name, "median": bits, "alone": alone, "unit": UNIT, "seconds": seconds}
