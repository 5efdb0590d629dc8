"""Layers for anyone's PyTorch model; they know nothing of models, data or training."""

from .embedding import Embedding as Embedding
from .heads import Head as Head
from .heads import SoftmaxHead as SoftmaxHead
from .recurrent import LSTM as LSTM
from .recurrent import LSTMState as LSTMState
from .recurrent import RecurrentLayer as RecurrentLayer
from .recurrent import RecurrentStack as RecurrentStack
from .recurrent import lstm_step as lstm_step
from .recurrent import scan as scan
