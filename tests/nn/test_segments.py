"""Plans of predefined sparseness: the paper's layouts, sizes, and what cannot be planned."""

import pytest

from refrain.nn.segments import plan_bands, plan_blocks, plan_from, plan_reduction


def two_biases(plan):
    """The count of a system with two bias vectors a layer."""
    return plan.parameters + 4 * plan.hidden_size


@pytest.mark.parametrize(
    ("sizes", "shares", "blocks", "density"),
    [
        ((400, 1725), (1, 0.66666), 3, 1),
        ((1725, 1725), (0.66666, 0.66666), 3, 0.5552),
        ((1725, 400), (0.66666, 1), 2, 0.7826),
        ((200, 1150), (1, 0.5), 4, 0.495),
        ((1150, 1150), (0.5, 0.5), 5, 0.2991),
    ],
)
def test_the_layouts_of_the_paper(sizes, shares, blocks, density):
    plan = plan_reduction(*sizes, reduce_in=shares[0], reduce_out=shares[1])
    assert (len(plan.blocks), round(plan.density, 4)) == (blocks, density)


@pytest.mark.parametrize(
    ("sizes", "shares", "inputs", "units"),
    [
        ((1725, 1725), (0.66666, 0.66666), [957, 958, 958], [575] * 3),
        ((1725, 400), (0.66666, 1), [1349, 1350], [200, 200]),
        ((200, 1150), (1, 0.5), [99] * 4, [287, 288, 287, 288]),
        ((1150, 1150), (0.5, 0.5), [344] * 5, [230] * 5),
        ((1150, 200), (0.5, 1), [675, 675], [100, 100]),
        ((400, 1150), (0.5, 0.5), [156, 157, 157, 157, 157], [230] * 5),
    ],
)
def test_the_segments_of_the_paper(sizes, shares, inputs, units):
    plan = plan_reduction(*sizes, reduce_in=shares[0], reduce_out=shares[1])
    assert [block.end - block.begin for block in plan.blocks] == inputs
    assert [block.units for block in plan.blocks] == units


@pytest.mark.parametrize(
    ("layers", "count"),
    [
        ([(400, 1725, 1, 0.66666), (1725, 1725, 0.66666, 0.66666), (1725, 400, 0.66666, 1)], 19_812_900),
        ([(200, 1150, 1, 0.5), (1150, 1150, 0.5, 0.5), (1150, 200, 0.5, 1)], 5_058_304),
        ([(400, 1150, 0.5, 0.5), (1150, 1150, 0.5, 0.5), (1150, 400, 0.5, 0.5)], 5_060_160),
    ],
)
def test_the_sizes_of_the_paper(layers, count):
    plans = [plan_reduction(i, h, reduce_in=a, reduce_out=b) for i, h, a, b in layers]
    assert sum(map(two_biases, plans)) == count


@pytest.mark.parametrize(("sizes", "blocks", "density"), [((7, 5), 3, 0.5), ((7, 5), 5, 0.2), ((12, 9), 2, 1.0)])
def test_blocks_cover_all_inputs_and_own_all_units(sizes, blocks, density):
    plan = plan_blocks(*sizes, blocks=blocks, density=density)
    assert plan.blocks[0].begin == 0 and plan.blocks[-1].end == sizes[0]
    assert sum(block.units for block in plan.blocks) == sizes[1]
    seen = {place for block in plan.blocks for place in range(block.begin, block.end)}
    assert seen == set(range(sizes[0]))
    assert all(block.end > block.begin and block.units for block in plan.blocks)


def test_a_plan_says_when_its_size_is_not_reached():
    capped = plan_reduction(400, 1725, reduce_in=1, reduce_out=0.66666)
    assert capped.capped and "not reached" in str(capped) and capped.parameters < capped.requested_parameters
    free = plan_reduction(1150, 1150, reduce_in=0.5, reduce_out=0.5)
    assert not free.capped and "those of a dense layer 575 -> 575" in str(free)
    assert abs(free.parameters / free.requested_parameters - 1) < 0.01


def test_no_reduction_is_the_dense_layer():
    plan = plan_reduction(7, 5, reduce_in=1, reduce_out=1)
    assert plan.blocks == ((0, 7, 5),) and plan.parameters == plan.dense_parameters and not plan.capped


