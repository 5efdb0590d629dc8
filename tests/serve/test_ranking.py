"""The order of the most probable tokens, where several are equally probable."""

import pytest
import torch

from refrain.serve import serve_model
from refrain.serve.ranking import most_probable

V = 300


class Words(list):
    """The tokens of a vocabulary without an unknown one."""

    unknown = None

    def continuation(self, prompt, ids):
        return (self[index] for index in ids)


def ranked(row, count):
    """The ids and values by a sort in Python."""
    return sorted(enumerate(row.tolist()), key=lambda each: (-each[1], each[0]))[:count]


def rows_with_ties():
    """Rows in which all, many, few and no values are equal; the last has impossible tokens."""
    draw = torch.Generator().manual_seed(0)
    rows = [torch.randint(0, size, [V], generator=draw).float() for size in (1, 3, 40)]
    rows += [torch.randperm(V, generator=draw).float(), torch.full([V], -torch.inf).index_fill(0, torch.tensor([9]), 0)]
    return torch.stack(rows)


@pytest.mark.parametrize("count", [1, 2, 7, 100, V - 1, V, V + 5])
def test_the_smaller_id_comes_first(count):
    rows = rows_with_ties()
    values, ids = most_probable(rows, count)
    assert values.shape == ids.shape == (len(rows), min(count, V))
    for row, row_ids, row_values in zip(rows, ids.tolist(), values.tolist(), strict=True):
        assert list(zip(row_ids, row_values, strict=True)) == ranked(row, count)


def test_values_that_are_not_numbers_come_first():
    row = torch.tensor([1.0, 2.0, torch.nan, 2.0, 0.0, 2.0])
    _, (ids,) = most_probable(row[None], 3)
    assert ids.tolist() == [2, 1, 3]


def test_candidates_do_not_depend_on_the_requests_of_others(lm):
    model = serve_model("words", lm)
    size = len(lm.vocabulary)
    row = torch.arange(size).remainder(2).float().log_softmax(0)
    expected = ranked(row, size)
    for others in range(size + 1):
        for count in range(1, size + 1):
            _, found = model.best(torch.stack([row, row]), [others, count])
            assert found == expected[:count] == model.candidates(row, count)


def test_candidates_with_a_beginning_are_ordered_by_id(lm):
    model = serve_model("words", lm)
    model.vocabulary = Words(["bc", "ab", "b", "aa", "ba", "a"])
    for count in (1, 2, 3, 9):
        found = model.candidates(torch.zeros(6), count, beginning="b")
        assert [each.token_id for each in found] == [0, 2, 4][:count]
    assert model.candidates(torch.zeros(6), 2, beginning="c") == []
