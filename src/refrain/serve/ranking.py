"""The most probable tokens, in an order that does not depend on how many are requested."""

from torch import Tensor


def most_probable(rows: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The most probable tokens of each sequence of a batch; of equally probable ones, the smaller id comes first.

    The first n of `count` tokens are those that `most_probable(rows, n)` returns, so that requests for different
    numbers share one search. `torch.topk` does not have this property: it may keep any of several equal values.

    Args:
        rows: the log-probabilities (B, V) of the tokens.
        count: the number of tokens, at least 1; there are fewer where V is smaller.

    Returns:
        The log-probabilities and the ids, each (B, min(count, V)).
    """
    # one more shows whether the last value is shared with tokens that were left out
    values, ids = rows.topk(min(count + 1, rows.shape[1]))
    tied = (values[:, 1:] == values[:, :-1]).any(1)
    values, ids = values[:, :count], ids[:, :count]
    for index, has_equal in enumerate(tied.tolist()):
        if has_equal:
            row = rows[index]
            # not `>=`: NaN, which topk puts first, is kept
            kept = (~(row < values[index, -1])).nonzero().flatten()
            ordered = row[kept].sort(descending=True, stable=True)
            values[index] = ordered.values[:count]
            ids[index] = kept[ordered.indices[:count]]
    return values, ids
