"""The page of settings says what the config says. Run as a program, this file writes the table into the page."""

import pathlib
import re
import types
import typing

import annotated_types
from pydantic import BaseModel

from refrain.config import Experiment, TaggerExperiment

PAGE = pathlib.Path(__file__).parents[2] / "docs" / "settings.md"
TABLE = re.compile(r"(?<=<!-- written by tests/docs/test_settings_page\.py -->\n\n).*?(?=\n<!-- end -->)", re.DOTALL)
TORCH = {int: "whole number", float: "number", bool: "true or false", str: "text"}
BOUNDS = {"ge": "at least", "gt": "more than", "le": "at most", "lt": "less than", "min_length": "; length at least"}


def tables(group=Experiment, prefix="", title="The run"):
    """A table for each group of settings, in the order of their definition."""
    rows, inner = [], []
    for name, field in group.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            inner.append(tables(field.annotation, f"{prefix}{name}.", f"`{prefix}{name}`"))
        else:
            values = limited(described(field.annotation), field.metadata)
            # in Markdown a bare <unk> would vanish as a tag
            text = re.sub(r"(<\w+>)", r"`\1`", field.description[0].upper() + field.description[1:])
            rows.append(f"| `{prefix}{name}` | {values} | {shown(field.default)} | {text} |")
    head = f"## {title}\n\n{group.__doc__.splitlines()[0]}\n\n"
    head += "| setting | values | default | what it does |\n|---|---|---|---|\n"
    return "\n".join([head + "\n".join(rows) + "\n", *inner])


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
    if origin is tuple:
        return f"list, each a {described(arguments[0])}"
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
    match default:
        case None:
            return "none"
        case bool():
            return f"`{str(default).lower()}`"
        case tuple():
            return f"`[{','.join(map(str, default))}]`"
    return f"`{default}`"


def test_the_page_of_settings_says_what_the_config_says():
    table = TABLE.search(PAGE.read_text(encoding="utf-8"))
    assert table, f"{PAGE.name} has lost its markers"
    assert table[0] == page(), f"{PAGE.name} is out of date; renew it with: python {pathlib.Path(__file__).name}"


def test_the_words_of_a_type():
    assert described(typing.Annotated[int, annotated_types.Ge(1)] | None) == "whole number at least 1, or none"
    assert described(tuple[int, ...]) == "list, each a whole number"
    assert shown((200, 200)) == "`[200,200]`" and shown(True) == "`true`" and shown(None) == "none"


if __name__ == "__main__":
    fresh = page()
    PAGE.write_text(TABLE.sub(lambda match: fresh, PAGE.read_text(encoding="utf-8")), encoding="utf-8")
