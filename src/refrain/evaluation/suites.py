"""Test suites with items, conditions and regions, whose predictions compare the surprisal of regions.

Gauthier et al. (2020), SyntaxGym: An Online Platform for Targeted Evaluation of Language Models.
"""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from .formula import Formula, read_formula

if TYPE_CHECKING:
    from refrain.data import Vocabulary
    from refrain.models import Network
    from refrain.models.scorer import Reader

ALL = "*"


class Region(NamedTuple):
    """A part of a sentence: its number, as it is written, and its words, which may be none."""

    number: str
    content: str


class Item(NamedTuple):
    """An item of a suite: its number, and the regions of the sentence in each condition."""

    number: str
    conditions: dict[str, list[Region]]


class Suite(NamedTuple):
    """A test suite."""

    name: str
    predictions: list[Formula]
    items: list[Item]


class ItemScore(NamedTuple):
    """What a model makes of an item.

    Attributes:
        item: the item.
        bits: the surprisal of each region of each condition, and of all regions under `*`.
        right: whether each prediction holds.
        unknown: the number of unknown words in all conditions.
    """

    item: Item
    bits: dict[tuple[str, str], float]
    right: list[bool]
    unknown: int


def suite_from(document: Any, name: str) -> Suite:
    """A suite from the JSON of SyntaxGym.

    Args:
        document: the parsed file.
        name: the name of the suite if the file has none.

    Raises:
        ValueError: when something is missing, a formula cannot be read, or names a region that an item has not.
    """
    try:
        meta = document.get("meta") or {}
        formulas = [each["formula"] for each in document["predictions"]]
        items = [_item(each, number) for number, each in enumerate(document["items"], 1)]
        name = str(meta.get("name", name))
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"no test suite of SyntaxGym ({type(error).__name__}: {error})") from None
    if not items or not formulas or not all(isinstance(each, str) for each in formulas):
        raise ValueError("no test suite of SyntaxGym, which has items, and predictions with formulas")
    predictions = [read_formula(each) for each in formulas]
    for item in items:
        named = [(region.number, condition) for condition, regions in item.conditions.items() for region in regions]
        known = set(named)
        if len(known) < len(named):
            number, condition = next(key for key in known if named.count(key) > 1)
            raise ValueError(f"item {item.number} has the region {number} twice in the condition {condition!r}")
        known |= {(ALL, condition) for condition in item.conditions}
        for prediction in predictions:
            if missing := [key for key in prediction.regions if key not in known]:
                number, condition = missing[0]
                raise ValueError(f"item {item.number} has no region {number} in a condition {condition!r}")
    return Suite(name, predictions, items)


def _item(given: Any, number: int) -> Item:
    item = str(given.get("item_number", number))
    conditions: dict[str, list[Region]] = {}
    for each in given["conditions"]:
        name = str(each["condition_name"])
        if name in conditions:
            raise ValueError(f"item {item} has the condition {name!r} twice")
        conditions[name] = [Region(str(part["region_number"]), str(part["content"])) for part in each["regions"]]
    return Item(item, conditions)


def score_suite(model: "Network | Reader", vocabulary: "Vocabulary", suite: Suite) -> Iterator[ItemScore]:
    """Compute the surprisal of each region, and whether each prediction holds.

    The regions of a condition are joined by blanks to a sentence, which is read after a line end. The surprisal of a
    region is the sum over its words.

    Args:
        model: the model.
        vocabulary: its vocabulary.
        suite: the suite.

    Yields:
        The scores of each item, in order.
    """
    # suites are read before torch is imported
    from refrain.models import stepper_of

    from .surprisal import surprisal_rows

    stepper = stepper_of(model)
    for item in suite.items:
        sentences = [" ".join(_words(regions)) for regions in item.conditions.values()]
        rows = list(surprisal_rows(stepper, vocabulary, sentences))
        bits: dict[tuple[str, str], float] = {}
        for sentence, (condition, regions) in enumerate(item.conditions.items(), 1):
            words = iter([row.surprisal_bits for row in rows if row.sentence == sentence])
            for region in regions:
                bits[region.number, condition] = sum(next(words) for _ in region.content.split())
            bits[ALL, condition] = sum(bits[region.number, condition] for region in regions)
        right = [bool(prediction.holds(bits)) for prediction in suite.predictions]
        yield ItemScore(item, bits, right, sum(row.unknown for row in rows))


def _words(regions: Sequence[Region]) -> list[str]:
    return [word for region in regions for word in region.content.split()]
