"""Recurrent layers: one file an architecture, the paper's step first, then the layer."""

from .lstm import LSTM as LSTM
from .lstm import LSTMState as LSTMState
from .lstm import lstm_step as lstm_step
from .scan import RecurrentLayer as RecurrentLayer
from .scan import scan as scan
from .stack import RecurrentStack as RecurrentStack
