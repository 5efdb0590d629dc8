"""The weight that a head shares with an embedding."""

from torch import nn

from refrain.arguments import described


def check_tied(weight: object, rows: int, columns: int, advice: str = "") -> None:
    """Check a weight that a head is given to share.

    Args:
        weight: the weight, or None for one of the head's own.
        rows: V.
        columns: the width that the head needs.
        advice: is added to the message about another shape.

    Raises:
        ValueError: when it is no parameter, which would be neither trained nor saved, or has another shape.
    """
    if weight is None:
        return
    if not isinstance(weight, nn.Parameter):
        raise ValueError(f"a tied head needs a parameter, such as embedding.weight (got {described(weight)})")
    if tuple(weight.shape) != (rows, columns):
        raise ValueError(f"a tied head needs a weight of shape {(rows, columns)}, got {tuple(weight.shape)}{advice}")
