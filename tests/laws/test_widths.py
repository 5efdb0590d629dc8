"""A width declares whether its units can be removed, and has no other name than the model's."""

import inspect

import pytest
import torch
from cutting import clear, cut
from table import MODELS, SEGMENTED, TAGGERS, UNLIKE, B, T, V, argument

from refrain.assembly.model import build_model
from refrain.assembly.widths import removable_widths, resized
from refrain.axes import Axis, LayerWidths, removable
from refrain.config import Experiment
from refrain.data import PADDING
from refrain.models import Tagger
from refrain.models.widths import WidthNames
from refrain.sparsity import select_units

CUT = {**MODELS, **UNLIKE, **TAGGERS}
NAMED = {**MODELS, **UNLIKE, **SEGMENTED}


def made(build):
    torch.manual_seed(1)
    model = build().double()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    return model


def outputs(model):
    """What a model computes for a fixed text, in which every word occurs."""
    if isinstance(model, Tagger):
        inputs = torch.arange(3 * T * B).view(T, B, 3) % V
        inputs[4:, 1, 0] = PADDING
        return model.logits(inputs)
    ids = torch.arange((T + 1) * B).view(T + 1, B) % V
    return model.token_nats(ids[:-1], ids[1:], model.initial_state(B))[0]


def same_without(model, build, width, unit):
    """Whether a model whose unit is cleared computes the same when the unit is taken out."""
    clear(model, width, unit)
    wanted = outputs(model)
    try:
        found = outputs(cut(model, build, width, unit))
    except (AssertionError, IndexError):
        # a parameter has another shape than its axes say, or a word is missing
        return False
    return found.shape == wanted.shape and torch.allclose(found, wanted)


@pytest.mark.parametrize("name", CUT)
def test_a_width_is_removable_exactly_where_a_unit_of_zeros_can_be_cut_out(name):
    build = CUT[name]
    possible = removable(build().axes())
    for width in build().widths():
        if argument(width) in inspect.signature(build).parameters:
            assert same_without(made(build), build, width, 1) == (width in possible), width
        elif not segmented(build(), width):
            assert width not in possible, width


def segmented(model, width):
    """Whether the width has another size only in another plan; the laws of segmented models are on these."""
    return any(axis.segment for axes in model.axes().values() for axis in axes if axis.width == width)


def test_the_law_sees_a_width_that_is_wrongly_declared():
    build = MODELS["untied"]
    assert "vocabulary" not in removable(build().axes())
    assert not same_without(made(build), build, "vocabulary", 1)
    assert same_without(made(build), build, "layer0.hidden", 1)


def test_a_width_is_removable_only_if_each_of_its_axes_allows_it():
    table = {"a": (Axis("x"), Axis("y")), "b": (Axis("z"), Axis("x", role="reads", removable=False))}
    assert removable(table) == ["y", "z"]


def test_a_network_that_no_settings_describe_has_the_widths_that_its_axes_allow():
    class Network:
        def axes(self):
            return {"weight": (Axis("words", removable=False), Axis("mine", role="reads"))}

    assert removable_widths(Network()) == ["mine"]


@pytest.mark.parametrize("name", {**MODELS, **UNLIKE})
def test_units_of_other_widths_are_refused(name):
    model = made({**MODELS, **UNLIKE}[name])
    parameters, table, sizes = dict(model.named_parameters()), model.axes(), model.widths()
    possible = removable(table)
    for width in possible:
        select_units(parameters, table, {width: torch.arange(sizes[width] - 1)})
    for width in sizes.keys() - set(possible):
        with pytest.raises(ValueError, match=rf"width '{width}': its units cannot be removed; choose from embedding"):
            select_units(parameters, table, {width: torch.arange(sizes[width] - 1)})
    with pytest.raises(ValueError, match="width 'layer9': the model has no such width; choose from embedding"):
        select_units(parameters, table, {"layer9": torch.arange(2)})


def renamed(names):
    """Other names for the same widths: those of one name still share it."""

    def other(name):
        return "w" + "".join(f"{ord(letter):02x}" for letter in name)

    layers = [
        LayerWidths(other(hidden), {key: other(name) for key, name in inner.items()}) for hidden, inner in names.layers
    ]
    head = {key: other(name) for key, name in names.head.items()}
    embedding_inner = {key: other(name) for key, name in names.embedding_inner.items()}
    return WidthNames(other(names.vocabulary), other(names.embedding), tuple(layers), head, embedding_inner)


def every(names):
    inner = {name for layer in names.layers for name in (layer.hidden, *layer.inner.values())}
    return {names.vocabulary, names.embedding, *inner, *names.head.values(), *names.embedding_inner.values()}


@pytest.mark.parametrize("name", NAMED)
def test_all_widths_have_the_names_that_the_model_gives_them(name, monkeypatch):
    model = made(NAMED[name])
    before, names = model.widths(), model.width_names()
    unused = {"vocabulary"} - before.keys()
    assert before.keys() | unused == every(names)
    monkeypatch.setattr(model, "width_names", lambda: renamed(names))
    after = model.widths()
    assert list(after.values()) == list(before.values())
    assert after.keys() | (every(renamed(names)) - after.keys()) == every(renamed(names))


SETTINGS = {
    "lstm": {},
    "gru": {"cell": "gru"},
    "multiplicative": {"cell": {"kind": "multiplicative-lstm", "intermediate_sizes": (7, 6)}},
    "tied multiplicative": {"cell": "multiplicative-lstm", "tied": True, "hidden_sizes": (10, 8)},
    "mixture": {"head": {"kind": "mixture", "components": 2}},
    "tied mixture": {"head": {"kind": "mixture", "components": 2}, "tied": True},
    "adaptive": {"head": {"kind": "adaptive", "cutoffs": (3,)}},
    "bands": {
        "embedding": {"kind": "block-low-rank", "bands": ((0, "full"), (5, 3))},
        "head": {"kind": "block-low-rank", "bands": ((0, 4), (3, 2), (9, "full"))},
    },
    "tied bands": {
        "embedding": {"kind": "block-low-rank", "bands": ((0, 4), (5, 3))},
        "head": {"kind": "block-low-rank", "bands": ((0, 4), (5, 3))},
        "tied": True,
    },
    "sparse": {
        "cell": {"kind": "sparse-lstm", "plan": {"kind": "uniform", "blocks": 2, "density": 0.5}},
        "embedding": {"kind": "sparse", "blocks": 2, "density": 0.8},
    },
}


@pytest.mark.parametrize("kind", SETTINGS)
def test_settings_of_other_widths_do_not_depend_on_their_names(kind, monkeypatch):
    shape = {"embedding_size": 8, "hidden_sizes": (10, 9)} | SETTINGS[kind]
    experiment = Experiment.model_validate({"model": shape})
    model = build_model(experiment.model, 12)
    widths, names = removable_widths(model), model.width_names()
    kept = {width: torch.arange(model.widths()[width] - 1) for width in widths}
    smaller = resized(experiment, model, kept).model
    # the settings build a model with the sizes that are left
    sizes = build_model(smaller, 12).widths()
    assert sizes == model.widths() | {width: len(units) for width, units in kept.items()}
    monkeypatch.setattr(model, "width_names", lambda: renamed(names))
    others = removable_widths(model)
    assert len(others) == len(widths) and not set(others) & set(widths)
    assert resized(experiment, model, dict(zip(others, kept.values(), strict=True))).model == smaller
