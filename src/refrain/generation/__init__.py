"""Text generation, and the states of a model after texts."""

from .features import Features as Features
from .features import features as features
from .generate import generate as generate
from .sampling import Sampler as Sampler
from .sampling import top_k as top_k
from .sampling import top_p as top_p
from .sampling import with_temperature as with_temperature
from .units import Part as Part
from .units import hold_units as hold_units
