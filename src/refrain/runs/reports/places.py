"""Where the lines of metrics are in the course of a run: in epochs, or in steps."""

from collections.abc import Iterable, Mapping
from typing import Any, TypeGuard


def long_lines(trained: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """The lines of training but for the short ones at the end of epochs, whose figures are those of a few windows."""
    lines = list(trained)
    covered = []
    epoch, before = None, 0
    for line in lines:
        window = line["window"] if is_whole(line.get("window")) else 0
        covered.append(window - before if line.get("epoch") == epoch else window)
        epoch, before = line.get("epoch"), window
    usual = sorted(covered)[len(covered) // 2] if covered else 0
    return [line for line, count in zip(lines, covered, strict=True) if 4 * count >= usual]


def windows_of(metrics: Iterable[Mapping[str, Any]]) -> dict[int, int]:
    """The number of windows of each epoch for which it is known; version 0.1 wrote it for those that have ended."""
    found = {}
    for line in metrics:
        ended = line.get("event") == "valid" and line.get("epoch_ended") is not False
        count = line.get("windows") if "windows" in line else line.get("window") if ended else None
        if is_whole(line.get("epoch")) and is_whole(count) and count:
            found[line["epoch"]] = count
    return found


def place_of(line: Mapping[str, Any], windows: Mapping[int, int]) -> float:
    """The place of a line that `has_place`: the number of epochs, or of steps where no epoch's windows are known."""
    if not windows:
        return float(line["step"])
    epoch, window = line["epoch"], line["window"]
    count = windows.get(epoch) or windows[max(windows)]
    return float(epoch - 1 + window / max(count, window, 1))


def has_place(line: Mapping[str, Any]) -> bool:
    """Whether a line of metrics says after which step, epoch and window it was written."""
    return all(is_whole(line.get(name)) for name in ("step", "epoch", "window"))


def is_whole(value: Any) -> TypeGuard[int]:
    """Whether a value is a number of things."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0
