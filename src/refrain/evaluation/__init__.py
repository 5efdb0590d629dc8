"""How well a trained model predicts text or tags it, and what a probe can read from its states."""

from typing import TYPE_CHECKING

from refrain._lazy import lazily

from .methods import Cache as Cache
from .methods import Dynamics as Dynamics
from .methods import Match as Match

if TYPE_CHECKING:
    from .dynamic import GradientStatistics as GradientStatistics
    from .dynamic import evaluate_dynamically as evaluate_dynamically
    from .dynamic import gather_statistics as gather_statistics
    from .edit_distance import word_errors as word_errors
    from .longest_match import LongestMatch as LongestMatch
    from .minimal_pairs import MinimalPair as MinimalPair
    from .minimal_pairs import PairScore as PairScore
    from .minimal_pairs import score_pairs as score_pairs
    from .nbest import Hypothesis as Hypothesis
    from .nbest import NBest as NBest
    from .nbest import Rescored as Rescored
    from .nbest import rescore as rescore
    from .nbest import tune_scale as tune_scale
    from .neural_cache import evaluate_with_cache as evaluate_with_cache
    from .per_token import TokenRow as TokenRow
    from .per_token import token_rows as token_rows
    from .per_token import write_token_table as write_token_table
    from .perplexity import Figure as Figure
    from .perplexity import evaluate as evaluate
    from .perplexity import protocol_windows as protocol_windows
    from .perplexity import stream_nats as stream_nats
    from .prefix_tree import TreeScores as TreeScores
    from .prefix_tree import score_prefix_tree as score_prefix_tree
    from .probe import best_unit as best_unit
    from .probe import fit_logistic as fit_logistic
    from .probe import mcnemar as mcnemar
    from .score import LineScore as LineScore
    from .score import score_lines as score_lines
    from .surprisal import SurprisalRow as SurprisalRow
    from .surprisal import surprisal_rows as surprisal_rows
else:
    __getattr__, __dir__ = lazily(
        __name__,
        {
            "Figure": "perplexity",
            "GradientStatistics": "dynamic",
            "Hypothesis": "nbest",
            "LineScore": "score",
            "LongestMatch": "longest_match",
            "MinimalPair": "minimal_pairs",
            "NBest": "nbest",
            "PairScore": "minimal_pairs",
            "Rescored": "nbest",
            "SurprisalRow": "surprisal",
            "TokenRow": "per_token",
            "TreeScores": "prefix_tree",
            "best_unit": "probe",
            "evaluate": "perplexity",
            "evaluate_dynamically": "dynamic",
            "evaluate_with_cache": "neural_cache",
            "fit_logistic": "probe",
            "gather_statistics": "dynamic",
            "mcnemar": "probe",
            "protocol_windows": "perplexity",
            "rescore": "nbest",
            "score_lines": "score",
            "score_pairs": "minimal_pairs",
            "score_prefix_tree": "prefix_tree",
            "stream_nats": "perplexity",
            "surprisal_rows": "surprisal",
            "token_rows": "per_token",
            "tune_scale": "nbest",
            "word_errors": "edit_distance",
            "write_token_table": "per_token",
        },
    )
