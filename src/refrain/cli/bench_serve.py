"""`refrain bench serve`: a server under load."""

import math
from pathlib import Path
from typing import Any

from .output import log, print_json, table

CLIENTS = 64
SECONDS = 60.0


def bench_serve(run: list[Path], clients: int | None, seconds: float | None, device: str, *, json: bool) -> None:
    """Start a server of a run, and print how it answers one client and many.

    Args:
        run: the run.
        clients: the number of clients; None is 64.
        seconds: the time for which they send; None is 60.
        device: the device that was asked for.
        json: whether to print JSON.

    Raises:
        UserError: when there is not one run, or a number is not positive.
        CheckpointError: when the run is not that of a language model.
    """
    from refrain import runs
    from refrain.errors import UserError
    from refrain.progress import reporter, timing_reports

    from .serve import check_packages

    clients = CLIENTS if clients is None else clients
    seconds = SECONDS if seconds is None else seconds
    if len(run) != 1:
        raise UserError(f"bench serve needs one --run, the run of a language model (got {len(run)})")
    if clients < 1 or not 0 < seconds < math.inf:
        raise UserError(f"--clients and --seconds must be positive (got {clients} and {seconds:g})")
    if device == "cuda":
        raise UserError("--device: bench serve measures on CPUs only")
    check_packages()
    runs.find_language_model(run[0])

    from refrain.bench.serve import bench_serve as measure

    log(f"{run[0]}: {clients} client{'s' * (clients > 1)} for {seconds:g} s, and one client")
    with timing_reports(reporter()).step("measuring serve"):
        rows = measure(run[0], clients=clients, seconds=seconds)
    if json:
        print_json({"bench": "serve", "run": str(run[0]), "clients": clients, "seconds": seconds, "rows": rows})
    else:
        _print(rows)


def _print(rows: list[dict[str, Any]]) -> None:
    lines = [["", "words/s", "ratio", "median ms", "99 % within ms", "errors"]]
    for row in rows:
        ratio = "" if row["ratio"] is None else f"{row['ratio']:.2f}"
        times = [f"{row[key]:.1f}" for key in ("p50_ms", "p99_ms")]
        lines.append([row["name"], f"{row['median']:,.0f}", ratio, *times, str(row["errors"])])
    print(table(lines))
    last = rows[-1]
    grown = "" if last["growth_mb"] is None else f"; its memory grew by {last['growth_mb']:.1f} MB"
    print(f"first answer {last['start_seconds']:.1f} s after the start of the server{grown}")
