"""The laws that the library's own layers keep, as functions for a layer from outside it."""

from .axes import check_axes as check_axes
from .case import Case as Case
from .case import recurrent_case as recurrent_case
from .laws import check_batch_entries_are_independent as check_batch_entries_are_independent
from .laws import check_evaluation_is_deterministic as check_evaluation_is_deterministic
from .laws import check_long_window_is_finite as check_long_window_is_finite
from .laws import check_state_dict_restores_the_layer as check_state_dict_restores_the_layer
from .laws import check_state_is_passed as check_state_is_passed
from .laws import check_two_windows_equal_one as check_two_windows_equal_one
from .laws import check_window_equals_steps as check_window_equals_steps
from .laws import check_wrong_shapes_are_refused as check_wrong_shapes_are_refused
from .recurrent import check_recurrent_layer as check_recurrent_layer
