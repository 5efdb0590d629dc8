"""Optimisation: learning-rate schedules, gradient clipping, SGD, weight averaging and early stopping."""

from .native import Averages as Averages
from .native import any_gradient_dtype as any_gradient_dtype
from .native import used_once as used_once
from .nt_asgd import TriggeredAveraging as TriggeredAveraging
from .schedules import Fixed as Fixed
from .schedules import Plateau as Plateau
from .schedules import Schedule as Schedule
from .schedules import constant as constant
from .schedules import cosine as cosine
from .schedules import exponential as exponential
from .schedules import linear as linear
from .stalls import EarlyStop as EarlyStop
from .stalls import Verdict as Verdict
from .steps import SGD as SGD
from .steps import clip_scale as clip_scale
from .steps import gradient_norm as gradient_norm
from .steps import scale_gradients as scale_gradients
from .steps import scaled_step as scaled_step
