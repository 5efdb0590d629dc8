"""A model's step as plain data, built by running the model's own equations on symbols instead of tensors."""

from .builder import Describable as Describable
from .builder import GraphBuilder as GraphBuilder
from .builder import Value as Value
from .graph import Cell as Cell
from .graph import Operation as Operation
from .graph import State as State
from .graph import StepGraph as StepGraph
from .interpreter import run_step as run_step
from .tagger_graph import TaggerGraph as TaggerGraph
from .tagger_graph import run_tagger as run_tagger
