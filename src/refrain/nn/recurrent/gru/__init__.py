"""Gated recurrent unit: the layer with the paper's step, and each backend that computes a window."""

from .layer import GRU as GRU
from .layer import gru_step as gru_step
from .state import GRUState as GRUState
