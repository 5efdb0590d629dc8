"""What the loss of a model would be without a unit, estimated from gradients.

Molchanov et al. (2019), Importance estimation for neural network pruning, CVPR 2019, equation 8: the squared sum of the
products of weights and gradients. A unit here has no effect once everything that reads it is zero, so that the sum is
over what reads it.

U units in a width.
"""

from collections.abc import Iterable, Mapping

from torch import Tensor

from refrain.nn.precision import widened

from .groups import UnitAxis, unit_sums


def removal_effects(
    parameters: Mapping[str, Tensor], gradients: Mapping[str, Tensor], width_axes: Iterable[UnitAxis]
) -> Tensor:
    """Return the first-order change of a loss when everything that reads a unit becomes zero, with the sign changed.

    Args:
        parameters: the parameters by name.
        gradients: the gradients of the loss by the names of the parameters.
        width_axes: the axes of one width, from `unit_axes`.

    Returns:
        A value for each unit (U,).

    Raises:
        ValueError: when nothing reads the width.
    """
    total: Tensor | None = None
    for unit_axis in width_axes:
        if not unit_axis.axis.reads:
            continue
        products = widened(parameters[unit_axis.parameter].detach()) * widened(gradients[unit_axis.parameter])
        part = unit_sums(products, unit_axis)
        total = part if total is None else total + part
    if total is None:
        raise ValueError("nothing in the model reads this width, so its units have no effect")
    return total
