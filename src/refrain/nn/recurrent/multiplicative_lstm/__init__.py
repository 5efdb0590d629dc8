"""Multiplicative LSTM: the layer with the paper's step, and each backend that computes a window."""

from .layer import MultiplicativeLSTM as MultiplicativeLSTM
from .layer import multiplicative_lstm_step as multiplicative_lstm_step
