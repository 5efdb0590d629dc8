"""The jobs that processes do with the pieces of a text."""

from collections.abc import Mapping
from typing import Any, Protocol

from ..text.files import Piece


class Job(Protocol):
    """What one process does with the pieces that it is given. All arguments and results are plain data."""

    def work(self, number: int, pieces: tuple[Piece, ...]) -> Any:
        """Read the pieces with a number, which grows from call to call.

        Returns:
            Figures of these pieces.
        """
        ...

    def finish(self) -> Any:
        """What is known of all pieces that were read."""
        ...


def job_of(name: str, document: Mapping[str, Any]) -> Job:
    """The job with a name.

    Args:
        name: the name.
        document: its settings as plain data.
    """
    # imported here, because what starts jobs is imported by these modules
    if name == "count":
        from ..units.word.counting import WordCounter

        return WordCounter.of(document)
    if name == "encode":
        from ..units.encoding import Encoding

        return Encoding.of(document)
    if name == "unpack":
        from ..text.unpacking import Unpacker

        return Unpacker.of(document)
    raise ValueError(f"there is no job with the name {name}")
