"""The parts of a completion: tokens with their log-probabilities, and a text up to what stops it."""

from typing import Any

from torch import Tensor

from .programs import finite
from .served import ServedModel


class Reported:
    """The tokens of a choice that are reported with log-probabilities.

    Args:
        model: the model.
        count: the number of most probable tokens beside each; None reports none at all.
        offset: where the first token begins in the text.
    """

    def __init__(self, model: ServedModel, count: int | None, offset: int) -> None:
        self._model, self._count, self.offset = model, count, offset
        self._rows: list[tuple[str, float | None, dict[str, float | None], int]] = []

    def add(self, index: int, row: Tensor, piece: str) -> None:
        """Add a token with the log-probabilities that were expected at it."""
        if self._count is not None:
            token = self._model.vocabulary.token
            best = self._model.candidates(row, self._count)
            top = {token(each.token_id): finite(each.log_probability) for each in best}
            self._rows.append((token(index), finite(float(row[index])), top, self.offset))
        self.offset += len(piece)

    def take(self) -> dict[str, Any] | None:
        """The tokens since the last call."""
        if self._count is None:
            return None
        rows, self._rows = self._rows, []
        columns = [list(column) for column in zip(*rows, strict=True)] or [[], [], [], []]
        names = ("tokens", "token_logprobs", "top_logprobs", "text_offset")
        found = dict(zip(names, columns, strict=True))
        return found if self._count else {**found, "top_logprobs": None}


class StoppedText:
    """A text that grows up to one of the texts that stop it; what may be the beginning of one is held back.

    Args:
        stops: the texts that stop it.

    Attributes:
        stopped: whether one of them has come.
    """

    def __init__(self, stops: list[str]) -> None:
        self._stops = stops
        self._kept = max((len(stop) for stop in stops), default=1) - 1
        self._text = ""
        self.stopped = False

    def add(self, piece: str) -> str:
        """The text that is certain once a piece has come."""
        self._text += piece
        found = [place for stop in self._stops if (place := self._text.find(stop)) >= 0]
        if found:
            self.stopped = True
            return self._text[: min(found)]
        certain = self._text[: max(0, len(self._text) - self._kept)]
        self._text = self._text[len(certain) :]
        return certain

    def rest(self) -> str:
        """What was held back, at the end."""
        return "" if self.stopped else self._text
