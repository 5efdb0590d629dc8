"""Models of which some axes run along a part of a width: the laws of groups and of compaction, unit by unit."""

import copy

import pytest
import torch
from table import SEGMENTED, B, T, V

from refrain.assembly.model import build_model
from refrain.assembly.widths import resized
from refrain.config import Experiment
from refrain.sparsity import clear_units, dead_units, select_units, squared_norms, unit_axes
from refrain.sparsity.compact import dead_by_width, largest_entries, spared
from refrain.sparsity.dropping import drop_until
from refrain.sparsity.groups import group_sizes, scale_units
from refrain.sparsity.sizes import model_size, parameter_count

WIDTHS = ("embedding", "layer0.hidden", "layer1.hidden", "embedding.rank0", "embedding.rank1", "head.rank0")


@pytest.fixture(params=SEGMENTED)
def model(request):
    torch.manual_seed(1)
    model = SEGMENTED[request.param]().double()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    return model


def nats(model):
    ids = torch.randint(V, (T + 1, B), generator=torch.Generator().manual_seed(6))
    return model.token_nats(ids[:-1], ids[1:], model.initial_state(B))[0]


def indices(unit_axis, unit):
    """The index of a unit along the dimension of a unit axis."""
    begin, end = (0, None) if unit_axis.axis.segment is None else unit_axis.axis.segment[:2]
    if unit < begin or (end is not None and unit >= end):
        return None
    return unit - begin


def masks(model, width, unit, roles=("writes", "reads", "both", "shifts", "scales")):
    """How often each entry belongs to a unit, found without the library's own arithmetic."""
    parameters = dict(model.named_parameters())
    found = {}
    for unit_axis in unit_axes(model.axes())[width]:
        where = indices(unit_axis, unit)
        if where is None or unit_axis.axis.role not in roles:
            continue
        shape = parameters[unit_axis.parameter].shape
        one = torch.zeros(shape, dtype=torch.float64)
        size = shape[unit_axis.dimension] // unit_axis.axis.copies
        one.index_fill_(
            unit_axis.dimension, torch.tensor([where + copy * size for copy in range(unit_axis.axis.copies)]), 1.0
        )
        found[unit_axis.parameter] = found.get(unit_axis.parameter, 0) + one
    return found


def units(model):
    for width, size in model.widths().items():
        if width in WIDTHS:
            yield from ((width, unit) for unit in range(size))


def test_every_parameter_is_declared_and_counted(model):
    assert parameter_count(model.axes(), model.widths()) == sum(p.numel() for p in model.parameters())


def test_a_unit_that_nothing_reads_is_dead_whatever_is_written(model):
    for width, unit in units(model):
        one = copy.deepcopy(model)
        parameters = dict(one.named_parameters())
        with torch.no_grad():
            for name, mask in masks(one, width, unit, ("reads", "both")).items():
                parameters[name].mul_(mask == 0)
        wanted = nats(one)
        assert dead_units(parameters, unit_axes(one.axes())[width]).nonzero().flatten().tolist() == [unit]
        with torch.no_grad():
            for name, mask in masks(one, width, unit, ("writes", "shifts", "scales")).items():
                parameters[name].add_(mask * torch.randn_like(mask))
        torch.testing.assert_close(nats(one), wanted, msg=f"{width} {unit}")


def test_a_living_unit_matters(model):
    wanted = nats(model)
    for width, unit in units(model):
        one = copy.deepcopy(model)
        clear_units(
            dict(one.named_parameters()), unit_axes(one.axes())[width], torch.arange(one.widths()[width]) == unit
        )
        assert not torch.allclose(nats(one), wanted)


