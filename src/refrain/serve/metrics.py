"""Counts of a server, in the text format of Prometheus."""

import bisect
from collections import Counter, defaultdict
from typing import TYPE_CHECKING

from refrain.storage.machine import peak_memory_bytes

if TYPE_CHECKING:
    from .service import Service

BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0)
"""Seconds, the upper bounds of the times of requests."""
MEDIA_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Metrics:
    """The number of requests and the times that they took, by operation."""

    def __init__(self) -> None:
        self._requests: Counter[tuple[str, int]] = Counter()
        self._seconds: dict[str, list[int]] = defaultdict(lambda: [0] * (len(BUCKETS) + 1))
        self._total: Counter[str] = Counter()

    def count(self, operation: str, status: int, seconds: float) -> None:
        """Count a request.

        Args:
            operation: its operation.
            status: the HTTP status of the answer.
            seconds: the time that it took.
        """
        self._requests[operation, status] += 1
        self._seconds[operation][bisect.bisect_left(BUCKETS, seconds)] += 1
        # a Counter of floats, in seconds
        self._total[operation] += seconds  # type: ignore[assignment]

    def text(self, service: "Service") -> str:
        """All metrics of a server in Prometheus' text format."""
        engine = service.engine
        lines = ["# HELP refrain_requests_total Requests by operation and HTTP status."]
        lines.append("# TYPE refrain_requests_total counter")
        for (operation, status), count in sorted(self._requests.items()):
            lines.append(f'refrain_requests_total{{operation="{operation}",status="{status}"}} {count}')
        lines.append("# HELP refrain_request_seconds Time from a request to the end of its answer.")
        lines.append("# TYPE refrain_request_seconds histogram")
        for operation, counts in sorted(self._seconds.items()):
            below = 0
            for bound, count in zip((*map(str, BUCKETS), "+Inf"), counts, strict=True):
                below += count
                lines.append(f'refrain_request_seconds_bucket{{operation="{operation}",le="{bound}"}} {below}')
            lines.append(f'refrain_request_seconds_sum{{operation="{operation}"}} {self._total[operation]:.6f}')
            lines.append(f'refrain_request_seconds_count{{operation="{operation}"}} {below}')
        figures = (
            ("steps_total", "counter", "Batches of single tokens that the models computed.", engine.steps),
            ("step_sequences_total", "counter", "Sequences in these batches.", engine.sequences),
            ("requests_in_work", "gauge", "Requests that the model thread computes, or that wait.", engine.unfinished),
            ("sessions", "gauge", "Open sessions.", len(service.sessions)),
            ("peak_memory_bytes", "gauge", "The largest memory of the process so far.", peak_memory_bytes() or 0),
        )
        for name, kind, text, value in figures:
            lines += [f"# HELP refrain_{name} {text}", f"# TYPE refrain_{name} {kind}", f"refrain_{name} {value}"]
        return "\n".join(lines) + "\n"
