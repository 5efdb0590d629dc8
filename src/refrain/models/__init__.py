"""Language models and taggers, their steppers, and the protocols of networks."""

from .language_model import LanguageModel as LanguageModel
from .language_model import Loss as Loss
from .language_model import Outputs as Outputs
from .modes import evaluating as evaluating
from .modes import modes as modes
from .network_stepper import NetworkStepper as NetworkStepper
from .packed_tagger import pack_tagger as pack_tagger
from .protocol import CompleteNetwork as CompleteNetwork
from .protocol import Network as Network
from .stepper import Stepper as Stepper
from .stepper import stepper_of as stepper_of
from .tagger import Tagger as Tagger
from .widths import widths as widths
