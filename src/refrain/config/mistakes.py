"""Messages about settings: unknown names, values that do not fit, and rules between settings that are broken."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar, get_args

from pydantic import BaseModel
from pydantic_core import ErrorDetails

from refrain.errors import nearest, shortened, shown

from .experiment import Experiment
from .renamed import new_name, new_value
from .schema import as_set, fields_named, fields_of, groups, setting_at, setting_names
from .tagger import TaggerExperiment

Mistake = TypeVar("Mistake")


# names that other programs have for settings
ELSEWHERE = {
    **dict.fromkeys(("lr", "rate", "init_lr"), "training.learning_rate"),
    **dict.fromkeys(("batch", "bs", "minibatch"), "training.batch_size"),
    **dict.fromkeys(("bptt", "seq_len", "seq_length", "num_steps", "context"), "training.window_steps"),
    **dict.fromkeys(("clip", "grad_clip", "max_grad_norm", "clip_norm"), "training.max_norm"),
    **dict.fromkeys(("num_epochs", "max_epoch", "max_epochs", "max_max_epoch"), "training.epochs"),
    **dict.fromkeys(("wdecay", "l2"), "training.weight_decay"),
    **dict.fromkeys(("hidden_size", "nhid", "num_layers", "nlayers", "layers", "units"), "model.hidden_sizes"),
    **dict.fromkeys(("emsize", "embedding_dim", "emb_size", "embed_size"), "model.embedding_size"),
    **dict.fromkeys(("optimiser", "optim"), "training.optimizer"),
    **dict.fromkeys(("scheduler", "lr_schedule"), "training.schedule"),
}

# setting -> names that other programs have for its values
VALUES = {
    "training.precision": {**dict.fromkeys(("bfloat16", "fp16", "float16", "half"), "bf16"), "fp32": "float32"},
    "data.unit": {"char": "character", "chars": "character", "bpe": "subword", "sentencepiece": "subword"},
}

# the number of mistakes that are shown, out of how many; the others are counted
MOST_SHOWN, MOST_LOOKED_AT = 20, 200


class Setting(NamedTuple):
    """A value and where it came from, such as `mine.toml:3` or `command line`."""

    value: Any
    origin: str


def unknown(settings: dict[str, Setting], root: type[BaseModel]) -> list[str]:
    """Remove unknown names from `settings` and return a message about each.

    Args:
        settings: by dotted name; changed in place.
        root: the class of all settings, such as `Experiment`.
    """
    known, every = set(setting_names(root)), groups(root)
    # a group that can be switched off has no other value; an empty one is the validator's
    plain = [name for name, group in every.items() if group.optional and not group.variants()]
    names = [
        name for name in settings if name not in known or (name in plain and settings[name].value not in (None, {}))
    ]
    return first_of([(name, settings.pop(name)) for name in names], lambda each: _unknown(*each, root))


def _unknown(name: str, setting: Setting, root: type[BaseModel]) -> str:
    """One line for one unknown name."""
    place = f"{setting.origin}: {shortened(name)}"
    if (renamed := new_name(name, setting.value)) is not None:
        value = new_value(renamed, setting.value)
        return f"{place}: unknown setting; it is now {renamed}" + ("" if value is None else f"={value}")
    known = setting_names(root)
    named = list(dict.fromkeys([*known, *groups(root)]))
    below = (other.removeprefix(f"{name}.").partition(".")[0] for other in named if other.startswith(f"{name}."))
    inside = list(dict.fromkeys(below))
    group, _, last = name.rpartition(".")
    siblings = [other for other in named if other.rpartition(".")[0] == group]
    elsewhere = [other for other in known if other.rpartition(".")[2] == last]
    parent = groups(root).get(group)
    if ELSEWHERE.get(last) in known and not inside:
        hint = f"; did you mean {ELSEWHERE[last]!r}?"
    elif parent is not None and parent.variants() and last in ("name", "type", "kind"):
        hint = f"; did you mean {group!r}?"
    elif name in _of_the_other_kind(root):
        hint = f"; it is a setting of {'taggers' if root is Experiment else 'language models'} only"
    elif inside:
        hint = f"; it is a group of settings: {', '.join(inside)}"
    elif elsewhere:
        hint = f"; did you mean {elsewhere[0]!r}?"
    else:
        hint = nearest(last, [other.rpartition(".")[2] for other in siblings])
    if not hint and not (group and siblings):
        hint = nearest(name, named)
    hint = hint or f"; known here: {', '.join(siblings or fields_of(root))}"
    return f"{place}: unknown key{hint}"


def _of_the_other_kind(root: type[BaseModel]) -> list[str]:
    """The names of the settings of a language model for a tagger, and the other way round."""
    others: dict[type[BaseModel], type[BaseModel]] = {Experiment: TaggerExperiment, TaggerExperiment: Experiment}
    return setting_names(others[root]) if root in others else []


def first_of(mistakes: Sequence[Mistake], line_of: Callable[[Mistake], str]) -> list[str]:
    """A line for each of the first mistakes, and one with the number of the others.

    Args:
        mistakes: any number of them.
        line_of: describes one of them.
    """
    lines: dict[str, None] = {}
    looked_at = 0
    for mistake in mistakes[:MOST_LOOKED_AT]:
        if len(lines) == MOST_SHOWN:
            break
        # a list of the same wrong item a hundred times is one line
        lines[line_of(mistake)] = None
        looked_at += 1
    more = len(mistakes) - looked_at
    return [*lines, *([f"and {more:,} more mistakes like these"] if more else [])]


def of_the_user(found: list[ErrorDetails]) -> list[ErrorDetails]:
    """The mistakes that are the user's, of those that a validator finds.

    Args:
        found: the errors of the validator.
    """
    misnamed = [each["loc"][:-1] for each in found if each["loc"][-1:] == ("kind",)]
    return [
        each
        for each in found
        # a list of wrong items is empty to the validator; what an unknown variant lacks is not known
        if not (each["type"] == "too_short" and each["input"])
        and not (each["type"] == "missing" and each["loc"][:-1] in misnamed)
    ]


def describe(
    details: ErrorDetails, settings: Mapping[str, Setting], root: type[BaseModel], base: str = "recipe"
) -> str:
    """One line for one mistake: origin, name, what was expected, what was given.

    Args:
        details: the errors of the validator.
        settings: what was given, and where.
        root: the class of all settings, such as `Experiment`.
        base: what has the settings that were not given, such as `recipe pos-default`.
    """
    place, variant = setting_at(details["loc"], root)
    name = as_set(place, root)
    if details["type"] == "value_error":
        return _broken_rule(name, details["msg"].removeprefix("Value error, "), settings, root, base)
    if details["type"] == "extra_forbidden" and variant is not None:
        # the variant changed, or a part of it was given that only another one has
        return _of_another_variant(name, variant, settings, root)
    origin = _origin(name, settings, base)
    if details["type"] == "union_tag_not_found" or (details["type"] == "missing" and name not in settings):
        return f"{origin}: {name}: {_must_be_given(name, variant, root)}"
    group = groups(root).get(name)
    expected = f"must be {_either(group.variants())}" if group and group.variants() else _expectation(details)
    got = details["input"].get("kind") if details["type"] == "union_tag_invalid" else details["input"]
    if (value := new_value(name, got)) is not None:
        return f"{origin}: {name}: {got!r} is now {value!r}"
    if details["type"] == "tuple_type" and any(_has_text(field.annotation) for field in fields_named(root, name)):
        expected = 'must be a list of texts in quotes, as in ["first","second"]'
    return f"{origin}: {name}: {expected} (got {'none' if got is None else shown(got)}){_meant(name, got, expected)}"


def _meant(name: str, given: Any, expected: str) -> str:
    """A hint at the word that was meant in place of another, where a setting has a few words for values."""
    known = re.findall(r"'([^']*)'", expected) if expected.startswith("must be '") else []
    if not isinstance(given, str) or not known:
        return ""
    meant = VALUES.get(name, {}).get(given.lower())
    return f"; did you mean {meant!r}?" if meant in known else nearest(given, known)


def in_values(found: Sequence[ErrorDetails], root: type[BaseModel]) -> list[str]:
    """A line for each mistake in the arguments of a group of settings that is made in Python.

    Args:
        found: the errors of the validator.
        root: the class of the group, such as `Model`.
    """

    def line_of(details: ErrorDetails) -> str:
        if details["type"] == "extra_forbidden":
            place, _ = setting_at(details["loc"], root)
            return _unknown(as_set(place, root), Setting(details["input"], root.__name__), root)
        return describe(details, {}, root).replace("recipe:", f"{root.__name__}:", 1)

    return first_of(found, line_of)


def _has_text(annotation: Any) -> bool:
    """Whether a type is text or contains text, such as a list of names."""
    return annotation is str or any(_has_text(part) for part in get_args(annotation))


def _broken_rule(group: str, message: str, settings: Mapping[str, Setting], root: type[BaseModel], base: str) -> str:
    """A rule between settings: its text opens with the setting it speaks of."""
    prefix = group and f"{group}."
    name = prefix + re.split(r"[:,\s]", message)[0]
    if name in settings:
        return f"{settings[name].origin}: {prefix}{message}"
    changed = _named_in(prefix, message, settings)
    if not changed:
        return f"{base}: {prefix}{message}"
    origin = settings[changed[-1]].origin
    if name in setting_names(root) and base != "recipe" and changed[-1] in setting_names(root):
        # the value is that of the recipe, and does not fit what was given
        return f"{base}: {prefix}{message} ({origin}: {changed[-1]})"
    return f"{origin}: {prefix}{message}"


def _of_another_variant(name: str, variant: str, settings: Mapping[str, Setting], root: type[BaseModel]) -> str:
    group, _, last = name.rpartition(".")
    given = next(other for other in settings if other == name or other.startswith(f"{name}."))
    owners = [owner for owner, each in groups(root)[group].variants().items() if last in fields_of(each)]
    choices = " or ".join(f"{group}={owner}" for owner in owners)
    return (
        f"{settings[given].origin}: {given}: {group.rpartition('.')[2]} {variant!r} has no such setting; it belongs to "
        f"{_either(owners)} ({choices})"
    )


def _must_be_given(name: str, variant: str | None, root: type[BaseModel]) -> str:
    group = groups(root).get(name)
    if group is not None and group.variants():
        return f"must be given: {_either(group.variants())}"
    return "must be given" + (f" where {name.rpartition('.')[0]} is {variant!r}" if variant else "")


def _either(names: Iterable[str]) -> str:
    """Quoted names with commas and an `or` between."""
    *most, last = [repr(name) for name in names]
    return f"{', '.join(most)} or {last}" if most else last


def _origin(name: str, settings: Mapping[str, Setting], base: str) -> str:
    """Where a setting was given, or else the nearest group that contains it, a setting in it, or one beside it."""
    beside = f"{name.rpartition('.')[0]}."
    near = [other for prefix in (f"{name}.", beside) for other in settings if other.startswith(prefix)]
    while name and name not in settings:
        name = name.rpartition(".")[0]
    if not name and not near:
        return base
    return settings[name or near[0]].origin


def _named_in(prefix: str, message: str, settings: Mapping[str, Setting]) -> list[str]:
    """The settings that were given and of which a rule speaks, or else those of its group, the last one at the end."""
    changed = [name for name in settings if name.startswith(prefix)]
    words = re.findall(r"\w+", message)
    return [name for name in changed if name.removeprefix(prefix).partition(".")[0] in words] or changed


def _expectation(details: ErrorDetails) -> str:
    context = details.get("ctx", {})
    match details["type"]:
        case "greater_than":
            return f"must be greater than {context['gt']}"
        case "greater_than_equal":
            return f"must be at least {context['ge']}"
        case "less_than":
            return f"must be less than {context['lt']}"
        case "less_than_equal":
            return f"must be at most {context['le']}"
        case "int_parsing" | "int_parsing_size" | "int_type" | "int_from_float":
            return "must be a whole number"
        case "float_parsing" | "float_type":
            return "must be a number"
        case "finite_number":
            return "must be finite"
        case "bool_parsing" | "bool_type":
            return "must be true or false"
        case "literal_error":
            return f"must be {context['expected']}"
        case "string_type":
            return "must be text"
        case "tuple_type":
            return "must be a list, as in [200,200]"
        case "missing" | "too_long" if sum(isinstance(part, int) for part in details["loc"]) > 1:
            return "has a part that is too short or too long"
        case "missing" | "too_long":
            return "must be two numbers, as in [0.9,0.05]"
        case "too_short":
            return "must not be empty"
        case _:
            message = details["msg"]
            return message[0].lower() + message[1:]
