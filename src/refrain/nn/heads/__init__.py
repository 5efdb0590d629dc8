"""Output heads: each owns its way from hidden vectors to the loss."""

from .softmax import Head as Head
from .softmax import SoftmaxHead as SoftmaxHead
