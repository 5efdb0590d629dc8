"""Trained models with their vocabularies, as `refrain.load` returns them."""

from .language_model import TrainedLanguageModel as TrainedLanguageModel
from .tagger import TrainedTagger as TrainedTagger
