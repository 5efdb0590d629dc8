"""Trained models in formats that run elsewhere, each compared with the library before it is written."""

from typing import TYPE_CHECKING

from refrain._lazy import lazily

from .formats import FORMATS as FORMATS
from .formats import Options as Options

if TYPE_CHECKING:
    from .exporting import export as export
else:
    __getattr__, __dir__ = lazily(__name__, {"export": "exporting"})
