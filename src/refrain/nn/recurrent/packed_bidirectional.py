"""A bidirectional layer for inference, with the weights of both directions packed.

T steps of the longest sequence, B batch, I input width, H hidden width of each direction.
"""

from torch import Tensor, nn

from refrain.nn.kernels.packed_linear import WeightType

from .bidirectional import Bidirectional, both_directions
from .packed import pack_layer, unpacked_names


class PackedBidirectional(nn.Module):
    """What a `Bidirectional` computes in evaluation, from a copy of its weights.

    Args:
        layer: in evaluation mode, without transforms that act there; it must not change afterwards.
        weights: dtype of the packed weights.
    """

    def __init__(self, layer: Bidirectional, weights: WeightType) -> None:
        super().__init__()
        self.input_size = layer.input_size
        self.hidden_size = layer.hidden_size
        self._initial_state = layer.ahead.initial_state
        self._ahead = pack_layer(layer.ahead, weights)
        self._back = pack_layer(layer.back, weights)

    @property
    def unpacked(self) -> list[str]:
        """The names of the classes of directions that no kernel computes, but their own code in float32."""
        return unpacked_names([self._ahead, self._back])

    def forward(self, inputs: Tensor, lengths: Tensor) -> Tensor:
        """inputs (T, B, I) and lengths (B,) -> (T, B, 2H); see `Bidirectional`."""
        state = self._initial_state(inputs.shape[1])
        return both_directions(self._ahead.window, self._back.window, inputs, lengths, state)
