"""Settings as frozen, validated plain data. Imports no torch."""

from .experiment import Data as Data
from .experiment import Experiment as Experiment
from .experiment import Schedule as Schedule
from .experiment import Training as Training
from .loader import AnyExperiment as AnyExperiment
from .loader import resolve as resolve
from .mistakes import setting_names as setting_names
from .model import Model as Model
from .sparsity import Sparsity as Sparsity
from .sparsity import Target as Target
from .tagger import TaggedData as TaggedData
from .tagger import TaggerExperiment as TaggerExperiment
from .tagger import TaggerModel as TaggerModel
from .tagger import TaggerTraining as TaggerTraining
