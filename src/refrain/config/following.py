"""Settings of a recipe that follow another one which was given: windows longer than a shortened run, tied widths.

A value that was given beside the other one, or after it, stays as it is, and is refused if it does not fit.
"""

from collections.abc import Callable, Mapping, Sequence
from json import dumps
from typing import Any

from .experiment import MADE_BY, Data
from .sparsity import MEASURES

PENALTIES = tuple(f"sparsity.{name}" for name in ("l1", "group_lasso", "row_lasso", "column_lasso"))


class Layers:
    """The values of settings in layers: of the recipe, and of what was given over it, the oldest first.

    Args:
        base: the values of the recipe by dotted name.
        given: for each later layer, the values by dotted name.
    """

    def __init__(self, base: Mapping[str, Any], given: Sequence[Mapping[str, Any]]) -> None:
        self.layers = [dict(base), *(dict(layer) for layer in given)]
        self.changed: dict[str, Any] = {}
        self.causes: dict[str, str] = {}

    def level(self, *names: str) -> int:
        """The last layer in which one of some settings, or a setting inside of one, was given."""
        inside = tuple(f"{name}." for name in names)
        levels = [
            index
            for index, layer in enumerate(self.layers)
            if any(name in names or name.startswith(inside) for name in layer)
        ]
        return max(levels, default=0)

    def value(self, name: str, *, before: int | None = None) -> Any:
        """The value of a setting, or None.

        Args:
            name: dotted.
            before: the layer before which to look; None for all of them.
        """
        if before is None and name in self.changed:
            return self.changed[name]
        parts = name.split(".")
        above = [".".join(parts[:length]) for length in range(1, len(parts))]
        for index in reversed(range(len(self.layers[:before]))):
            layer = self.layers[index]
            if name in layer:
                return layer[name]
            if any(group in layer and layer[group] != self.value(group, before=index) for group in above):
                # another variant, which has its own settings
                return None
        return None

    def is_off(self, name: str) -> bool:
        """Whether a setting is `none`, or a group of settings is missing."""
        if name in self.changed:
            return self.changed[name] is None
        for layer in reversed(self.layers):
            # a setting of a group counts more than a `none` for the group in the same layer
            if any(other.startswith(f"{name}.") for other in layer):
                return False
            if name in layer:
                return layer[name] is None
        return True

    def follow(self, name: str, value: Any, cause: str) -> None:
        """Change a setting, unless it was given together with or after another one.

        Args:
            name: dotted.
            value: the new value.
            cause: the setting that it follows.
        """
        known = any(other == name or other.startswith(f"{name}.") for layer in self.layers for other in layer)
        new = self.value(name) != value or (value is None and not self.is_off(name))
        if known and new and self.level(name) < self.level(cause):
            self.changed[name] = value
            self.causes[name] = cause


def following(base: Mapping[str, Any], given: Sequence[Mapping[str, Any]]) -> tuple[dict[str, Any], list[str]]:
    """The settings of older layers that conflict with a setting of a later one, with values that agree.

    Args:
        base: the values of a recipe by dotted name.
        given: for each later layer, the values by dotted name, which may be wrong.

    Returns:
        The new values, and a line for each setting that others follow.
    """
    layers = Layers(base, given)
    for rule in RULES:
        rule(layers)
    lines: dict[str, list[str]] = {}
    for name, value in layers.changed.items():
        old = layers.value(name, before=len(layers.layers))
        was = "" if old is None else f" (was {value_text(old)})"
        lines.setdefault(layers.causes[name], []).append(f"{name}={value_text(value)}{was}")
    return layers.changed, [
        f"{cause}={value_text(layers.value(cause))} brings with it {', '.join(found)}" for cause, found in lines.items()
    ]


def value_text(value: Any) -> str:
    """A value as it is written on the command line."""
    return "none" if value is None else value if isinstance(value, str) else dumps(value)


