"""Settings to objects, folders to models. The only reader of config."""

from .corpus import build_corpus as build_corpus
from .corpus import build_text as build_text
from .corpus import locate as locate
from .loading import load as load
from .loading import load_language_model as load_language_model
from .loading import load_tagger as load_tagger
from .model import build_device as build_device
from .model import build_language_model as build_language_model
from .model import build_model as build_model
from .probing import probe as probe
from .runs import resume as resume
from .runs import train as train
from .seeds import has_seeds as has_seeds
from .seeds import resume_seeds as resume_seeds
from .seeds import train_seeds as train_seeds
from .tagger import build_tagged_corpus as build_tagged_corpus
from .tagger import build_tagger as build_tagger
from .task import build_optimizer as build_optimizer
from .task import build_task as build_task
