"""JSON from elsewhere is read within limits, and each mistake is a ValueError."""

import time

import pytest

from refrain.storage.plain_json import DEPTH, DIGITS, dumps, loads


@pytest.mark.parametrize("data", [{"a": [1, 2.5, None, True, "é"]}, [], 10**DIGITS - 1, -5, "[[[" * 100])
def test_what_is_written_is_read(data):
    assert loads(dumps(data)) == data == loads(dumps(data).encode())


def nested(levels):
    return "[" * levels + "]" * levels


def test_the_limits_are_exact():
    assert loads(nested(DEPTH)) is not None
    assert loads(f"[{', '.join(['[]'] * 1000)}]") == [[]] * 1000
    with pytest.raises(ValueError, match=f"nested more than {DEPTH} levels"):
        loads(nested(DEPTH + 1))
    with pytest.raises(ValueError, match=f"number of {DIGITS + 1} digits"):
        loads("1" * (DIGITS + 1))


@pytest.mark.parametrize(
    "text",
    [
        nested(1_000_000),
        '{"a":' * 1_000_000,
        "1" * 1_000_000,
        f"[{'1' * 1_000_000}, -{'1' * 1_000_000}]",
        b"\xff",
        "",
        "{",
        "\ufeff{}",
    ],
    ids=["lists", "objects", "digits", "numbers", "bytes", "empty", "open", "mark"],
)
def test_what_is_no_plain_json_is_a_short_error_at_once(text):
    started = time.process_time()
    with pytest.raises(ValueError) as failure:
        loads(text)
    assert len(str(failure.value)) < 200 and time.process_time() - started < 1


def test_numbers_with_many_digits_behind_the_point_are_read_at_once():
    started = time.process_time()
    assert loads("0." + "1" * 1_000_000) == pytest.approx(1 / 9)
    assert loads("1e" + "9" * 1_000_000) == float("inf")
    assert time.process_time() - started < 1
