"""Recurrent layers: one file an architecture, the paper's step first, then the layer."""

from .bidirectional import Bidirectional as Bidirectional
from .gru import GRU as GRU
from .gru import GRUState as GRUState
from .gru import gru_step as gru_step
from .lstm import LSTM as LSTM
from .lstm import LSTMState as LSTMState
from .lstm import lstm_step as lstm_step
from .lstm_cell import LSTMCell as LSTMCell
from .multiplicative_lstm import MultiplicativeLSTM as MultiplicativeLSTM
from .multiplicative_lstm import multiplicative_lstm_step as multiplicative_lstm_step
from .scan import RecurrentLayer as RecurrentLayer
from .scan import check_window as check_window
from .scan import detached as detached
from .scan import scan as scan
from .sparse_lstm import SparseLSTM as SparseLSTM
from .spread_sparse_lstm import SpreadSparseLSTM as SpreadSparseLSTM
from .stack import RecurrentStack as RecurrentStack
