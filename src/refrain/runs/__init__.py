"""Run folders: train, resume, repeat with several seeds or folds, load, and record settings and results."""

from typing import TYPE_CHECKING

from refrain._lazy import lazily

from .loading import SavedModel as SavedModel
from .loading import find as find
from .loading import find_language_model as find_language_model
from .loading import find_tagger as find_tagger
from .loading import load as load
from .loading import load_language_model as load_language_model
from .loading import load_tagger as load_tagger

if TYPE_CHECKING:
    from .from_recipe import recipe as recipe
    from .reports.drawing import curves as curves
    from .resuming import resume as resume
    from .resuming import resume_unfinished as resume_unfinished
    from .seeds import has_seeds as has_seeds
    from .seeds import resume_seeds as resume_seeds
    from .seeds import train_folds as train_folds
    from .seeds import train_seeds as train_seeds
    from .training import train as train
else:
    __getattr__, __dir__ = lazily(
        __name__,
        {
            "curves": "reports.drawing",
            "recipe": "from_recipe",
            "resume_unfinished": "resuming",
            "has_seeds": "seeds",
            "resume": "resuming",
            "resume_seeds": "seeds",
            "train": "training",
            "train_folds": "seeds",
            "train_seeds": "seeds",
        },
    )
