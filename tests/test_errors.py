"""How messages write what went wrong."""

import pytest

from refrain.errors import quantity


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        ((0, "line"), "0 lines"),
        ((1, "line"), "1 line"),
        ((2000, "line"), "2,000 lines"),
        ((1, "index", "indices"), "1 index"),
        ((2, "index", "indices"), "2 indices"),
    ],
)
def test_a_number_with_its_noun(words, wanted):
    assert quantity(*words) == wanted
