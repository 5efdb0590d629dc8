"""Several processes that train one model: what each computes, what they send, and how a lost one is noticed."""

from typing import TYPE_CHECKING

from refrain._lazy import lazily

if TYPE_CHECKING:
    from .ranks import ALONE as ALONE
    from .ranks import Ranks as Ranks
    from .start import joined as joined
    from .start import present as present
else:
    __getattr__, __dir__ = lazily(__name__, {"ALONE": "ranks", "Ranks": "ranks", "joined": "start", "present": "start"})
