"""Run folders: train, resume, repeat with several seeds, load, and record settings and results."""

from .loading import load as load
from .loading import load_language_model as load_language_model
from .loading import load_tagger as load_tagger
from .resuming import go_on as go_on
from .resuming import resume as resume
from .seeds import has_seeds as has_seeds
from .seeds import resume_seeds as resume_seeds
from .seeds import train_seeds as train_seeds
from .training import train as train
