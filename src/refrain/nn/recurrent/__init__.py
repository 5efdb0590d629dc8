"""Recurrent layers: one folder an architecture, in its layer.py the paper's step first, then the layer."""

from .bidirectional import Bidirectional as Bidirectional
from .gru import GRU as GRU
from .gru import GRUState as GRUState
from .gru import gru_step as gru_step
from .lstm import LSTM as LSTM
from .lstm import LSTMCell as LSTMCell
from .lstm import LSTMState as LSTMState
from .lstm import lstm_step as lstm_step
from .multiplicative_lstm import MultiplicativeLSTM as MultiplicativeLSTM
from .multiplicative_lstm import multiplicative_lstm_step as multiplicative_lstm_step
from .protocol import RecurrentLayer as RecurrentLayer
from .protocol import check_window as check_window
from .protocol import detached as detached
from .protocol import scan as scan
from .sparse_lstm import SparseLSTM as SparseLSTM
from .sparse_lstm import SpreadSparseLSTM as SpreadSparseLSTM
from .stack import RecurrentStack as RecurrentStack
