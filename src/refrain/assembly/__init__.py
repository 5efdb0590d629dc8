"""Builds objects from settings: models, corpora, optimisers and training tasks."""

from typing import TYPE_CHECKING

from refrain._lazy import lazily

from .corpus import build_corpus as build_corpus
from .corpus import build_text as build_text
from .corpus import locate as locate
from .tagged_corpus import build_tagged_corpus as build_tagged_corpus

if TYPE_CHECKING:
    from .model import build_device as build_device
    from .model import build_language_model as build_language_model
    from .model import build_model as build_model
    from .tagger import build_tagger as build_tagger
    from .task import build_optimizer as build_optimizer
    from .task import build_task as build_task
else:
    __getattr__, __dir__ = lazily(
        __name__,
        {
            "build_device": "model",
            "build_language_model": "model",
            "build_model": "model",
            "build_optimizer": "task",
            "build_tagger": "tagger",
            "build_task": "task",
        },
    )
