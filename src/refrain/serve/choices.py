"""The parts of a completion: a text up to what stops it, and its tokens with their log-probabilities."""

from collections import deque
from typing import Any

from torch import Tensor

from .programs import Pieces, finite
from .served import ServedModel


class Reported:
    """The tokens of a choice that are reported with log-probabilities.

    Args:
        model: the model.
        count: the number of most probable tokens beside each; None reports none at all.
        offset: the place in the text of the token that is added next.
    """

    def __init__(self, model: ServedModel, count: int | None, offset: int) -> None:
        self._model, self._count, self.offset = model, count, offset
        self._rows: deque[tuple[str, float | None, dict[str, float | None], int]] = deque()

    def add(self, index: int, row: Tensor, piece: str) -> None:
        """Add a token with the log-probabilities that were expected at it, and the text that it adds.

        Tokens are printed without the blanks before them, so that a token begins after these.
        """
        if self._count is not None:
            token = self._model.vocabulary.token
            best = self._model.candidates(row, self._count)
            top = {token(each.token_id): finite(each.log_probability) for each in best}
            blanks = len(piece) - len(piece.lstrip(" ")) if piece.strip(" ") else 0
            self._rows.append((token(index), finite(float(row[index])), top, self.offset + blanks))
        self.offset += len(piece)

    def take(self, end: int | None = None) -> dict[str, Any] | None:
        """The tokens since the last call, or those that begin before a place of the text."""
        if self._count is None:
            return None
        rows = []
        while self._rows and (end is None or self._rows[0][3] < end):
            rows.append(self._rows.popleft())
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


class GrowingChoice:
    """A choice that grows token by token. A token is reported once its text is certain, and not if that is dropped.

    Args:
        index: the number of the choice.
        stops: the texts that stop it.
        pieces: makes text of its tokens.
        reported: its tokens, whose offset is the place of the next.

    Attributes:
        stopped: whether one of the texts that stop it has come.
    """

    def __init__(self, index: int, stops: list[str], pieces: Pieces, reported: Reported) -> None:
        self._index, self._pieces, self._reported = index, pieces, reported
        self._text = StoppedText(stops)
        self._end = reported.offset

    @property
    def stopped(self) -> bool:
        """Whether one of the texts that stop it has come."""
        return self._text.stopped

    def add(self, index: int, row: Tensor) -> dict[str, Any]:
        """Add a token with the log-probabilities that were expected at it, and return the part that is certain."""
        piece = self._pieces.add(index)
        self._reported.add(index, row, piece)
        certain = self._text.add(piece)
        self._end += len(certain)
        return self._part(certain, self._end)

    def last(self) -> dict[str, Any]:
        """The last part."""
        return self._part(self._text.rest(), self._end if self.stopped else None, "stop" if self.stopped else "length")

    def _part(self, text: str, end: int | None, reason: str | None = None) -> dict[str, Any]:
        return {"index": self._index, "text": text, "logprobs": self._reported.take(end), "finish_reason": reason}
