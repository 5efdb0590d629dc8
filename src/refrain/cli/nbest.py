"""N-best lists for the command `refrain score --nbest`: reading, rescoring and printing."""

import math
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from refrain.errors import DataError

from .options import Errors
from .texts import lines_of, name_of

if TYPE_CHECKING:
    from refrain.data import Vocabulary
    from refrain.evaluation.nbest import Rescored
    from refrain.models.scorer import AnyStepper
    from refrain.progress import Reporter

DEFAULT_SCALE = 0.5


class _NoNumber(DataError):
    """What should be a number is none."""


class Options(NamedTuple):
    """The options of `refrain score` for n-best lists.

    Attributes:
        scale: the factor of the log-likelihood; None is the default.
        tune: a file of references, on which the scale is chosen.
        costs: a file of the costs of hypotheses.
    """

    scale: float | None
    tune: str | None
    costs: str | None

    def check(self, nbest: bool) -> None:
        """Check that the options can take effect.

        Raises:
            UserError: when one of them cannot.
        """
        from refrain.errors import UserError

        given = {"--lm-scale": self.scale, "--tune": self.tune, "--costs": self.costs}
        if not nbest and (surplus := [name for name, value in given.items() if value is not None]):
            raise UserError(f"{surplus[0]} cannot take effect without --nbest")
        if self.scale is not None and self.tune is not None:
            raise UserError("--lm-scale and --tune exclude each other; --tune chooses the scale")
        if self.scale is not None and not (math.isfinite(self.scale) and self.scale >= 0):
            raise UserError(f"--lm-scale must be at least 0 (got {self.scale})")

    @property
    def files(self) -> list[str]:
        """The files that are read."""
        return [file for file in (self.tune, self.costs) if file is not None]


class Lists(NamedTuple):
    """The n-best lists of a file.

    Attributes:
        lists: the texts and scores of each utterance's hypotheses, in the order in which utterances are first named.
        references: the words that were said, by utterance; None without --tune.
    """

    lists: dict[str, list[tuple[str, float]]]
    references: dict[str, str] | None


def read_lists(file: str, options: Options, errors: Errors) -> Lists:
    """Read n-best lists, and the files that the options name.

    Args:
        file: the lists; - is standard input. A line is a JSON object with `id`, `score` and `hypothesis`, or these
            three separated by tabs, or as in Kaldi the id of a hypothesis, such as `utt-1`, and its words.
        options: the options.
        errors: what to do at invalid UTF-8.

    Raises:
        DataError: when a line has no id or score, or a reference is missing.
        UserError: when the scale cannot be chosen because the lists have no scores.
    """
    from refrain.errors import UserError

    costs = None if options.costs is None else _costs(options.costs, errors)
    numbered = [(number, line) for number, line in _lines(file, errors) if line.strip()]
    name = name_of(file)
    if not numbered:
        raise DataError(f"{name}: contains no text; give at least one hypothesis")
    first = numbered[0][1]
    is_kaldi = not first.lstrip().startswith("{") and "\t" not in first
    if costs is not None and not is_kaldi:
        raise UserError("--costs cannot take effect where each hypothesis has its score; leave it out")
    if is_kaldi and costs is None and options.tune is not None:
        raise UserError(f"--tune needs scores, which {name} has not; give them with --costs")
    if costs is not None and options.costs is not None:
        _check_costs(options.costs, costs, name, [line.split(None, 1)[0] for _, line in numbered])
    found: dict[str, list[tuple[str, float]]] = {}
    for number, line in numbered:
        place = f"{name}:{number}"
        if is_kaldi:
            utterance, text, score = _kaldi(place, line, costs)
        elif first.lstrip().startswith("{"):
            utterance, text, score = _object(place, line)
        else:
            utterance, text, score = _tabbed(place, line)
        found.setdefault(utterance, []).append((text, score))
    references = None if options.tune is None else _references(options.tune, found, errors)
    return Lists(found, references)


def print_best(
    stepper: "AnyStepper",
    vocabulary: "Vocabulary",
    lists: Lists,
    options: Options,
    reports: "Reporter",
    *,
    as_json: bool,
) -> tuple[int, int]:
    """Print the hypothesis of each utterance with the largest interpolated score.

    Returns:
        The number of unknown words of all hypotheses, and that of their tokens.
    """
    from refrain.evaluation.nbest import Hypothesis, NBest, rescore, tune_scale

    from .output import for_output, log, print_json

    given = [NBest(name, [Hypothesis(*each) for each in found]) for name, found in lists.lists.items()]
    rescored: Iterable[Rescored] = reports.track(
        rescore(stepper, vocabulary, given), "scoring n-best lists", len(given)
    )
    scale = DEFAULT_SCALE if options.scale is None else options.scale
    if lists.references is not None:
        rescored = list(rescored)
        tuned = tune_scale(rescored, lists.references)
        scale = tuned.scale
        log(
            f"--lm-scale {scale:g}: {_rate(tuned.errors, tuned.words)} word errors; without the language model "
            f"{_rate(tuned.errors_at_zero, tuned.words)}, at best {_rate(tuned.least_errors, tuned.words)}"
        )
    unknown = tokens = 0
    for each in rescored:
        unknown += sum(line.unknown for line in each.lines)
        tokens += sum(line.figure.tokens for line in each.lines)
        row = _row(each, scale)
        if as_json:
            print_json(row)
        else:
            print(for_output(f"{row['id']}\t{row['total']:.4f}\t{row['hypothesis']}"), flush=True)
    return unknown, tokens


