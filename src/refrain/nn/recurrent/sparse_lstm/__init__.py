"""LSTMs side by side, each on a part of the input: the layer, its backends, and the layer spread over processes."""

from .distributed import SpreadSparseLSTM as SpreadSparseLSTM
from .layer import SparseLSTM as SparseLSTM
