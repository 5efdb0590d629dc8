"""Several processes that train one model: what each computes, what they send, and how a lost one is noticed."""

from .ranks import ALONE as ALONE
from .ranks import Ranks as Ranks
from .start import joined as joined
from .start import present as present
