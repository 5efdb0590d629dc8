"""The figures of a run, as lines of JSON and, if requested, TensorBoard events."""

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from refrain.errors import MachineError
from refrain.models.perplexity import perplexity
from refrain.storage.run_folder import RunFolder

from .planned_end import Plan
from .task import Position, Validation


class Metrics:
    """Writes the figures of a run.

    Args:
        run: the run folder; lines are appended to its `metrics.jsonl`. None writes nothing, as in every rank but 0.
        tensorboard: a writer of TensorBoard events, or None.
        bytes_per_token: the bytes per token of the training and the validation text; if given, bits per byte are added.
        figures: called for each line, returns further figures to add to it.
    """

    def __init__(
        self,
        run: RunFolder | None,
        tensorboard: Any | None = None,
        bytes_per_token: Mapping[str, float] | None = None,
        figures: Callable[[], dict[str, Any]] = dict,
    ) -> None:
        self._run = run
        self._tensorboard = tensorboard
        self._bytes_per_token = bytes_per_token
        self._figures = figures

    def train(
        self, position: Position, learning_rate: float, tokens_per_second: float, windows: int, last_step: int
    ) -> int:
        """Write the figures of the windows since the last line, and return the length of the file in bytes.

        Args:
            position: the position in the run.
            learning_rate: of the last window.
            tokens_per_second: since the last round of windows began.
            windows: the number of windows of the epoch.
            last_step: the number of steps of the whole run, as far as it is known.
        """
        tally = position.line_tally
        nats_per_token = tally.nats / tally.tokens
        return self._write(
            {
                "event": "train",
                "epoch": position.epoch + 1,
                "window": position.window,
                "windows": windows,
                "step": position.step,
                "last_step": last_step,
                "learning_rate": learning_rate,
                "nats_per_token": nats_per_token,
                "perplexity": perplexity(nats_per_token),
                **self._bits("", nats_per_token, "train"),
                "gradient_norm": tally.gradient_norm,
                **self._figures(),
                "tokens_per_second": round(tokens_per_second, 1),
                "wall_seconds": round(position.seconds, 3),
            }
        )

    def valid(
        self, position: Position, found: Validation, learning_rate: float, *, epoch_ended: bool
    ) -> tuple[dict[str, Any], int]:
        """Write the figures of a validation, and return them with the length of the file in bytes."""
        train = position.epoch_tally.nats / position.epoch_tally.tokens
        nats_per_token = found.nats / found.tokens
        record = {
            "event": "valid",
            "epoch": position.epoch + 1,
            "epoch_ended": epoch_ended,
            "window": position.window,
            "step": position.step,
            "learning_rate": learning_rate,
            "train_nats_per_token": train,
            "train_perplexity": perplexity(train),
            "nats_per_token": nats_per_token,
            "perplexity": perplexity(nats_per_token),
            **self._bits("train_", train, "train"),
            **self._bits("", nats_per_token, "valid"),
            **({} if found.accuracy is None else {"accuracy": found.accuracy}),
            **({} if found.span_f1 is None else {"span_f1": found.span_f1}),
            **self._figures(),
            "best": position.best is not None and position.best.step == position.step,
            "wall_seconds": round(position.seconds, 3),
        }
        return record, self._write(record)

    def sample(self, text: str, step: int) -> None:
        """Write a sample of text to TensorBoard, as preformatted text."""
        if self._tensorboard is not None:
            self._tensorboard.add_text("sample", _preformatted(text), step)

    def planned(self, position: Position, plan: Plan) -> int:
        """Write a decision about the end of the run, and return the length of the file in bytes."""
        return self._write({"event": "plan", "epoch": position.epoch + 1, "window": position.window, **asdict(plan)})

    def _bits(self, prefix: str, nats_per_token: float, split: str) -> dict[str, float]:
        if self._bytes_per_token is None:
            return {}
        return {f"{prefix}bits_per_byte": nats_per_token / math.log(2) / self._bytes_per_token[split]}

    def _write(self, record: dict[str, Any]) -> int:
        if self._tensorboard is not None:
            for name, value in record.items():
                if isinstance(value, float) and math.isfinite(value):
                    self._tensorboard.add_scalar(f"{record['event']}/{name}", value, record["step"])
        return 0 if self._run is None else self._run.log(record)


def _preformatted(text: str) -> str:
    # TensorBoard renders text as Markdown, where four blanks begin a line of code
    return "\n".join(f"    {line}" for line in text.splitlines())


def write_settings(writer: Any, text: str, step: int) -> None:
    """Write the settings of a run to TensorBoard.

    Args:
        writer: of TensorBoard events.
        text: the settings, a line for each.
        step: the number of steps so far.
    """
    writer.add_text("settings", _preformatted(text), step)


def tensorboard_writer(folder: Path, first_step: int) -> Any:
    """Return a writer of TensorBoard events, which hides events of an earlier process from `first_step` on.

    Raises:
        MachineError: when TensorBoard is not installed.
    """
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise MachineError(
            "training.tensorboard needs TensorBoard: pip install 'refrain-lm[tensorboard]', or leave the setting out"
        ) from None
    return SummaryWriter(folder, purge_step=first_step)
