"""A layer that runs both ways, with the weights of its directions made ready.

T steps of the longest sequence, B sequences, I input width, H hidden width of each direction.
"""

from torch import Tensor, nn

from refrain.nn.kernels.packed_linear import WeightType

from .bidirectional import Bidirectional, both_ways
from .packed import prepare_layer


class PreparedBidirectional(nn.Module):
    """What a `Bidirectional` computes in evaluation, from a copy of its weights.

    Args:
        layer: in evaluation mode, without transforms that act there; it must not change afterwards.
        weights: what the matrices become.
    """

    def __init__(self, layer: Bidirectional, weights: WeightType) -> None:
        super().__init__()
        self.input_size, self.hidden_size = layer.input_size, layer.hidden_size
        self._initial_state = layer.ahead.initial_state
        self._ahead, self._back = (prepare_layer(each, weights) for each in (layer.ahead, layer.back))

    def forward(self, inputs: Tensor, lengths: Tensor) -> Tensor:
        """inputs (T, B, I) and lengths (B,) -> (T, B, 2H), as `Bidirectional` has them."""
        state = self._initial_state(inputs.shape[1])
        return both_ways(self._ahead.window, self._back.window, inputs, lengths, state)
