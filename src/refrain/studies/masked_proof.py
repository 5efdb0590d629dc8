"""The proof that a model without some units computes what it computes with these units set to zero."""

import copy
from collections.abc import Sequence

import torch
from torch import Tensor

from refrain.data import TokenSource
from refrain.errors import CheckpointError
from refrain.models import LanguageModel

TOLERANCE = 1e-5
# the number of tokens of real text that the proof reads, and its batch size
PROOF_TOKENS, PROOF_BATCH = 2000, 10


def differences(masked: LanguageModel, small: LanguageModel, tokens: TokenSource) -> dict[str, float]:
    """Return the differences that `prove` finds on the beginning of a text, by their names in the report."""
    ids = tokens.read(0, min(PROOF_TOKENS, len(tokens)))
    found = prove(masked, small, torch.from_numpy(ids.astype("int64")))
    return {"max_abs_difference": found[torch.float64], "float32_difference": found[torch.float32]}


@torch.no_grad()
def prove(masked: LanguageModel, small: LanguageModel, text: Tensor) -> dict[torch.dtype, float]:
    """Compare the log-probabilities of two models on random and on real text.

    Args:
        masked: the model with its dead units set to zero.
        small: the model without them.
        text: ids of real text (N,).

    Returns:
        The largest difference of log-probabilities in float32, where the order of a sum matters, and in float64.

    Raises:
        CheckpointError: when the difference in float64 is larger than 1e-5.
    """
    vocabulary = masked.widths()["vocabulary"]
    random = torch.randint(vocabulary, (50, PROOF_BATCH), generator=torch.Generator().manual_seed(1))
    batch_size = min(PROOF_BATCH, len(text))
    real = text[: len(text) // batch_size * batch_size].view(batch_size, -1).T
    found = {}
    for dtype in (torch.float32, torch.float64):
        one, other = (copy.deepcopy(model).to(dtype).eval() for model in (masked, small))
        found[dtype] = _largest([_difference(one, other, ids) for ids in (random, real)])
    if not found[torch.float64] <= TOLERANCE:
        raise CheckpointError(
            f"the smaller model does not compute the same as the masked one (off by {found[torch.float64]:.2g}); "
            "nothing was written; please report this"
        )
    return found


def _difference(one: LanguageModel, other: LanguageModel, ids: Tensor) -> float:
    """Return the largest difference of two models' log-probabilities after each of the ids (T, B)."""
    hidden = [model.hidden(ids, model.initial_state(ids.shape[1]))[0].dropped for model in (one, other)]
    chunks = zip(hidden[0].split(8), hidden[1].split(8), strict=True)
    head, smaller = one.head.log_probabilities, other.head.log_probabilities
    return _largest([float((head(a) - smaller(b)).abs().max()) for a, b in chunks])


def _largest(differences: Sequence[float]) -> float:
    """Return the largest difference, or NaN if one of them is NaN, which Python's `max` would pass over."""
    return float(torch.tensor(differences, dtype=torch.float64).max())
