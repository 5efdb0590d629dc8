"""Builds objects from settings: models, corpora, optimisers and training tasks."""

from .corpus import build_corpus as build_corpus
from .corpus import build_text as build_text
from .corpus import locate as locate
from .model import build_device as build_device
from .model import build_language_model as build_language_model
from .model import build_model as build_model
from .tagger import build_tagged_corpus as build_tagged_corpus
from .tagger import build_tagger as build_tagger
from .task import build_optimizer as build_optimizer
from .task import build_task as build_task
