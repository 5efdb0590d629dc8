"""Weights that become zero and stay zero, and models without them. All of it depends on declared axes alone."""

from .compact import clear_units as clear_units
from .compact import dead_by_width as dead_by_width
from .compact import select_units as select_units
from .compact import weakest_first as weakest_first
from .compact import widths_left as widths_left
from .dropping import drop_until as drop_until
from .groups import UnitAxis as UnitAxis
from .groups import dead_units as dead_units
from .groups import squared_norms as squared_norms
from .groups import unit_axes as unit_axes
from .groups import zero_share as zero_share
from .joint_steps import take_steps as take_steps
from .masks import Masks as Masks
from .masks import prune_smallest as prune_smallest
from .masks import pruned_share as pruned_share
from .penalties import L1 as L1
from .penalties import LineLasso as LineLasso
from .penalties import UnitLasso as UnitLasso
from .penalties import threshold as threshold
from .sizes import layer_multiply_adds as layer_multiply_adds
from .sizes import model_size as model_size
from .sizes import multiply_adds as multiply_adds
from .sizes import parameter_count as parameter_count
