"""The plain data that a checkpoint needs to be resumed from: `training.json`."""

from typing import Annotated, Any, Literal

from pydantic import Field

from refrain.storage.documents import Amount, Document, Index


class TallyEntry(Document):
    """The sums of a `Tally`."""

    nats: float
    tokens: Index
    gradient_norm: Amount


class BestEntry(Document):
    """The best validation so far, see `Best`."""

    epoch: Index
    step: Index
    nats_per_token: float
    settled: bool = True
    judged: float | None = None


class PlanEntry(Document):
    """A decision about the end of a run, see `Plan`."""

    reason: Literal["max_minutes", "finish"]
    step: Index
    seconds: Amount
    progress: Annotated[float, Field(ge=0, le=1)]
    end: Index
    cooldown: bool
    factor: Amount


class PositionEntry(Document):
    """The position in a run, see `Position`."""

    epoch: Index
    window: Index
    step: Index
    epoch_tally: TallyEntry
    line_tally: TallyEntry
    best: BestEntry | None
    stopped: bool
    metrics_bytes: Index
    seconds: Amount
    spent_seconds: Amount = 0.0
    plans: list[PlanEntry] = Field(default_factory=list)


class TrainingDocument(Document):
    """The result of `capture`; the optimiser and the methods check their own states."""

    position: PositionEntry
    carried: list[Any]
    optimizer: Any
    stateful: dict[str, Any]
    methods: list[str] = Field(default_factory=list)


class TrainedPosition(Document):
    """The position that every checkpoint records, also that of a compressed run."""

    step: Index


class AnyTrainingDocument(Document):
    """What `training.json` of any checkpoint contains."""

    position: TrainedPosition
