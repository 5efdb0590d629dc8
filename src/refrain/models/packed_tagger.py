"""Packs the weights of a tagger for evaluation."""

import copy
from typing import Any

from torch import nn

from refrain.nn import fold_weight_norm
from refrain.nn.kernels.forking import one_thread_after_fork
from refrain.nn.kernels.packed_linear import WeightType, round_weights
from refrain.nn.recurrent.packed_bidirectional import PackedBidirectional

from .tagger import Tagger


def pack_tagger(model: Tagger, *, weights: WeightType = "float32") -> Tagger:
    """Copy a tagger for evaluation, with packed weights in its recurrent layers.

    The copy computes the logits of the model in evaluation mode, with the weights at the time of the call. It cannot be
    trained. `Stepper` does the same for language models.

    Args:
        model: the tagger, in training or evaluation mode; it is not changed.
        weights: `float32`, or `int8`, which rounds every matrix to 127ths of the largest entry of each row.
    """
    one_thread_after_fork()
    snapshot = copy.deepcopy(model).eval().requires_grad_(False)
    fold_weight_norm(snapshot)
    if weights == "int8":
        round_weights(snapshot)
    layers: list[Any] = list(snapshot.layers)
    snapshot.layers = nn.ModuleList(PackedBidirectional(layer, weights) for layer in layers)
    return snapshot
