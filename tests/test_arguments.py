"""What counts as a number, a choice, a text or a path, and what does not."""

import decimal
import fractions
import math
import pathlib

import numpy as np
import pytest
import torch

from refrain.arguments import at_least_one, check_choice, path_of, real_of, whole_of
from refrain.errors import UserError

# Python takes most of them for numbers
NONE = [True, np.bool_(True), torch.tensor(3), np.array(3), "3", b"3", None, [3]]


@pytest.mark.parametrize("given", [3, np.int64(3), np.uint8(3)])
def test_whole_numbers_become_plain_ones(given):
    assert whole_of(given, "n") == 3 and type(whole_of(given, "n")) is int
    assert at_least_one(given, "n") == 3


@pytest.mark.parametrize("given", [*NONE, 3.0, np.float32(3)])
def test_what_is_no_whole_number(given):
    with pytest.raises(UserError, match=r"^n: must be a whole number \(got .*\)$"):
        whole_of(given, "n")


@pytest.mark.parametrize("given", [0.5, np.float32(0.5), decimal.Decimal("0.5"), fractions.Fraction(1, 2)])
def test_numbers_become_plain_ones(given):
    assert real_of(given, "x") == 0.5 and type(real_of(given, "x")) is float


@pytest.mark.parametrize("given", [*NONE, torch.tensor(0.5), np.array(0.5), 1j])
def test_what_is_no_number(given):
    with pytest.raises(UserError, match=r"^x: must be a number \(got .*\)$"):
        real_of(given, "x")


def test_a_number_too_large_for_a_float_is_infinite():
    assert [real_of(sign * 10**400, "x") for sign in (1, -1)] == [math.inf, -math.inf]


@pytest.mark.parametrize("given", [0, -5])
def test_a_number_below_one(given):
    with pytest.raises(UserError, match=rf"^n must be at least 1 \(got {given}\)$"):
        at_least_one(given, "n")


@pytest.mark.parametrize("given", ["C", "ab", None, 1, ["a"], torch.tensor([1, 2])])
def test_what_is_none_of_some_words(given):
    check_choice("word", "a", ("a", "b"))
    with pytest.raises(UserError, match=r"^word: must be one of a, b \(got .*\)$"):
        check_choice("word", given, ("a", "b"))


def test_a_choice_that_may_be_left_out():
    check_choice("word", None, ("a", "b"), optional=True)
    with pytest.raises(UserError, match="must be one of"):
        check_choice("word", "c", ("a", "b"), optional=True)


@pytest.mark.parametrize(
    ("given", "shown"),
    [(None, "None"), (3, "3"), (["a"], "['a']"), (b"a", "b'a'"), (torch.nn.ReLU(), "an object of the class ReLU")],
)
def test_what_is_no_path(given, shown):
    assert path_of("a/b", "out") == path_of(pathlib.Path("a/b"), "out") == pathlib.Path("a/b")
    with pytest.raises(UserError) as raised:
        path_of(given, "out")
    assert str(raised.value) == f"out: must be a path (got {shown})"
