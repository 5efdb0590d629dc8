"""Counting and encoding the words of a text of any size in one pass, exactly and in bounded memory.

A process gives each new word the next id, counts the ids, and writes them to disk. When it knows too many words, it
writes these to disk as a run and begins anew. When all is counted, the runs are added up, the vocabulary is made, and
the ids of the processes are replaced by those of the vocabulary.
"""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache, partial
from itertools import accumulate, chain, count, repeat
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ...parallel.processes import do_job
from ...text.files import Errors, Piece, Spans, piece_blocks, place_of
from ...text.pieces import pieces_of
from ...text.token_file import Tokens, id_dtype
from .preparation import Preparation
from .runs import PARTS, Numbers, Run, write_run
from .totals import Limits, WordCounts, add_up
from .vocabulary import UNK, count_spelled_unknown, encoded_words

TABLE_WORDS = 500_000
"""Distinct words that a process knows before it writes them to disk: about 60 MB."""
# runs whose ids are in memory at once; each process is in one of its own at a time
_RUNS = 32
_RANKS = 1 << 40

# with words and the path of a file, writes ids and returns the numbers of lines, of unseen words and of ids
WriteIds = Callable[[Sequence[str], Path], tuple[int, int, int]]


class Group(NamedTuple):
    """What a process knows of a group of pieces.

    Attributes:
        lines: the number of lines.
        unknown: the number of words that are spelled `<unk>`.
        parts: the name of each run that has ids of it, with the number of these ids, in order.
    """

    lines: int
    unknown: int
    parts: list[tuple[str, int]]


class CountedTexts:
    """Texts whose words are counted, and whose ids are on disk.

    Args:
        folder: the folder of the ids and the runs.
        runs: the runs.
        groups: for each text, the number of each group of its pieces and what is known of it.
    """

    def __init__(self, folder: Path, runs: Sequence[Run], groups: Mapping[str, Sequence[tuple[int, Group]]]) -> None:
        self._folder = folder
        self._runs = {run.path.name: run for run in runs}
        self._groups = groups

    def write(self, name: str, words: Sequence[str], path: Path) -> tuple[int, int, int]:
        """Write the ids that the words of a text have in a vocabulary. Those on the disk are removed.

        Args:
            name: the name of the text.
            words: the words of the vocabulary in the order of their ids.
            path: the file to write.

        Returns:
            The numbers of lines, of words that are read as `<unk>` but spelled otherwise, and of ids.
        """
        index = {word.encode("utf-8", "surrogatepass"): number for number, word in enumerate(words)}
        unknown, dtype = index[UNK.encode()], id_dtype(len(words))

        @lru_cache(_RUNS)
        def ids_of(run: str) -> Tokens:
            return _renumbered(self._runs[run], index, unknown, dtype)

        lines = unseen = tokens = 0
        with path.open("wb") as out:
            for number, group in self._groups[name]:
                own = self._folder / str(number)
                with own.open("rb") as file:
                    for run, size in group.parts:
                        ids = ids_of(run)[np.frombuffer(file.read(4 * size), np.uint32)]
                        out.write(ids.tobytes())
                        unseen += int(np.count_nonzero(ids == unknown))
                        tokens += size
                own.unlink()
                lines += group.lines
                unseen -= group.unknown
        return lines, unseen, tokens


def _renumbered(run: Run, index: Mapping[bytes, int], unknown: int, dtype: np.dtype[np.integer]) -> Tokens:
    """The id in a vocabulary of each id of a run."""
    found: Tokens = np.empty(run.size, dtype)
    for part in range(PARTS):
        words, _, _, ids = run.read(part)
        found[ids] = np.fromiter(map(index.get, words, repeat(unknown)), dtype, len(words))
    return found


