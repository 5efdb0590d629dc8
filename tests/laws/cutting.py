"""Taking a unit out of a model by its declared axes alone, without the library's own arithmetic."""

import torch
from table import argument


def entries(model, width, unit):
    """Every parameter that the unit is part of, the dimension, and its indices there."""
    size = model.widths()[width]
    for name, parameter in model.named_parameters():
        for dimension, axis in enumerate(model.axes()[name]):
            if axis.width == width:
                yield parameter, dimension, torch.tensor([unit + copy * size for copy in range(axis.copies)])


def clear(model, width, unit):
    """Make everything of the unit zero, in place."""
    with torch.no_grad():
        for parameter, dimension, index in entries(model, width, unit):
            parameter.index_fill_(dimension, index, 0.0)


def cut(model, build, width, unit):
    """The model without the unit, made by selecting along the declared axes."""
    size, source, table = model.widths()[width], dict(model.named_parameters()), model.axes()
    smaller = build(**{argument(width): size - 1}).double()
    kept = torch.tensor([each for each in range(size) if each != unit])
    with torch.no_grad():
        for name, parameter in smaller.named_parameters():
            tensor = source[name]
            for dimension, axis in enumerate(table[name]):
                if axis.width == width:
                    copies = [kept + copy * size for copy in range(axis.copies)]
                    tensor = tensor.index_select(dimension, torch.cat(copies))
            assert parameter.shape == tensor.shape, name
            parameter.copy_(tensor)
    return smaller