def _windows(layers: Layers) -> None:
    """Validations are compared, and the learning rate is held, over fewer epochs than the run has."""
    name = "training.epochs"
    epochs, before = layers.value(name), layers.value(name, before=layers.level(name))
    if not _count(epochs) or not _count(before) or epochs >= before:
        return
    window = layers.value("training.stop_window")
    if _count(window) and window >= epochs:
        layers.follow("training.stop_window", epochs - 1 or None, name)
    window = layers.value("training.optimizer.trigger_window")
    if layers.value("training.optimizer") == "nt-asgd" and _count(window) and window >= epochs:
        if epochs > 1:
            layers.follow("training.optimizer.trigger_window", epochs - 1, name)
        else:
            # there is no earlier validation to compare the only one with
            layers.follow("training.optimizer", "sgd", name)
    held = layers.value("training.schedule.hold_epochs")
    steps = layers.value("training.schedule.step_epochs")
    given = layers.level("training.schedule") >= layers.level(name)
    if not given and _count(held) and _count(steps) and held >= epochs > 1:
        # with so few epochs the rate would never fall
        layers.follow("training.schedule.hold_epochs", max(1, round(held * epochs / before)), name)
        layers.follow("training.schedule.step_epochs", max(1, round(steps * epochs / before)), name)


def _widths(layers: Layers) -> None:
    """The embedding is as wide as the last layer where the head shares its weight; other parts fit the layers."""
    sizes, width = layers.value("model.hidden_sizes"), layers.value("model.embedding_size")
    if not isinstance(sizes, list | tuple) or not sizes or not all(_count(size) for size in sizes):
        return
    if layers.value("model.tied") and layers.value("model.head") == "softmax" and width != sizes[-1]:
        layers.follow("model.embedding_size", sizes[-1], "model.hidden_sizes")
        if _count(width) and layers.level("model.embedding_size") > layers.level("model.hidden_sizes"):
            layers.follow("model.hidden_sizes", [*sizes[:-1], width], "model.embedding_size")
    if len(sizes) == 1 and layers.value("model.between_dropout"):
        layers.follow("model.between_dropout", None, "model.hidden_sizes")
    inner = layers.value("model.cell.intermediate_sizes")
    if isinstance(inner, list | tuple) and len(inner) != len(sizes):
        layers.follow("model.cell.intermediate_sizes", None, "model.hidden_sizes")
    if layers.value("model.weight_norm") and layers.value("model.init") == "uniform":
        layers.follow("model.init", "standard", "model.weight_norm")
    cap, steps = layers.value("training.windows.cap"), layers.value("training.window_steps")
    if _count(cap) and _count(steps) and cap < steps:
        layers.follow("training.windows.cap", None, "training.window_steps")


def _fixed_vocabulary(layers: Layers) -> None:
    """A vocabulary that is given is not made of the text."""
    if layers.value("data.vocabulary") is not None:
        for name in MADE_BY:
            layers.follow(f"data.{name}", Data.model_fields[name].default, "data.vocabulary")


def _switched_off(layers: Layers) -> None:
    """What acts together with something goes when that is switched off."""
    rates = [f"model.{name}" for name in ("dropout", "embedding_dropout", "between_dropout", "output_dropout")]
    latent = "model.head.latent_dropout"
    if not any(layers.value(name) for name in (*rates, latent)):
        for cause in sorted(rates, key=layers.level)[-1:]:
            layers.follow("model.dropout_mask", "plain", cause)
    if layers.value("model.weight_drop") == 0:
        layers.follow("model.weight_drop_on", "recurrent", "model.weight_drop")
        layers.follow("model.weight_drop_granularity", "entry", "model.weight_drop")
    if layers.value("training.train_accuracy") is False:
        layers.follow("training.stop_accuracy", None, "training.train_accuracy")
    if layers.value("training.sample_tokens") == 0:
        layers.follow("training.sample_windows", None, "training.sample_tokens")


def _penalties(layers: Layers) -> None:
    """A target and the ways to zero need a penalty."""
    gone = [name for name in PENALTIES if layers.level(name) and layers.is_off(name)]
    if "sparsity.group_lasso" in gone:
        layers.follow("sparsity.target", None, "sparsity.group_lasso")
    if gone and all(layers.is_off(name) for name in PENALTIES):
        layers.follow("sparsity.strengths_for", "this-loss", gone[-1])
        layers.follow("sparsity.zeros", "proximal", gone[-1])


def _target(layers: Layers) -> None:
    """A size that is given in one measure takes the place of a size in another."""
    names = [f"sparsity.target.{measure}" for measure in MEASURES]
    last = max(names, key=layers.level)
    if layers.value(last) is not None and layers.level(last) > 0:
        for name in names:
            if name != last and layers.value(name) is not None:
                layers.follow(name, None, last)


def _count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 1 <= value < 2**31


RULES: tuple[Callable[[Layers], None], ...] = (_windows, _widths, _fixed_vocabulary, _switched_off, _penalties, _target)
