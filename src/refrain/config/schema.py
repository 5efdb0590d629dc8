"""Which settings exist: groups, optional groups, variants of a group, and the dotted names of all of them."""

import functools
import types
from collections.abc import Iterable, Iterator, Mapping
from types import NoneType
from typing import Any, NamedTuple, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from .experiment import Experiment

# no setting is as deep or has as long a name; what is deeper or longer in a file is unknown in any case
DEEPEST, LONGEST_NAME = 8, 200


class Group(NamedTuple):
    """A setting that holds other settings."""

    classes: tuple[type[BaseModel], ...]  # more than one for variants
    optional: bool  # `none` switches it off

    def variants(self) -> dict[str, type[BaseModel]]:
        """The classes by the names of the variants; empty where a group has only one form."""
        kinds = {kind: each for each in self.classes if (kind := variant_of(each)) is not None}
        return kinds if len(kinds) == len(self.classes) else {}


def variant_of(group: type[BaseModel]) -> str | None:
    """The name of a variant, or None for a group that is no variant."""
    field = group.model_fields.get("kind")
    return None if field is None else str(get_args(field.annotation)[0])


def group_of(field: FieldInfo) -> Group | None:
    """The group that a field holds, or None for a plain value."""
    annotation: Any = field.annotation
    parts = get_args(annotation) if get_origin(annotation) in (Union, types.UnionType) else (annotation,)
    classes = tuple(part for part in parts if isinstance(part, type) and issubclass(part, BaseModel))
    return Group(classes, types.NoneType in parts) if classes else None


def fields_of(group: type[BaseModel]) -> dict[str, FieldInfo]:
    """The fields of a group without the name of its variant."""
    return {name: field for name, field in group.model_fields.items() if name != "kind"}


def fields_named(root: type[BaseModel], name: str) -> list[FieldInfo]:
    """The fields with a dotted name, one for each variant that has it; none where the name is unknown.

    Args:
        root: the class of all settings, such as `Experiment`.
        name: such as `model.head.components`.
    """
    classes: Iterable[type[BaseModel]] = (root,)
    found: list[FieldInfo] = []
    for part in name.split("."):
        found = [fields_of(each)[part] for each in classes if part in fields_of(each)]
        groups = [group for field in found if (group := group_of(field)) is not None]
        classes = [each for group in groups for each in group.classes]
    return found


def groups(root: type[BaseModel]) -> dict[str, Group]:
    """Every group by its dotted name. A group of which variants exist more than once is the union of them.

    Args:
        root: the class of all settings, such as `Experiment`.
    """
    return dict(_known_groups(root))


@functools.cache
def _known_groups(root: type[BaseModel]) -> Mapping[str, Group]:
    # asked for each of the settings of a file
    return dict(_groups(root, ""))


def _groups(root: type[BaseModel], prefix: str) -> Iterator[tuple[str, Group]]:
    for name, field in fields_of(root).items():
        if (group := group_of(field)) is not None:
            yield prefix + name, group
            for each in group.classes:
                yield from _groups(each, f"{prefix}{name}.")


def setting_names(root: type[BaseModel] = Experiment, prefix: str = "") -> list[str]:
    """Every setting's dotted name, in the order of its definition; variants and optional groups are settings, too.

    Args:
        root: the class of the settings, such as `Experiment`.
        prefix: comes before each name.
    """
    return list(_setting_names(root, prefix))


@functools.cache
def _setting_names(root: type[BaseModel], prefix: str) -> tuple[str, ...]:
    names: list[str] = []
    for name, field in fields_of(root).items():
        group = group_of(field)
        if group is None or group.optional or group.variants():
            names.append(prefix + name)
        for each in group.classes if group else ():
            names += setting_names(each, f"{prefix}{name}.")
    return tuple(dict.fromkeys(names))


def names_none(name: str, root: type[BaseModel]) -> bool:
    """Whether `none` is a choice that a setting names, and not the lack of a value.

    Args:
        name: dotted.
        root: the class of all settings, such as `Experiment`.
    """
    return any("none" in get_args(field.annotation) for field in fields_named(root, name))


