"""Layers of settings: a newer one is put over an older one, and over an experiment."""

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel

from .mistakes import Setting
from .schema import groups, names_none


def overlaid(older: Mapping[str, Setting], newer: Mapping[str, Setting], base: BaseModel) -> dict[str, Setting]:
    """Two layers of settings as one. Where the newer one chooses another variant, the fields of the old one go.

    Args:
        older: by dotted name.
        newer: by dotted name.
        base: the experiment below them.
    """
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


def _variant_in(name: str, settings: Mapping[str, Setting], base: BaseModel) -> Any:
    """The name of the variant that a group has."""
    if name in settings:
        return settings[name].value
    group: Any = base
    for part in name.split("."):
        group = getattr(group, part, None)
    return getattr(group, "kind", None)


def changed_values(base: BaseModel, settings: Mapping[str, Setting]) -> dict[str, Any]:
    """The values of an experiment with known settings put over them, not validated yet.

    Args:
        base: the experiment.
        settings: by dotted name.
    """
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