def test_norms_sizes_and_scaling_are_those_of_the_entries(model):
    parameters = {name: parameter.detach() for name, parameter in model.named_parameters()}
    for width, unit in units(model):
        found = unit_axes(model.axes())[width]
        matrices = {name: mask for name, mask in masks(model, width, unit).items() if mask.ndim == 2}
        for overlap, count in (("twice", lambda mask: mask), ("once", lambda mask: (mask > 0).double())):
            wanted = sum(float((parameters[name] ** 2 * count(mask)).sum()) for name, mask in matrices.items())
            torch.testing.assert_close(float(squared_norms(parameters, found, overlap=overlap)[unit]), wanted)
            size = sum(float(count(mask).sum()) for mask in matrices.values())
            assert float(group_sizes(parameters, found, overlap=overlap)[unit]) == size
        largest = max(float((parameters[name].abs() * (mask > 0)).max()) for name, mask in matrices.items())
        assert float(largest_entries(parameters, found)[unit]) == largest
        factors = torch.ones(model.widths()[width], dtype=torch.float64)
        factors[unit] = 0.5
        scaled = {name: parameter.clone() for name, parameter in parameters.items()}
        scale_units(scaled, found, factors)
        for name, parameter in parameters.items():
            torch.testing.assert_close(scaled[name], parameter * 0.5 ** matrices.get(name, torch.zeros(())))


@pytest.mark.parametrize("seed", range(4))
def test_cleared_units_can_be_taken_out_and_the_settings_say_what_is_left(model, seed):
    torch.manual_seed(seed)
    parameters, table, found = dict(model.named_parameters()), model.axes(), unit_axes(model.axes())
    dead = {}
    for width, size in model.widths().items():
        if width in WIDTHS:
            dead[width] = torch.zeros(size, dtype=torch.bool)
            dead[width][torch.randperm(size)[: size // 2]] = True
    dead = spared(dead, table)
    for width, which in dead.items():
        clear_units(parameters, found[width], which)
    wanted = nats(model)
    sizes = model.widths()
    tied = model.head.tied
    hidden = [sizes["layer0.hidden"], sizes["embedding" if tied else "layer1.hidden"]]
    settings = {"embedding_size": sizes["embedding"], "hidden_sizes": hidden, "tied": tied}
    kept = {width: (~which).nonzero().flatten() for width, which in dead.items()}
    small = build_model(resized(Experiment.model_validate({"model": settings}), model, kept).model, V).double()
    selected = select_units(parameters, table, kept)
    with torch.no_grad():
        for name, parameter in small.named_parameters():
            parameter.copy_(selected[name])
    torch.testing.assert_close(nats(small), wanted)
    count = sum(p.numel() for p in small.parameters())
    assert count == parameter_count(table, sizes, dead) == model_size("bytes", table, sizes, dead) // 4


def test_a_step_is_a_window_of_one(model):
    ids, state, costs = torch.randint(V, (T, B)), model.initial_state(B), []
    targets = torch.randint(V, (T, B))
    wanted, _ = model.token_nats(ids, targets, state)
    for token, target in zip(ids, targets, strict=True):
        log_probabilities, state = model.step(token, state)
        costs.append(-log_probabilities.gather(1, target[:, None])[:, 0])
    torch.testing.assert_close(torch.stack(costs), wanted)


def test_what_is_dropped_for_a_size_leaves_no_more_than_it(model):
    table, sizes = model.axes(), model.widths()
    whole = parameter_count(table, sizes)
    order = torch.Generator().manual_seed(1)
    units = [(width, unit) for width in sizes if width in WIDTHS for unit in range(sizes[width])]
    ranking = [units[index] for index in torch.randperm(len(units), generator=order)]
    for target in (0.9, 0.8, 0.7):
        dropped = drop_until(ranking, table, sizes, measure="parameters", target=int(target * whole))
        gone = {width: torch.zeros(sizes[width], dtype=torch.bool) for width in WIDTHS if width in sizes}
        for width, which in dropped.items():
            gone[width][which] = True
        parameters = dict(model.named_parameters())
        after = dead_by_width(parameters, table, list(gone), gone=gone)
        assert parameter_count(table, sizes, after) <= target * whole
        for width, which in after.items():
            assert torch.equal(which, spared(after, table)[width])
