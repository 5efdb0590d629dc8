"""Masks keep zeros zero, and pruning makes them along its cubic."""

import math

import pytest
import torch

from refrain.axes import Axis
from refrain.sparsity import Masks, prune_smallest, pruned_share

TABLE = {
    "down": (Axis("hidden"), Axis("inputs", role="reads")),
    "bias": (Axis("hidden"),),
    "up": (Axis("outputs"), Axis("hidden", role="reads")),
}


@pytest.fixture
def parameters():
    torch.manual_seed(1)
    return {"down": torch.randn(4, 3), "bias": torch.randn(4), "up": torch.randn(2, 4)}


def test_what_was_zero_is_zero_again(parameters):
    parameters["down"][1, 2] = parameters["bias"][0] = 0.0
    masks = Masks(parameters)
    masks.freeze_zeros(["down"])
    assert masks.kept.keys() == {"down"}
    before = {name: parameter.clone() for name, parameter in parameters.items()}
    for parameter in parameters.values():
        parameter += 1
    masks.apply()
    assert parameters["down"][1, 2] == 0.0
    parameters["down"][1, 2] = 1.0
    for name, parameter in parameters.items():
        torch.testing.assert_close(parameter, before[name] + 1)


def test_all_of_a_dead_unit_is_frozen_its_bias_too(parameters):
    parameters["up"][:, 2] = 0.0
    masks = Masks(parameters)
    masks.freeze_units(TABLE, ["hidden"])
    for parameter in parameters.values():
        parameter.fill_(1.0)
    masks.apply()
    assert parameters["down"].sum(dim=1).tolist() == [3, 3, 0, 3]
    assert parameters["bias"].tolist() == [1, 1, 0, 1]
    assert parameters["up"].sum(dim=0).tolist() == [2, 2, 0, 2]


def test_a_unit_that_only_dead_units_read_is_frozen_with_them():
    table = {
        "low": (Axis("below"), Axis("inputs", role="reads")),
        "high": (Axis("above"), Axis("below", role="reads")),
        "out": (Axis("outputs"), Axis("above", role="reads")),
    }
    parameters = {"low": torch.ones(2, 3), "high": torch.eye(2), "out": torch.tensor([[1.0, 0.0]])}
    masks = Masks(parameters)
    # nothing reads unit 1 above, which alone reads unit 1 below
    masks.freeze_units(table, ["below", "above"])
    for parameter in parameters.values():
        parameter.fill_(1.0)
    masks.apply()
    assert parameters["low"].tolist() == [[1, 1, 1], [0, 0, 0]]
    assert parameters["high"].tolist() == [[1, 0], [0, 0]]


def test_nothing_to_mask_is_no_mask(parameters):
    masks = Masks(parameters)
    masks.freeze_zeros(parameters)
    masks.freeze_units(TABLE, ["hidden"])
    assert masks.kept == {} and masks.state_dict() == {}


def test_masks_grow_and_never_shrink(parameters):
    masks = Masks(parameters)
    masks.keep("bias", torch.tensor([False, True, True, True]))
    masks.keep("bias", torch.tensor([True, True, False, True]))
    assert masks.kept["bias"].tolist() == [False, True, False, True]


def test_masks_come_back(parameters):
    masks, other = Masks(parameters), Masks(parameters)
    masks.keep("up", torch.rand(2, 4) > 0.5)
    other.load_state_dict(masks.state_dict())
    assert torch.equal(other.kept["up"], masks.kept["up"])


@pytest.mark.parametrize(
    ("state", "message"),
    [
        (
            {"sideways": torch.ones(2, 4) > 0},
            "a mask for sideways, which is not a parameter; the parameters are down, bias, up",
        ),
        ({"up": torch.full((2, 4), 0.5)}, r"the mask for up must be bool \(got float32\)"),
        ({"up": torch.ones(2, 5) > 0}, r"the mask for up has shape \(2, 5\), the parameter has shape \(2, 4\)"),
    ],
)
def test_masks_of_another_model_are_refused(parameters, state, message):
    with pytest.raises(ValueError, match=message):
        Masks(parameters).load_state_dict(state)


def test_a_mask_of_no_parameter_is_refused(parameters):
    with pytest.raises(ValueError, match="a mask for sideways, which is not a parameter"):
        Masks(parameters).keep("sideways", torch.ones(2, 4) > 0)


def test_the_smallest_go_first_and_what_is_gone_stays_so():
    weight = torch.tensor([[4.0, -1.0], [-3.0, 2.0]])
    masks = Masks({"weight": weight})
    prune_smallest({"weight": weight}, masks, 0.25)
    assert masks.kept["weight"].tolist() == [[True, False], [True, True]]
    weight[0, 1] = 9.0
    prune_smallest({"weight": weight}, masks, 0.5)
    assert masks.kept["weight"].tolist() == [[True, False], [True, False]]
    prune_smallest({"weight": weight}, masks, 0.1)
    assert masks.kept["weight"].tolist() == [[True, False], [True, False]]


def test_the_share_follows_the_cubic():
    # equation 1 with a start of 0: halfway there, 1 - (1/2)^3 of the final share is pruned
    course = [pruned_share(progress, final=0.8, begin=0.2, end=0.6) for progress in (0.0, 0.2, 0.4, 0.6, 1.0)]
    assert course == pytest.approx([0.0, 0.0, 0.7, 0.8, 0.8])


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_of_entries_of_one_size_only_as_many_as_needed_are_masked(share):
    """As in weights that were rounded to int8."""
    weights = {"w": torch.tensor([1.0, -1.0, 2.0, 1.0, 1.0, -1.0, 1.0, 1.0, 0.5, 1.0]).view(2, 5)}
    masks = Masks(weights)
    prune_smallest(weights, masks, share)
    kept = masks.kept["w"].flatten()
    assert (~kept).sum() == round(10 * share) and not kept[8] and kept[2]


def test_what_is_masked_counts_among_the_zeros():
    weights = {"w": torch.tensor([0.0, 3.0, 0.0, 1.0, 2.0, 5.0, 4.0, 6.0])}
    masks = Masks(weights)
    masks.keep("w", torch.tensor([True, False] + [True] * 6))
    prune_smallest(weights, masks, 0.25)
    assert masks.kept["w"].tolist() == [False, False] + [True] * 6
    prune_smallest(weights, masks, 0.125)
    assert (~masks.kept["w"]).sum() == 2


def test_all_is_pruned_at_once_where_the_end_is_the_beginning():
    found = [pruned_share(at, final=0.5, begin=0.2, end=0.2) for at in (0.1, 0.2, 0.3)]
    assert found == [0.0, 0.0, 0.5]


@pytest.mark.parametrize("share", [-0.1, 1.5, float("nan")])
def test_a_share_outside_its_range_is_refused(share):
    with pytest.raises(ValueError, match="share must be at least 0 and at most 1"):
        prune_smallest({"weight": torch.ones(4)}, Masks({"weight": torch.ones(4)}), share)


def test_an_infinite_weight_that_is_masked_becomes_zero():
    weight = torch.tensor([[math.inf, 1.0], [math.nan, 2.0]])
    masks = Masks({"weight": weight})
    masks.keep("weight", torch.tensor([[False, True], [False, True]]))
    masks.apply()
    assert weight.tolist() == [[0.0, 1.0], [0.0, 2.0]]
