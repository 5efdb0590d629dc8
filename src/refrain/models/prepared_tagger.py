"""A tagger made ready to read sentences, be they few or many at a time."""

import copy
from typing import Any

from torch import nn

from refrain.nn import fold_weight_norm
from refrain.nn.kernels.packed_linear import WeightType, round_weights
from refrain.nn.recurrent.packed_bidirectional import PackedBidirectional

from .tagger import Tagger


def prepare_tagger(model: Tagger, *, weights: WeightType = "float32") -> Tagger:
    """A snapshot of a tagger for evaluation, whose recurrent layers have their weights made ready.

    Its logits are the model's; see `Stepper`, which does the same for language models. The layers cannot be trained,
    and the weights are those at the time of the call.

    Args:
        model: its weights are copied as they are now, in whatever mode it is.
        weights: `float32`, or `int8`, which rounds every matrix to 127ths of the largest entry of each row.
    """
    snapshot = copy.deepcopy(model).eval().requires_grad_(False)
    fold_weight_norm(snapshot)
    if weights == "int8":
        round_weights(snapshot)
    layers: list[Any] = list(snapshot.layers)
    snapshot.layers = nn.ModuleList(PackedBidirectional(layer, weights) for layer in layers)
    return snapshot
