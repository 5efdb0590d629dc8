"""What `refrain.load` returns: a trained model with its vocabulary, ready for use."""

from .language_model import TrainedLanguageModel as TrainedLanguageModel
from .tagger import TrainedTagger as TrainedTagger
