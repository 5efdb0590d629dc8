"""Several processes that train one model: what each computes, what they tell each other, and how one is missed."""

from .ranks import ALONE as ALONE
from .ranks import Ranks as Ranks
from .start import joined as joined
