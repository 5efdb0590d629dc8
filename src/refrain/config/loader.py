"""Recipe, TOML file and `a.b=value` words become one experiment, and every mistake is shown with its origin."""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from refrain.errors import UserError, shortened, shown

from .experiment import Experiment
from .iss_json import iss_settings, read_iss_json
from .mistakes import Setting, describe, first_of, nearest, unknown
from .schema import as_set, flatten, groups, names_none, setting_names
from .sparsity import Sparsity
from .tagger import TaggerExperiment
from .toml_file import line_of, lines_of, read_toml, value_of

# the number of files that may extend one another, and the length of a line about a mistake
MOST_PARENTS, LONGEST_LINE = 20, 1000

AnyExperiment = Experiment | TaggerExperiment


class Origins(NamedTuple):
    """How messages name the places that settings come from.

    Attributes:
        settings: of the words or mappings.
        corpus: of the corpus that is given by itself.
        iss_json: of the path of a JSON file of iss-rnns.
    """

    settings: str = "command line"
    corpus: str = "--data"
    iss_json: str = "--iss-json"


ON_COMMAND_LINE = Origins()


def resolve(
    source: str,
    words: Iterable[str | Mapping[str, Any]],
    recipes: Mapping[str, Callable[[], AnyExperiment]],
    *,
    corpus: str | None = None,
    iss_json: str | None = None,
    origins: Origins = ON_COMMAND_LINE,
) -> AnyExperiment:
    """Merge a recipe or TOML file with settings from the command line or from Python.

    Args:
        source: a recipe's name, or the path of a TOML file that may extend one.
        words: settings such as `training.epochs=3`, whose values are read as TOML, else as text; or mappings from names
            to values.
        recipes: the known recipes.
        corpus: takes the place of `data.corpus`, where given.
        iss_json: the path of a JSON file of iss-rnns; it comes after recipe and TOML file and before the words.
        origins: how messages name where a setting was given.

    Returns:
        The validated experiment.

    Raises:
        UserError: with one line for each mistake, all of them at once, or for the first of very many.
    """
    base, settings = _source(source, recipes)
    root = type(base)
    given, problems = _from_words(words, root, origins.settings)
    if corpus is not None:
        given["data.corpus"] = Setting(corpus, origins.corpus)
    if iss_json is not None:
        if not isinstance(base, Experiment):
            raise UserError(f"{origins.iss_json}: cannot take effect, {source} is a tagger")
        problems += _import_iss_json(iss_json, base, settings, given)
    return _validated(base, _overlaid(settings, given, base), problems)


def amended(base: AnyExperiment, words: Iterable[str | Mapping[str, Any]]) -> AnyExperiment:
    """Change some settings of an experiment.

    Args:
        base: the experiment.
        words: see `resolve`.

    Returns:
        The validated experiment.

    Raises:
        UserError: with one line for each mistake, all of them at once.
    """
    given, problems = _from_words(words, type(base), "settings")
    return _validated(base, _overlaid({}, given, base), problems)


def _validated(base: AnyExperiment, settings: dict[str, Setting], problems: list[str]) -> AnyExperiment:
    """An experiment with settings put over it. Raises for the given problems and for those of the settings at once."""
    root = type(base)
    problems = problems + unknown(settings, root)
    merged = _changed(base, settings)
    try:
        experiment = root.model_validate(merged)
    except ValidationError as error:
        found = _telling(error.errors(include_url=False))
        problems += first_of(found, lambda details: describe(details, settings, root))
    if problems:
        raise UserError(*(shortened(line, LONGEST_LINE) for line in dict.fromkeys(problems)))
    return experiment


def _telling(found: list[ErrorDetails]) -> list[ErrorDetails]:
    """The mistakes that are the user's, of those that a validator finds."""
    misnamed = [each["loc"][:-1] for each in found if each["loc"][-1:] == ("kind",)]
    return [
        each
        for each in found
        # a list of wrong items is empty to the validator; what an unknown variant lacks is not known
        if not (each["type"] == "too_short" and each["input"])
        and not (each["type"] == "missing" and each["loc"][:-1] in misnamed)
    ]


def _from_words(
    words: Iterable[str | Mapping[str, Any]], root: type[BaseModel], origin: str
) -> tuple[dict[str, Setting], list[str]]:
    """The settings on the command line or from Python, and what is wrong with words that are none."""
    given: dict[str, Setting] = {}
    problems: list[str] = []
    for word in words:
        if isinstance(word, str):
            name, equals, text = word.partition("=")
            if not equals:
                problems.append(f"{origin}: {shown(word)} is not a setting; write name=value, as in training.epochs=3")
                continue
            word = {name.strip(): value_of(text.strip())}
        for each, value in flatten({str(name): value for name, value in word.items()}, root=root):
            # as in a TOML file, `none` stands for no value
            none = isinstance(value, str) and value == "none"
            given[as_set(each, root)] = Setting(None if none else value, origin)
    return given, first_of(problems, str)


