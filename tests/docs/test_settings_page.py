"""The page of settings agrees with the config. Run as a program, this file writes the table into the page."""

import json
import pathlib
import re
import types
import typing

import annotated_types
from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from refrain.config import Adam, Experiment, TaggerExperiment, setting_names
from refrain.config.schema import fields_of, group_of, variant_of

PAGE = pathlib.Path(__file__).parents[2] / "docs" / "settings.md"
TABLE = re.compile(r"(?<=<!-- written by tests/docs/test_settings_page\.py -->\n\n).*?(?=\n<!-- end -->)", re.DOTALL)
TORCH = {int: "whole number", float: "number", bool: "true or false", str: "text"}
BOUNDS = {"ge": "at least", "gt": "more than", "le": "at most", "lt": "less than", "min_length": "; length at least"}


def tables(group=Experiment, prefix="", title="The run"):
    """A table for each group of settings, in the order of their definition."""
    head = f"## {title}\n\n{group.__doc__.splitlines()[0]}\n\n"
    fields = {f"{prefix}{name}": field for name, field in fields_of(group).items()}
    table = ["| setting | values | default | what it does |", "|---|---|---|---|"]
    table += [f"| `{name}` | {' | '.join(cells(field))} |" for name, field in fields.items() if is_set(field)]
    rows = "\n".join(table) + "\n" if any(is_set(field) for field in fields.values()) else ""
    return "\n".join([head + rows, *inner(fields)])


def inner(fields):
    """The tables of the groups among some fields."""
    for name, field in fields.items():
        group = group_of(field)
        if group is not None and group.variants():
            yield variants(name, field, group.variants())
        elif group is not None:
            yield tables(group.classes[0], f"{name}.", f"`{name}`")


def variants(name, field, kinds):
    """A table of the variants of a group, and one of the settings that only some of them have."""
    lines = [f"## `{name}`", "", field.description, "", "| variant | what it is |", "|---|---|"]
    lines += [f"| `{kind}` | {group.__doc__.splitlines()[0]} |" for kind, group in kinds.items()]
    owned = [(kind, f"{name}.{own}", field) for kind, group in kinds.items() for own, field in fields_of(group).items()]
    if owned:
        lines += ["", "| setting | of | values | default | what it does |", "|---|---|---|---|---|"]
        lines += [f"| `{own}` | `{kind}` | {' | '.join(cells(field))} |" for kind, own, field in owned]
    return "\n".join(["\n".join(lines) + "\n", *inner({own: field for _, own, field in owned})])


def is_set(field):
    """Whether a field has a value of its own, and is not only a heading for others."""
    group = group_of(field)
    return group is None or group.optional or bool(group.variants())


def cells(field):
    """The description of a field: the values that it takes, its default, and what it does."""
    group = group_of(field)
    if group is None:
        values = limited(described(field.annotation), field.metadata)
    else:
        values = ", ".join(f"`{kind}`" for kind in group.variants()) or "none, or settings of its own"
    # in Markdown a bare <unk> would vanish as a tag
    return values, shown(field.default), re.sub(r"(<\w+>)", r"`\1`", field.description)


def page():
    """The tables of a language model's run, then those of a tagger's."""
    tagger = tables(TaggerExperiment, title="A tagger's run").replace("## `", "### Tagger: `")
    return f"{tables()}\n{tagger}"


def described(annotation):
    """The values that a type takes, in words."""
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Annotated:
        return limited(described(arguments[0]), arguments[1:])
    if origin is typing.Literal:
        return ", ".join(f"`{value}`" for value in arguments)
    if origin in (types.UnionType, typing.Union):
        return ", or ".join("none" if part is types.NoneType else described(part) for part in arguments)
    if origin is tuple and arguments[-1] is ...:
        return f"list, each a {described(arguments[0])}"
    if origin is tuple:
        parts = [described(part) for part in arguments]
        alike = len(set(parts)) == 1
        return f"list of {len(parts)}, each a {parts[0]}" if alike else f"list [{'; '.join(parts)}]"
    return TORCH[annotation]


def limited(text, metadata):
    """The words of a type with its bounds; several bounds are joined by `and`."""
    bounds = []
    for item in metadata:
        # a Field inside Annotated carries its bounds one level down
        for bound in getattr(item, "metadata", [item]):
            for name, words in BOUNDS.items():
                if isinstance(value := getattr(bound, name, None), int | float):
                    power = value.bit_length() - 1 if isinstance(value, int) else 0
                    shorter = power > 20 and value == 1 << power
                    bounds.append(f"{words} {f'2^{power}' if shorter else format(value, ',')}")
    return f"{text} {' and '.join(bounds)}".replace(" ;", ";") if bounds else text


def shown(default):
    """A default as it would be written on the command line."""
    if default is PydanticUndefined:
        return "must be given"
    match default:
        case None:
            return "none"
        case BaseModel():
            return f"`{variant_of(type(default))}`"
        case bool():
            return f"`{str(default).lower()}`"
        case tuple():
            return f"`[{','.join(json.dumps(item) for item in default)}]`"
    return f"`{default}`"


def test_the_page_of_settings_says_what_the_config_says():
    table = TABLE.search(PAGE.read_text(encoding="utf-8"))
    assert table, f"{PAGE.name} has lost its markers"
    assert table[0] == page(), f"{PAGE.name} is out of date; renew it with: python {pathlib.Path(__file__).name}"


def test_the_words_of_a_type():
    assert described(typing.Annotated[int, annotated_types.Ge(1)] | None) == "whole number at least 1, or none"
    assert described(tuple[int, ...]) == "list, each a whole number"
    pair = tuple[int, int | typing.Literal["full"]]
    assert described(tuple[pair, ...]) == "list, each a list [whole number; whole number, or `full`]"
    assert described(tuple[float, float]) == "list of 2, each a number"
    assert shown((200, 200)) == "`[200,200]`" and shown(True) == "`true`" and shown(None) == "none"
    assert shown(("*weight*", "head")) == '`["*weight*","head"]`'
    assert shown(Adam()) == "`adam`" and shown(PydanticUndefined) == "must be given"


def test_every_setting_is_on_the_page():
    for kind in (Experiment, TaggerExperiment):
        assert set(re.findall(r"^\| `([\w.]+)` \|", tables(kind), re.MULTILINE)) >= set(setting_names(kind))


if __name__ == "__main__":
    fresh = page()
    PAGE.write_text(TABLE.sub(lambda match: fresh, PAGE.read_text(encoding="utf-8")), encoding="utf-8")
