"""The training loop, the methods that act on it, and the checkpoints, metrics and progress of a run."""

from refrain.optim import Verdict as Verdict

from .fit import Fit as Fit
from .hooks import Hooks as Hooks
from .hooks import Window as Window
from .interrupt import Interrupt as Interrupt
from .interrupt import Interrupted as Interrupted
from .loop import NonFiniteError as NonFiniteError
from .loop import Tally as Tally
from .loop import train_round as train_round
from .method import LossTerm as LossTerm
from .method import Method as Method
from .methods import Methods as Methods
from .metrics import Metrics as Metrics
from .metrics import tensorboard_writer as tensorboard_writer
from .own_methods import MethodError as MethodError
from .progress import PlainProgress as PlainProgress
from .progress import progress as progress
from .resume import load_weights as load_weights
from .resume import restore as restore
from .task import Position as Position
from .task import Task as Task
from .task import Validation as Validation
