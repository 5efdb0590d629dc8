"""Text from a trained model."""

from .generate import generate as generate
from .sampling import Sampler as Sampler
from .sampling import top_k as top_k
from .sampling import top_p as top_p
from .sampling import with_temperature as with_temperature