def _row(rescored: "Rescored", scale: float) -> dict[str, Any]:
    """The best hypothesis of an utterance as plain data."""
    best = rescored.best(scale)
    return {
        "id": rescored.utterance,
        "hypothesis": rescored.hypotheses[best].text,
        "number": best + 1,
        "hypotheses": len(rescored.hypotheses),
        "score": rescored.hypotheses[best].score,
        "nats": rescored.lines[best].figure.nats,
        "unknown": rescored.lines[best].unknown,
        "lm_scale": scale,
        "total": rescored.total(best, scale),
    }


def _rate(errors: int, words: int) -> str:
    return f"{errors:,} ({errors / words:.2%})" if words else f"{errors:,}"


def _lines(file: str, errors: Errors) -> Iterator[tuple[int, str]]:
    return enumerate((line.removesuffix("\r") for line in lines_of(file, errors)), 1)


def _kaldi(place: str, line: str, costs: dict[str, float] | None) -> tuple[str, str, float]:
    name, _, text = line.strip().partition(" ")
    numbered = re.fullmatch(r"(.+)-\d+", name)
    if numbered is None:
        raise DataError(
            f"{place}: {name!r} is not the id of a hypothesis, such as utt-1; "
            "give an id and its number, or the id, the score and the hypothesis with tabs between them"
        )
    if costs is not None and name not in costs:
        raise DataError(f"{place}: --costs has no cost of {name!r}; give one for each hypothesis")
    # subtracted, so that a cost of 0 is a score of 0 and not of -0
    return numbered[1], text.strip(), 0.0 if costs is None else 0 - costs[name]


def _tabbed(place: str, line: str) -> tuple[str, str, float]:
    cells = line.split("\t")
    if len(cells) != 3:
        raise DataError(
            f"{place}: {len(cells)} cell{'s' * (len(cells) != 1)}; give the id, the score and the hypothesis, "
            "with a tab between them"
        )
    utterance, score, text = cells
    return _named(place, utterance.strip()), text, _number(place, "score", score)


def _object(place: str, line: str) -> tuple[str, str, float]:
    from refrain.errors import DataError
    from refrain.storage.plain_json import loads

    try:
        found = loads(line)
    except ValueError as error:
        raise DataError(f"{place}: no JSON object ({error}); give one object on each line") from None
    text = found.get("hypothesis", found.get("text")) if isinstance(found, dict) else None
    if not isinstance(text, str):
        raise DataError(f"{place}: the object has no hypothesis; give it as a text under the key 'hypothesis'")
    utterance, score = found.get("id"), found.get("score")
    if not isinstance(utterance, str | int) or isinstance(utterance, bool):
        utterance = ""
    if isinstance(score, bool) or not isinstance(score, int | float):
        raise DataError(f"{place}: the object has no score; give it as a number under the key 'score'")
    return _named(place, str(utterance)), text.replace("\n", " "), _number(place, "score", score)


def _named(place: str, utterance: str) -> str:
    if not utterance:
        raise DataError(f"{place}: the hypothesis has no id; give the id of its utterance")
    return utterance


def _number(place: str, what: str, given: str | float) -> float:
    from refrain.errors import shown

    try:
        number = float(given)
    except (ValueError, OverflowError):
        number = math.nan
    if not math.isfinite(number):
        raise _NoNumber(f"{place}: the {what} must be a number (got {shown(given)})")
    return number


def _costs(file: str, errors: Errors) -> dict[str, float]:
    """The cost of each hypothesis by its id."""
    try:
        found = {key: _number(place, "cost", value) for key, value, place in _pairs(file, errors)}
    except _NoNumber as error:
        raise DataError(f"{error}; give the id of a hypothesis and its cost on each line of --costs") from None
    if not found:
        raise DataError(
            f"{name_of(file)}: contains no costs; give the id of a hypothesis and its cost on each line of --costs"
        )
    return found


def _check_costs(file: str, costs: dict[str, float], name: str, hypotheses: Sequence[str]) -> None:
    """Check that a file of costs is that of the hypotheses.

    Raises:
        DataError: when the file has a cost for none of the hypotheses.
    """
    if not any(hypothesis in costs for hypothesis in hypotheses):
        raise DataError(
            f"{name_of(file)}: has no cost of any hypothesis in {name}, such as {hypotheses[0]!r}, but of "
            f"{next(iter(costs))!r}; give --costs the file that belongs to these hypotheses"
        )


def _references(file: str, utterances: Iterable[str], errors: Errors) -> dict[str, str]:
    """The reference of each utterance by its id.

    Raises:
        DataError: when an utterance has none.
    """
    found = {key: value for key, value, _ in _pairs(file, errors)}
    if missing := [utterance for utterance in utterances if utterance not in found]:
        raise DataError(
            f"{name_of(file)}: no reference of {missing[0]!r}; give the id and the words of each utterance on a line"
        )
    return found


def _pairs(file: str, errors: Errors) -> Iterator[tuple[str, str, str]]:
    """Each line of a file as an id, what follows it, and its place."""
    seen: set[str] = set()
    name = name_of(file)
    for number, line in _lines(file, errors):
        parts: Sequence[str] = line.split(None, 1)
        if not parts:
            continue
        if parts[0] in seen:
            raise DataError(f"{name}:{number}: {parts[0]!r} is given twice; remove one of the lines")
        seen.add(parts[0])
        yield parts[0], parts[1].strip() if len(parts) > 1 else "", f"{name}:{number}"