def takes_text(name: str, root: type[BaseModel]) -> bool:
    """Whether a setting takes any text, such as a path.

    Args:
        name: the dotted name, which may be unknown.
        root: the class of the settings.
    """
    fields = fields_named(root, name)
    return bool(fields) and all(
        {*(get_args(field.annotation) or [field.annotation])} <= {str, NoneType} for field in fields
    )


def flatten(tree: Mapping[str, Any], prefix: str = "", root: type[BaseModel] = Experiment) -> Iterable[tuple[str, Any]]:
    """The leaves of nested groups under dotted names.

    What is nested more deeply than any setting stays together, and a name that is longer than any is cut.

    Args:
        tree: nested dicts.
        prefix: comes before each name.
        root: the class of all settings, such as `Experiment`.
    """
    known = _known_groups(root)
    for last, value in tree.items():
        name = (prefix + last)[:LONGEST_NAME]
        group = known.get(name)
        # an empty table would go unnoticed, where it is not that of a group which always exists
        inside = isinstance(value, dict) and (value or (group is not None and not group.optional))
        if inside and name.count(".") < DEEPEST:
            yield from flatten(value, f"{name}.", root)
        else:
            yield name, value


def as_set(name: str, root: type[BaseModel]) -> str:
    """The name by which a setting is set: that of a variant's group for its `kind`.

    Args:
        name: dotted, such as `model.head.kind`.
        root: the class of all settings, such as `Experiment`.
    """
    group = _known_groups(root).get(name.removesuffix(".kind"))
    return name.removesuffix(".kind") if group is not None and group.variants() else name


def as_toml(name: str, root: type[BaseModel]) -> str:
    """The name of a setting in a TOML file, where a group cannot be a name and a table at once.

    Args:
        name: dotted, such as `model.head`.
        root: the class of all settings, such as `Experiment`.
    """
    group = groups(root).get(name)
    return f"{name}.kind" if group is not None and group.variants() else name


def settings_of(experiment: BaseModel) -> dict[str, Any]:
    """The settings of an experiment as plain data, by the dotted names by which they are set.

    Args:
        experiment: all settings.
    """
    root = type(experiment)
    return {as_set(name, root): value for name, value in flatten(experiment.model_dump(mode="json"), root=root)}


def differences(before: BaseModel, after: BaseModel) -> Iterator[tuple[str, Any, Any]]:
    """The settings in which two experiments differ; of two variants only their names.

    Args:
        before: one experiment.
        after: another of the same class.

    Yields:
        The dotted name and both values, None where a setting is missing.
    """
    root = type(before)
    old = settings_of(before)
    new = settings_of(after)
    others = tuple(f"{name}." for name in groups(root) if name in old and name in new and old[name] != new[name])
    for name in dict.fromkeys([*old, *new]):
        if old.get(name) != new.get(name) and not name.startswith(others):
            yield name, old.get(name), new.get(name)


def setting_at(place: Iterable[int | str], root: type[BaseModel]) -> tuple[str, str | None]:
    """Where the validator found a mistake.

    Args:
        place: the validator's location, in which the name of a variant comes after that of its group.
        root: the class of all settings, such as `Experiment`.

    Returns:
        The dotted name of the setting, and the variant in which it is, if it is in one.
    """
    names, variant, classes = list[str](), None, {"": root}
    parts = list(place)
    while parts and isinstance(part := parts.pop(0), str):
        names.append(part)
        field = fields_of(next(iter(classes.values()))).get(part)
        group = None if field is None else group_of(field)
        if group is None:
            break
        variants = group.variants()
        classes = variants or {"": group.classes[0]}
        if variants and parts:
            # the validator does not name the only variant of a group
            variant = str(parts.pop(0)) if len(variants) > 1 else next(iter(variants))
            classes = {variant: variants[variant]}
    return ".".join(names), variant
