"""The command `refrain bench auto`."""

from typing import Any

from .options import Device


def bench_auto(repeats: int, device: Device, *, json: bool) -> None:
    """Measure how good the backends are that `training.backend=auto` chooses, and print a row for each part.

    Args:
        repeats: the number of timed windows of each backend.
        device: must be `cpu` or `auto`.
        json: whether one JSON object is printed.

    Raises:
        UserError: when the device is not the CPU, `repeats` is not positive, or no compiler is installed.
    """
    import torch

    from refrain.errors import UserError
    from refrain.nn.kernels.compile import lacks_compiler

    from .output import log, print_json, table

    if device == "cuda":
        raise UserError("bench auto measures the CPU, as nothing is measured on a GPU; use --device cpu")
    if repeats < 1:
        raise UserError(f"--repeats must be at least 1 (got {repeats})")
    if lacks_compiler():
        raise UserError("bench auto needs a C++ compiler for the kernels between which auto chooses; install g++")

    from refrain.bench.auto import bench_auto as measure
    from refrain.nn.kernels.levels import processor_name

    threads = torch.get_num_threads()
    log(f"{repeats} repeat{'s' * (repeats > 1)} on {processor_name()}, {threads} thread{'s' * (threads > 1)}")
    rows = measure(repeats=repeats)
    if json:
        print_json({"bench": "auto", "device": processor_name(), "threads": threads, "rows": rows})
        return
    lines = [["", "torch ms", "native ms", "rule", "chosen", "against torch", "regret"]]
    lines += [_cells(row) for row in rows[:-1]]
    print(table(lines))
    print(f"\nregret: median {rows[-1]['regret']:.1%}, largest {rows[-1]['worst']:.1%}")


def _cells(row: dict[str, Any]) -> list[str]:
    times = [f"{row['milliseconds'][name]:.1f}" for name in ("torch", "native")]
    chosen = row["chosen"] if row["measured"] else f"{row['chosen']} (not measured)"
    return [row["name"], *times, row["rule"], chosen, f"{row['ratio']:.2f}", f"{row['regret']:.1%}"]
