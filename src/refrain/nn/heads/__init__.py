"""Output heads, from hidden vectors to the loss."""

from .adaptive import AdaptiveHead as AdaptiveHead
from .block_low_rank import BlockLowRankHead as BlockLowRankHead
from .conditional_random_field import ConditionalRandomField as ConditionalRandomField
from .low_rank import LowRankHead as LowRankHead
from .mixture import MixtureHead as MixtureHead
from .softmax import Head as Head
from .softmax import SoftmaxHead as SoftmaxHead
from .sparse_softmax import SparseSoftmaxHead as SparseSoftmaxHead
