"""The windows of a pass against lists cut by hand, over a grid of sizes."""

import itertools
from collections import Counter

import numpy as np
import pytest

from refrain.data import Windows
from refrain.errors import DataError, UserError


class Memory:
    """Tokens in memory, with the three things that Windows asks of a token file."""

    def __init__(self, tokens):
        self.tokens = np.array(tokens, dtype=np.uint16)
        self.released = 0

    def __len__(self):
        return len(self.tokens)

    def read(self, start, stop):
        return self.tokens[start:stop]

    def release(self):
        self.released += 1


def by_hand(tokens, batch_size, window_steps, tail):
    """Lists of (inputs, targets), each a list of columns."""
    length = len(tokens) // batch_size
    columns = [tokens[index * length : (index + 1) * length] for index in range(batch_size)]
    windows = []
    for first in range(0, length - 1, window_steps):
        steps = min(window_steps, length - 1 - first)
        if steps == window_steps or tail == "keep":
            inputs = [column[first : first + steps] for column in columns]
            targets = [column[first + 1 : first + steps + 1] for column in columns]
            windows.append((inputs, targets))
    return windows


GRID = list(itertools.product([*range(1, 14), 25, 60], [1, 2, 3, 7], [1, 2, 5, 30], ["drop", "keep"]))


def test_the_grid_against_lists_cut_by_hand():
    outcomes = Counter()
    for count, batch_size, window_steps, tail in GRID:
        tokens = list(range(100, 100 + count))
        wanted = by_hand(tokens, batch_size, window_steps, tail)
        outcomes[bool(wanted)] += 1
        options = {"batch_size": batch_size, "window_steps": window_steps, "tail": tail}
        if not wanted:
            with pytest.raises(DataError, match="too few"):
                Windows(Memory(tokens), **options)
            continue
        windows = Windows(Memory(tokens), **options)
        assert len(windows) == len(wanted)
        assert windows.predicted == sum(len(column) for _, targets in wanted for column in targets)
        for (inputs, targets), (left, right) in zip(windows, wanted, strict=True):
            assert (inputs.T.tolist(), targets.T.tolist()) == (left, right)
    # both kinds are well represented, so that neither branch is empty
    assert min(outcomes.values()) > 100


def test_the_sizes_of_the_reference():
    # 929,589 tokens in 20 columns: (46,479 - 1) // 20 and // 35 windows, as the PTB tutorial counts them
    tokens = Memory(np.zeros(929_589))
    assert len(Windows(tokens, batch_size=20, window_steps=20)) == 2323
    assert len(Windows(tokens, batch_size=20, window_steps=35)) == 1327


@pytest.mark.parametrize(
    ("count", "tail", "needed"),
    # B parts of one window and one token more
    [(19, "drop", 20), (0, "drop", 20)],
)
def test_too_few_tokens_say_how_many_are_needed(count, tail, needed):
    options = {"batch_size": 4, "window_steps": 4, "tail": tail}
    with pytest.raises(DataError) as caught:
        Windows(Memory(range(count)), name="mine", **options)
    assert str(caught.value) == (
        f"mine: has {count} tokens, too few for batch_size=4 and window_steps=4, which need {needed}; "
        "lower one of them or give more text"
    )
    assert len(Windows(Memory(range(needed)), **options)) == 1


@pytest.mark.parametrize(
    ("options", "message"),
    # B parts of two tokens
    [
        ({"batch_size": 4}, "has 7 tokens, too few for batch_size=4, which needs 8; lower it or give more text"),
        (
            {"batch_size": 4, "batch_name": "streams"},
            "has 7 tokens, too few for streams=4, which needs 8; lower it or give more text",
        ),
        ({"batch_size": 1}, "has 1 token, too few; give a text of at least 2 tokens"),
    ],
)
def test_a_window_of_any_length_needs_two_tokens_of_each_part(options, message):
    needed = 2 * options["batch_size"]
    with pytest.raises(DataError) as caught:
        Windows(Memory(range(needed - 1)), window_steps=4, tail="keep", name="mine", **options)
    assert str(caught.value) == f"mine: {message}"
    assert len(Windows(Memory(range(needed)), window_steps=4, tail="keep", **options)) == 1


def test_an_index_outside():
    windows = Windows(Memory(range(10)), batch_size=1, window_steps=3)
    for index in (-1, 3):
        with pytest.raises(IndexError):
            windows[index]


def test_a_window_is_a_copy_of_ids():
    source = Memory(range(10))
    inputs, targets = Windows(source, batch_size=2, window_steps=2)[0]
    assert (str(inputs.dtype), str(targets.dtype)) == ("torch.int64", "torch.int64")
    inputs += 1
    assert source.tokens.tolist() == list(range(10))


def test_pages_are_let_go_on_a_long_pass():
    source = Memory(np.zeros(2101))
    for _ in Windows(source, batch_size=1, window_steps=1):
        pass
    assert source.released == 2


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"window_steps": 0}, "window_steps must be at least 1 (got 0)"),
        ({"window_steps": -5}, "window_steps must be at least 1 (got -5)"),
        ({"batch_size": 0}, "batch_size must be at least 1 (got 0)"),
        ({"batch_size": 0, "batch_name": "streams"}, "streams must be at least 1 (got 0)"),
        ({"batch_size": 1.5}, "batch_size: must be a whole number (got 1.5)"),
        ({"tail": "Keep"}, "tail: must be one of drop, keep (got 'Keep')"),
    ],
)
def test_sizes_that_windows_cannot_have(changes, message):
    with pytest.raises(UserError) as raised:
        Windows(Memory(range(100)), **{"batch_size": 2, "window_steps": 5, **changes})
    assert str(raised.value) == message
