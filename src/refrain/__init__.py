"""Recurrent language models that are small, strong and fast.

    lm = refrain.load("runs/quickstart")
    lm.score("a class is an object .").perplexity
    lm.generate("the function", tokens=20)

Names are imported when they are first used, so that `import refrain` does not import torch.
"""

from typing import TYPE_CHECKING

from . import _moved
from ._lazy import lazily
from ._openmp import wait_briefly
from ._version import __version__ as __version__

if TYPE_CHECKING:
    from .config import Experiment as Experiment
    from .errors import CheckpointError as CheckpointError
    from .errors import DataError as DataError
    from .errors import UserError as UserError
    from .models import LanguageModel as LanguageModel
    from .runs import load as load
    from .runs import recipe as recipe
    from .runs import resume as resume
    from .runs import train as train
    from .trained import TrainedLanguageModel as TrainedLanguageModel
    from .trained import TrainedTagger as TrainedTagger

# name -> the module that it is imported from
_MODULES = {
    "CheckpointError": "errors",
    "DataError": "errors",
    "Experiment": "config",
    "LanguageModel": "models",
    "TrainedLanguageModel": "trained",
    "TrainedTagger": "trained",
    "UserError": "errors",
    "load": "runs",
    "recipe": "runs",
    "resume": "runs",
    "train": "runs",
}

__all__ = ["__version__", *_MODULES]

_moved.install()
wait_briefly()

if not TYPE_CHECKING:
    __getattr__, __dir__ = lazily(__name__, _MODULES)
