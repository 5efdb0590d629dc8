"""How well a trained model predicts text or tags it, and what a probe can read from its states."""

from typing import TYPE_CHECKING

from refrain._lazy import lazily

from .methods import Cache as Cache
from .methods import Dynamics as Dynamics

if TYPE_CHECKING:
    from .dynamic import GradientStatistics as GradientStatistics
    from .dynamic import evaluate_dynamically as evaluate_dynamically
    from .dynamic import gather_statistics as gather_statistics
    from .neural_cache import evaluate_with_cache as evaluate_with_cache
    from .per_token import TokenRow as TokenRow
    from .per_token import token_rows as token_rows
    from .per_token import write_token_table as write_token_table
    from .perplexity import Figure as Figure
    from .perplexity import evaluate as evaluate
    from .perplexity import protocol_windows as protocol_windows
    from .perplexity import stream_nats as stream_nats
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
            "LineScore": "score",
            "SurprisalRow": "surprisal",
            "TokenRow": "per_token",
            "best_unit": "probe",
            "evaluate": "perplexity",
            "evaluate_dynamically": "dynamic",
            "evaluate_with_cache": "neural_cache",
            "fit_logistic": "probe",
            "gather_statistics": "dynamic",
            "mcnemar": "probe",
            "protocol_windows": "perplexity",
            "score_lines": "score",
            "stream_nats": "perplexity",
            "surprisal_rows": "surprisal",
            "token_rows": "per_token",
            "write_token_table": "per_token",
        },
    )
