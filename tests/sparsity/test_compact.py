"""Units are selected by indices or by masks, and what would select others is refused."""

import pytest
import torch

from refrain.axes import Axis, Segment
from refrain.models import LanguageModel
from refrain.nn import LSTM, Embedding, RecurrentStack, SoftmaxHead
from refrain.sparsity import dead_by_width, drop_until, select_units, weakest_first, widths_left

# inputs -> units -> outputs, and two blocks that read the first two units and the others
TABLE = {
    "a": (Axis("units", 2), Axis("inputs", role="reads")),
    "b": (Axis("outputs"), Axis("units", role="reads")),
}
BLOCKS = {
    "first": (Axis("outputs"), Axis("units", role="reads", segment=Segment(0, 2, 4))),
    "second": (Axis("outputs"), Axis("units", role="reads", segment=Segment(2, 4, 4))),
}
MASK = torch.tensor([False, True, False, True])


@pytest.fixture
def tensors():
    torch.manual_seed(1)
    return {"a": torch.randn(8, 3), "b": torch.randn(2, 4)}


@pytest.mark.parametrize("kept", [MASK, torch.tensor([1, 3]), torch.tensor([1, 3], dtype=torch.int32), [1, 3]], ids=str)
def test_units_are_kept_by_a_mask_or_by_their_indices(tensors, kept):
    found = select_units(tensors, TABLE, {"units": kept})
    assert torch.equal(found["a"], tensors["a"][[1, 3, 5, 7]])
    assert torch.equal(found["b"], tensors["b"][:, [1, 3]])


def test_a_mask_selects_in_blocks_too():
    blocks = {"first": torch.arange(4).view(2, 2), "second": torch.arange(4, 8).view(2, 2)}
    found = select_units(blocks, BLOCKS, {"units": torch.tensor([True, True, False, True])})
    assert found["first"].tolist() == [[0, 1], [2, 3]] and found["second"].tolist() == [[5], [7]]
    with pytest.raises(ValueError, match="width 'units': all of units 2 to 3, those of a block or band, would be"):
        select_units(blocks, BLOCKS, {"units": torch.tensor([True, True, False, False])})


def test_what_dead_by_width_finds_is_removed_by_its_inverse(tensors):
    tensors["b"][:, 2] = 0
    dead = dead_by_width(tensors, TABLE, ["units"])
    found = select_units(tensors, TABLE, {width: ~which for width, which in dead.items()})
    assert torch.equal(found["b"], tensors["b"][:, [0, 1, 3]])


@pytest.mark.parametrize(
    ("kept", "cause"),
    [
        (MASK[:3], r"must be int64 indices, or bool of shape \(4,\) \(got bool of shape \(3,\)\)"),
        (MASK.float(), r"or bool of shape \(4,\) \(got float32 of shape \(4,\)\)"),
        (MASK.to(torch.uint8), r"\(got uint8 of shape \(4,\)\)"),
        (torch.tensor([[0, 1]]), r"\(got int64 of shape \(1, 2\)\)"),
        (torch.zeros(4, dtype=torch.bool), "all 4 units would be removed; keep at least one"),
        (torch.arange(0), "all 4 units would be removed"),
        # a mask that has become int64
        (MASK.long(), "must ascend within 0 and 3"),
        (torch.tensor([1, 4]), "must ascend within 0 and 3"),
        (torch.tensor([-1, 0]), "must ascend within 0 and 3"),
        (torch.tensor([2, 1]), "must ascend within 0 and 3"),
    ],
)
def test_what_does_not_name_units_is_refused(tensors, kept, cause):
    with pytest.raises(ValueError, match=f"width 'units': .*{cause}") as refused:
        select_units(tensors, TABLE, {"units": kept})
    assert "\n" not in str(refused.value)


def test_the_state_dict_of_a_tied_model_is_refused_in_one_line():
    words = Embedding(9, 4)
    model = LanguageModel(words, RecurrentStack([LSTM(4, 4)]), SoftmaxHead(4, 9, weight=words.weight))
    with pytest.raises(ValueError, match=r"tensor 'head\.weight': .* give dict\(model\.named_parameters\(\)\)"):
        select_units(model.state_dict(), model.axes(), {})
    assert select_units(dict(model.named_parameters()), model.axes(), {}).keys() == model.axes().keys()


def test_indices_in_the_place_of_dead_units_are_refused(tensors):
    dead, sizes = {"units": torch.tensor([0, 2])}, {"inputs": 3, "units": 4, "outputs": 2}
    for use in (
        lambda: dead_by_width(tensors, TABLE, ["units"], gone=dead),
        lambda: widths_left(sizes, dead),
        lambda: drop_until([], TABLE, sizes, measure="parameters", target=99, dead=dead),
    ):
        with pytest.raises(ValueError, match=r"width 'units': dead units must be bool, .* \(got int64\)"):
            use()


@pytest.mark.parametrize("find", [dead_by_width, weakest_first])
def test_a_width_that_the_model_does_not_have_is_named(tensors, find):
    with pytest.raises(ValueError, match="width 'layer9': the model has no such width; choose from units, inputs"):
        find(tensors, TABLE, ["layer9"])
