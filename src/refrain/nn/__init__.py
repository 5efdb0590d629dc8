"""Layers for anyone's PyTorch model; they know nothing of models, data or training."""

from .character_features import CharacterFeatures as CharacterFeatures
from .dropout import EmbeddingDropout as EmbeddingDropout
from .dropout import LockedDropout as LockedDropout
from .dropout import VariationalDropout as VariationalDropout
from .embedding import Embedding as Embedding
from .heads import AdaptiveHead as AdaptiveHead
from .heads import Head as Head
from .heads import MixtureHead as MixtureHead
from .heads import SoftmaxHead as SoftmaxHead
from .recurrent import GRU as GRU
from .recurrent import LSTM as LSTM
from .recurrent import Bidirectional as Bidirectional
from .recurrent import GRUState as GRUState
from .recurrent import LSTMCell as LSTMCell
from .recurrent import LSTMState as LSTMState
from .recurrent import MultiplicativeLSTM as MultiplicativeLSTM
from .recurrent import RecurrentLayer as RecurrentLayer
from .recurrent import RecurrentStack as RecurrentStack
from .recurrent import detached as detached
from .recurrent import gru_step as gru_step
from .recurrent import lstm_step as lstm_step
from .recurrent import multiplicative_lstm_step as multiplicative_lstm_step
from .recurrent import scan as scan
from .weight_transforms import WeightDropout as WeightDropout
from .weight_transforms import WeightNorm as WeightNorm
from .weight_transforms import fold_weight_norm as fold_weight_norm