def count_long_texts(
    texts: Mapping[str, Spans],
    errors: Errors,
    preparation: Preparation,
    limits: Limits,
    *,
    folder: Path,
    workers: int | None,
) -> tuple[WordCounts, dict[str, WriteIds]]:
    """Count the words of texts of any size, with one `<eos>` for each line.

    Args:
        texts: the texts by the names of their splits.
        errors: how invalid UTF-8 is handled.
        preparation: what is done to a text before its words are read.
        limits: which words are counted one by one; the counts of the others are added to that of `<unk>`.
        folder: a folder in which one for ids and runs is made.
        workers: the number of processes, see `do_job`.

    Returns:
        The exact counts, and for each text what writes its ids in a vocabulary; see `CountedTexts.write`.

    Raises:
        DataError: when a text is not UTF-8, or more than 10 million words are within the limits.
    """
    folder = folder / "words"
    folder.mkdir()
    pieces = {name: list(pieces_of(text, whole_lines=preparation.whole_lines)) for name, text in texts.items()}
    # the number of the first group after each text
    ends = list(accumulate(map(len, pieces.values())))
    settings = {
        "folder": str(folder),
        "errors": errors,
        "preparation": list(preparation),
        "ends": ends,
        "table_words": TABLE_WORDS,
    }
    found: list[tuple[int, Group]] = []

    def take(result: list[Any]) -> None:
        lines, unknown, parts = result
        found.append((len(found), Group(lines, unknown, [(run, size) for run, size in parts])))

    finished = do_job("count", settings, chain.from_iterable(pieces.values()), workers=workers, take=take)
    runs = [Run(folder / name, text, parts) for name, text, parts in chain.from_iterable(finished)]
    counts = add_up(runs, list(texts), limits, place_of(next(iter(texts.values()))))
    groups = {name: found[start:end] for name, start, end in zip(texts, [0, *ends], ends, strict=False)}
    counted = CountedTexts(folder, runs, groups)
    return counts, {name: partial(counted.write, name) for name in texts}


class WordCounter:
    """The job `count`: counts the words of the pieces of some texts, and writes their ids; see `Job` for the methods.

    Args:
        folder: the folder of the ids, in files named after the numbers of groups, and of the runs.
        worker: the number of the process.
        errors: how invalid UTF-8 is handled.
        preparation: what is done to a text before its words are read.
        ends: for each text the number of the first group of pieces after it.
        table_words: a run is written when more words are known.
    """

    def __init__(
        self,
        folder: Path,
        worker: int,
        errors: Errors,
        preparation: Preparation,
        ends: Sequence[int],
        table_words: int,
    ) -> None:
        self._folder = folder
        self._worker = worker
        self._errors = errors
        self._preparation = preparation
        self._ends = ends
        self._table_words = table_words
        self._text = 0
        self._written = 0
        self._runs: list[Run] = []
        self._begin()

    def _begin(self) -> None:
        # a new word gets the next id
        self._index: defaultdict[bytes, int] = defaultdict(count().__next__)
        self._counts: Numbers = np.zeros(0, np.int64)
        # the numbers of groups, each with the number of words that were known when it began
        self._begun: list[tuple[int, int]] = []

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> "WordCounter":
        """The job with some settings."""
        named = dict(document)
        return cls(**{**named, "folder": Path(named["folder"]), "preparation": Preparation(*named["preparation"])})

    def work(self, number: int, pieces: tuple[Piece, ...]) -> Group:
        """Count the words of a group of pieces, and write their ids."""
        text = next(index for index, end in enumerate(self._ends) if number < end)
        if text != self._text:
            self._end_run()
            self._text = text
        self._begun.append((number, len(self._index)))
        lines = unknown = 0
        sizes: dict[str, int] = {}
        whole_lines = self._preparation.whole_lines
        with (self._folder / str(number)).open("wb") as file:
            blocks = (piece_blocks(piece, self._errors, whole_lines=whole_lines) for piece in pieces)
            for block in chain.from_iterable(blocks):
                run = self._run_name()
                sizes[run] = sizes.get(run, 0) + self._count(block, file)
                lines += block.count("\n")
                unknown += count_spelled_unknown(block, self._preparation)
                if len(self._index) > self._table_words:
                    self._end_run()
                    self._begun.append((number, 0))
        return Group(lines, unknown, list(sizes.items()))

    def _count(self, block: str, file: IO[bytes]) -> int:
        """Count the words of a block, write their ids, and return their number."""
        words = encoded_words(self._preparation(block))
        ids: npt.NDArray[np.uint32] = np.fromiter(map(self._index.__getitem__, words), np.uint32, len(words))
        counts = np.bincount(ids, minlength=len(self._counts))
        counts[: len(self._counts)] += self._counts
        self._counts = counts
        file.write(ids.tobytes())
        return len(ids)

    def finish(self) -> list[list[Any]]:
        """The name of each run, the number of its text, and where its parts are."""
        self._end_run()
        return [[run.path.name, run.text, run.parts] for run in self._runs]

    def _run_name(self) -> str:
        return f"{self._worker}-{len(self._runs)}"

    def _end_run(self) -> None:
        words = list(self._index)
        if words:
            # groups are in the order of the text, and words of a group in the order of first occurrence
            numbers, starts = np.array(self._begun, np.int64).T
            known = np.diff(np.append(starts, len(words)))
            positions = np.repeat(numbers, known) * _RANKS + self._written + np.arange(len(words))
            path = self._folder / self._run_name()
            self._runs.append(write_run(path, self._text, words, self._counts, positions))
            self._written += len(words)
        self._begin()