def test_a_compacted_plan_is_given_by_its_blocks():
    plan = plan_from(7, [(0, 4, 3), (2, 7, 1)])
    assert (plan.hidden_size, plan.input_size, plan.parameters) == (4, 7, 4 * 3 * (4 + 3 + 1) + 4 * (5 + 1 + 1))
    with pytest.raises(ValueError, match=r"\[3, 9, 1\] does not fit 7 inputs"):
        plan_from(7, [(3, 9, 1)])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (dict(blocks=6, density=0.5), "blocks: must be 1 to 5 for widths 7 and 5"),
        (dict(blocks=0, density=0.5), "blocks: must be 1 to 5"),
        (dict(blocks=3, density=0.2), "density: must be 1 / blocks = 0.3333 to 1"),
        (dict(blocks=3, density=1.1), "density: must be 1 / blocks"),
        (dict(blocks=1, density=0.5), "a single block sees all inputs"),
    ],
)
def test_blocks_that_cannot_be_planned(arguments, message):
    with pytest.raises(ValueError, match=message):
        plan_blocks(7, 5, **arguments)


@pytest.mark.parametrize("shares", [(0.01, 0.01), (0.5, 0.1)])
def test_a_reduction_that_is_out_of_reach_says_what_is_reachable(shares):
    with pytest.raises(ValueError, match="100 -> 20 in at most 20 blocks has 560 or more"):
        plan_reduction(100, 20, reduce_in=shares[0], reduce_out=shares[1])


def test_shares_are_checked():
    with pytest.raises(ValueError, match="reduce_out: must be greater than 0 and at most 1"):
        plan_reduction(7, 5, reduce_in=0.5, reduce_out=1.5)


@pytest.mark.parametrize(
    ("words", "starts", "count"),
    [
        (10_000, [0, 1684, 3084, 4249, 5217, 6022, 6691, 7248, 7711, 8094], 2_000_000),
        (33_278, [0, 5603, 10262, 14137, 17359, 20039, 22267, 24120, 25661, 26942], 6_655_600),
    ],
)
def test_the_bands_of_the_paper(words, starts, count):
    bands = plan_bands(words, 400, blocks=10, density=0.5)
    assert [band.start for band in bands] == starts
    assert sum((words - band.start) * band.width for band in bands) == count


@pytest.mark.parametrize(("words", "width", "blocks", "density"), [(11, 6, 3, 0.6), (50, 7, 7, 0.2), (9, 5, 2, 1.0)])
def test_bands_cover_the_vectors_and_use_up_the_density(words, width, blocks, density):
    bands = plan_bands(words, width, blocks=blocks, density=density)
    assert bands[0].start == 0 and sum(band.width for band in bands) == width
    assert [band.start for band in bands] == sorted(band.start for band in bands)
    count = sum((words - band.start) * band.width for band in bands)
    assert abs(count - words * width * density) <= width


@pytest.mark.parametrize(("words", "width", "blocks"), [(50, 4, 4), (200, 10, 7), (1000, 100, 9), (10_000, 400, 20)])
def test_bands_of_density_one_are_the_dense_matrix(words, width, blocks):
    assert {band.start for band in plan_bands(words, width, blocks=blocks, density=1.0)} == {0}


@pytest.mark.parametrize(("width", "blocks"), [(10, 4), (100, 7), (7, 4), (400, 30)])
@pytest.mark.parametrize("share", [1.0, 1.2])
def test_bands_use_up_a_low_density_where_the_width_does_not_divide(width, blocks, share):
    words = 5000
    bands = plan_bands(words, width, blocks=blocks, density=share / blocks)
    count = sum((words - band.start) * band.width for band in bands)
    # each of the blocks is a word too long at the most
    assert 0 <= count - words * width * share / blocks + width <= 2 * width


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (dict(blocks=7, density=0.5), "blocks: must be 1 to 6, the embedding's width"),
        (dict(blocks=3, density=0.3), "density: must be 1 / blocks = 0.3333 to 1"),
        (dict(blocks=1, density=0.5), "a single block has vectors for all words"),
    ],
)
def test_bands_that_cannot_be_planned(arguments, message):
    with pytest.raises(ValueError, match=message):
        plan_bands(11, 6, **arguments)


def test_no_words_and_no_blocks_are_refused():
    with pytest.raises(ValueError, match=r"vocabulary_size: must be at least 1 \(got 0\)"):
        plan_bands(0, 8, blocks=2, density=0.6)
    with pytest.raises(ValueError, match="blocks: at least one is needed"):
        plan_from(5, [])