def _overlaid(older: Mapping[str, Setting], newer: Mapping[str, Setting], base: AnyExperiment) -> dict[str, Setting]:
    """Two layers of settings as one. Where the newer one chooses another variant, the fields of the old one go."""
    known = groups(type(base))
    gone = tuple(
        f"{name}."
        for name, setting in newer.items()
        if name in known
        and setting.value != {}
        and (setting.value is None or setting.value != _variant_in(name, older, base))
    )
    kept = {name: setting for name, setting in older.items() if name not in newer and not name.startswith(gone)}
    return kept | dict(newer)


def _variant_in(name: str, settings: Mapping[str, Setting], base: AnyExperiment) -> Any:
    """The name of the variant that a group has."""
    if name in settings:
        return settings[name].value
    group: Any = base
    for part in name.split("."):
        group = getattr(group, part, None)
    return getattr(group, "kind", None)


def _changed(base: AnyExperiment, settings: Mapping[str, Setting]) -> dict[str, Any]:
    """The values of an experiment with known settings put over them, not validated yet."""
    root, known = type(base), groups(type(base))
    merged: dict[str, Any] = base.model_dump()
    # a group comes before its fields, whatever the order in which they were given
    for name in sorted(settings, key=lambda name: name.count(".")):
        value = settings[name].value
        if name in known and isinstance(value, str):
            value = {"kind": value}
        _put(merged, name, "none" if value is None and names_none(name, root) else value)
    return merged


def _put(tree: dict[str, Any], name: str, value: Any) -> None:
    *parents, last = name.split(".")
    for parent in parents:
        if not isinstance(tree.get(parent), dict):
            tree[parent] = {}
        tree = tree[parent]
    old = tree.get(last)
    same = isinstance(old, dict) and isinstance(value, dict) and old.get("kind") == value.get("kind")
    if not same:
        # another variant begins with its own defaults
        tree[last] = value


def _import_iss_json(
    path: str, base: Experiment, settings: dict[str, Setting], given: Mapping[str, Setting]
) -> list[str]:
    """Put a file's settings among `settings`, and say what is wrong with it. Penalties it has not are switched off."""
    document = read_iss_json(path)
    known = setting_names()
    settings_now = {name: each for name, each in _overlaid(settings, given, base).items() if name in known}
    merged = _changed(base, settings_now)
    if not isinstance(merged["model"]["hidden_sizes"], list | tuple):
        # that is a mistake of its own
        return []
    found, problems = iss_settings(document, merged["model"])
    now = {as_set(name, Experiment): value for name, value in flatten(merged)}
    defaults = flatten(Sparsity().model_dump(), "sparsity.")
    asked = {as_set(name, Experiment): value for name, value in defaults} | found
    # of a group that is put in the place of another, every setting is given
    changed = {name for name, value in asked.items() if now.get(name, ...) != value}
    own = {name: Setting(asked[name], path) for name in asked if {name, name.rpartition(".")[0]} & changed}
    merged_settings = _overlaid(settings, own, base)
    settings.clear()
    settings.update(merged_settings)
    return first_of(problems, lambda problem: f"{path}: {problem}")


def _source(
    source: str, recipes: Mapping[str, Callable[[], AnyExperiment]], children: tuple[Path, ...] = ()
) -> tuple[AnyExperiment, dict[str, Setting]]:
    if source in recipes:
        return recipes[source](), {}
    if not source.endswith(".toml"):
        place = f"{children[-1]}: extends: " if children else ""
        raise UserError(f"{place}unknown recipe {shown(source)}{nearest(source, recipes)}; known: {', '.join(recipes)}")
    path = Path(source)
    if len(children) == MOST_PARENTS:
        raise UserError(f"{children[0]}: extends: more than {MOST_PARENTS} files extend one another; join some of them")
    if path.resolve() in [child.resolve() for child in children]:
        raise UserError(f"{children[-1]}: extends: {source} extends this file in its turn")
    text, tree = read_toml(path)
    parent = tree.pop("extends", None)
    base: AnyExperiment
    settings: dict[str, Setting]
    if parent is None:
        # a file without a parent says itself that it is of a tagger
        base = TaggerExperiment() if tree.get("task") == "tagger" else Experiment()
        settings = {}
    elif isinstance(parent, str):
        if parent.endswith(".toml"):
            parent = str(path.parent / parent)
        base, settings = _source(parent, recipes, (*children, path))
    else:
        raise UserError(f"{source}: extends: must be the name of a recipe or file (got {shown(parent)})")
    lines, root = lines_of(text), type(base)
    own = {
        # TOML has no word for nothing
        as_set(name, root): Setting(None if value == "none" else value, f"{source}:{line_of(name, lines)}")
        for name, value in flatten(tree, root=root)
    }
    return base, _overlaid(settings, own, base)
