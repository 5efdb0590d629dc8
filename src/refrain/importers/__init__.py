"""Models from elsewhere: their files are read without running anything in them, and become ordinary run folders."""

from typing import TYPE_CHECKING

from refrain._lazy import lazily

from .table import FORMATS as FORMATS

if TYPE_CHECKING:
    from .importing import import_model as import_model
else:
    __getattr__, __dir__ = lazily(__name__, {"import_model": "importing"})
