"""Long short-term memory: the layer with the paper's step, the cell, and each backend that computes a window."""

from .cell import LSTMCell as LSTMCell
from .layer import LSTM as LSTM
from .layer import lstm_step as lstm_step
from .state import LSTMState as LSTMState
