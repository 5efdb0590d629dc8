"""Recipe, TOML file and `a.b=value` words become one experiment, and every mistake is shown with its origin."""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from shlex import quote
from typing import Any, NamedTuple

from pydantic import BaseModel, ValidationError

from refrain.errors import UserError, nearest, shortened, shown

from .experiment import MADE_BY, Data, Experiment
from .following import following, value_text
from .iss_json import iss_settings, read_iss_json
from .layers import changed_values, overlaid
from .mistakes import Setting, describe, first_of, of_the_user, unknown
from .numbers import with_plain_numbers
from .schema import LONGEST_NAME, as_set, flatten, setting_names, settings_of, takes_text
from .shape import keeps_vocabulary, shape_of
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


class Start(NamedTuple):
    """A run from whose weights another one starts.

    Attributes:
        path: of the run, for messages.
        experiment: its settings.
    """

    path: str
    experiment: AnyExperiment


def resolve(
    source: str | None,
    words: Iterable[str | Mapping[str, Any]],
    recipes: Mapping[str, Callable[[], AnyExperiment]],
    *,
    corpus: str | None = None,
    iss_json: str | None = None,
    start: Start | None = None,
    origins: Origins = ON_COMMAND_LINE,
    log: Callable[[str], None] = lambda line: None,
) -> AnyExperiment:
    """Merge a recipe or TOML file with settings from the command line or from Python.

    Args:
        source: a recipe's name, or the path of a TOML file that may extend one; None for the settings of `start`.
        words: settings such as `training.epochs=3`, whose values are read as TOML, else as text; or mappings from names
            to values.
        recipes: the known recipes.
        corpus: takes the place of `data.corpus`, where given.
        iss_json: the path of a JSON file of iss-rnns; it comes after recipe and TOML file and before the words.
        start: the run from whose weights the new one starts. Its shape takes the place of that of the recipe.
        origins: how messages name where a setting was given.
        log: called with a line for each setting that others follow, which were not given.

    Returns:
        The validated experiment.

    Raises:
        UserError: with one line for each mistake, all of them at once, or for the first of very many.
    """
    if source is None:
        assert start is not None, "either a source or a run to start from is needed"
        base, settings, name = start.experiment, dict[str, Setting](), f"run {start.path}"
    else:
        base, settings = _source(source, recipes)
        name = f"recipe {source}" if source in recipes else "recipe"
    root = type(base)
    given, problems = _from_words(words, root, origins.settings)
    settings, given = with_plain_numbers(settings, root), with_plain_numbers(given, root)
    shape = dict[str, Setting]()
    if start is not None:
        shape = _shape(start, base)
    if corpus is not None:
        given["data.corpus"] = Setting(corpus, origins.corpus)
    if iss_json is not None:
        if not isinstance(base, Experiment):
            raise UserError(f"{origins.iss_json}: cannot take effect, {source or name} is a tagger")
        problems += _import_iss_json(iss_json, base, settings, given, shape)
    layers = [shape, settings, given]
    merged = shape
    for layer in layers[1:]:
        merged = overlaid(merged, layer, base)
    taken = {name: each.value for name, each in merged.items() if shape.get(name) is each}
    changed, lines = following(settings_of(base), [{name: each.value for name, each in x.items()} for x in layers])
    merged = overlaid(merged, {each: Setting(value, name) for each, value in changed.items()}, base)
    experiment = _validated(base, merged, problems, name)
    if taken and start is not None:
        log(f"as in {start.path}: " + ", ".join(f"{each}={value_text(value)}" for each, value in taken.items()))
    for line in lines:
        log(line)
    return experiment


def _shape(start: Start, base: AnyExperiment) -> dict[str, Setting]:
    """The settings of a run that its weights and its vocabulary depend on, where a recipe has others."""
    if type(start.experiment) is not type(base):
        kinds: dict[type[BaseModel], str] = {Experiment: "a language model", TaggerExperiment: "a tagger"}
        raise UserError(
            f"{start.path}: is the run of {kinds[type(start.experiment)]}, but the recipe is for {kinds[type(base)]}; "
            "give another recipe, or none to train as that run was trained"
        )
    shape = shape_of(start.experiment, base)
    if isinstance(start.experiment, Experiment) and keeps_vocabulary(start.experiment):
        defaults = {f"data.{name}": Data.model_fields[name].default for name in MADE_BY}
        shape = {name: value for name, value in shape.items() if name not in defaults}
        shape |= {name: value for name, value in defaults.items() if settings_of(base).get(name) != value}
        shape["data.vocabulary"] = str(Path(start.path).resolve())
    return {name: Setting(value, start.path) for name, value in shape.items()}


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
    return _validated(base, overlaid({}, given, base), problems)


def _validated(
    base: AnyExperiment, settings: dict[str, Setting], problems: list[str], name: str = "recipe"
) -> AnyExperiment:
    """An experiment with settings put over it. Raises for the given problems and for those of the settings at once."""
    root = type(base)
    problems = problems + unknown(settings, root)
    merged = changed_values(base, settings)
    try:
        experiment = root.model_validate(merged)
    except ValidationError as error:
        found = of_the_user(error.errors(include_url=False))
        problems += first_of(found, lambda details: describe(details, settings, root, name))
    if problems:
        raise UserError(*(shortened(line, LONGEST_LINE) for line in dict.fromkeys(problems)))
    return experiment


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
            word = {name.strip(): value_of(text.strip(), as_text=takes_text(as_set(name.strip(), root), root))}
        for each, value in flatten({str(name): value for name, value in word.items()}, root=root):
            # as in a TOML file, `none` stands for no value
            none = isinstance(value, str) and value == "none"
            given[as_set(each, root)] = Setting(None if none else value, origin)
    return given, first_of(problems, str)


def _import_iss_json(
    path: str,
    base: Experiment,
    settings: dict[str, Setting],
    given: Mapping[str, Setting],
    shape: Mapping[str, Setting],
) -> list[str]:
    """Put the settings of a file into `settings`, and return its mistakes. Penalties that it lacks are switched off."""
    document = read_iss_json(path)
    known = setting_names()
    every = overlaid(overlaid(shape, settings, base), given, base)
    settings_now = {name: each for name, each in every.items() if name in known}
    merged = changed_values(base, settings_now)
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
    merged_settings = overlaid(settings, own, base)
    settings.clear()
    settings.update(merged_settings)
    return first_of(problems, lambda problem: f"{path}: {problem}")


def unknown_recipe(name: str, recipes: Iterable[str]) -> str:
    """A message about a name that is none of a recipe, with the most similar name, or else with all of them.

    Args:
        name: what was given.
        recipes: the known recipes.
    """
    if len(name) <= LONGEST_NAME and any((Path(name) / part).exists() for part in ("config.json", "checkpoints")):
        return (
            f"{shown(name)} is a run, not a recipe; start from its weights with: refrain train --from {quote(name)}, "
            f"or continue it with: refrain train --resume --out {quote(name)}"
        )
    near = nearest(name, recipes)
    return f"unknown recipe {shown(name)}{near or '; known: ' + ', '.join(recipes)}"


def recipe_below(source: str, recipes: Iterable[str]) -> str | None:
    """The recipe that a TOML file extends, perhaps through other files, or the recipe itself; None without one.

    Args:
        source: a recipe's name, or the path of a TOML file that was resolved before.
        recipes: the known recipes.
    """
    for _ in range(MOST_PARENTS):
        if source in recipes or not source.endswith(".toml"):
            break
        parent = read_toml(Path(source))[1].get("extends")
        if not isinstance(parent, str):
            return None
        source = str(Path(source).parent / parent) if parent.endswith(".toml") else parent
    return source if source in recipes else None


def _source(
    source: str, recipes: Mapping[str, Callable[[], AnyExperiment]], children: tuple[Path, ...] = ()
) -> tuple[AnyExperiment, dict[str, Setting]]:
    if source in recipes:
        return recipes[source](), {}
    if not source.endswith(".toml"):
        place = f"{children[-1]}: extends: " if children else ""
        raise UserError(place + unknown_recipe(source, recipes))
    path = Path(source)
    if len(children) == MOST_PARENTS:
        raise UserError(f"{children[0]}: extends: more than {MOST_PARENTS} files extend one another; join some of them")
    if path.resolve() in [child.resolve() for child in children]:
        raise UserError(f"{children[-1]}: extends: {source} extends this file in its turn")
    text, tree = read_toml(path)
    # what `refrain sweep` varies is no setting: its file is also the recipe of what it varies
    parent, _ = tree.pop("extends", None), tree.pop("sweep", None)
    base: AnyExperiment
    settings: dict[str, Setting]
    if parent is None:
        # a file without a parent declares itself whether it is of a tagger
        if (task := tree.get("task", "tagger")) != "tagger":
            place = f"{source}:{line_of('task', lines_of(text))}: task"
            raise UserError(f"{place}: must be 'tagger', or left out for a language model (got {shown(task)})")
        base = TaggerExperiment() if "task" in tree else Experiment()
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
    return base, overlaid(settings, own, base)
