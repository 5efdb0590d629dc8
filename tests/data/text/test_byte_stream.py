"""Bytes of many files are one row: what is read equals a slice of the joined bytes, however few files may be open."""

import random

import numpy as np
import pytest

from refrain.data import ByteStream
from refrain.data.text import byte_stream
from refrain.data.text.byte_stream import _kept_maps
from refrain.data.text.files import Span
from refrain.errors import DataError


@pytest.fixture
def stretches(write):
    """Stretches of five files, one of them a single byte and one twice, and their bytes in a row."""
    draw = random.Random(5)
    spans, joined = [], b""
    for number, (size, start, stop) in enumerate([(9000, 0, 9000), (50, 7, 31), (1, 0, 1), (9000, 8999, 9000)]):
        content = draw.randbytes(size)
        spans.append(Span(write(f"{number}.bin", content), start, stop))
        joined += content[start:stop]
    return (*spans, spans[1]), joined + joined[9000:9024]


def test_every_slice(stretches):
    spans, joined = stretches
    stream = ByteStream(spans)
    assert len(stream) == len(joined) == 9050
    draw = random.Random(6)
    # every edge of a file and its neighbours, and places drawn at random
    places = sorted({0, 1, *range(8995, 9051), *(draw.randrange(9050) for _ in range(40))})
    for start in places:
        for stop in places:
            assert stream.read(start, stop).tobytes() == joined[start:stop]
    assert stream.read(9040, 20_000).tobytes() == joined[9040:]
    assert stream.read(9050, 9051).dtype == np.uint8


def test_few_files_are_open_at_once(write, monkeypatch):
    monkeypatch.setattr("refrain.data.text.byte_stream._kept_maps", lambda: 3)
    stream = ByteStream(tuple(Span(write(f"{number}", bytes([number])), 0, 1) for number in range(50)))
    for _ in range(2):
        assert stream.read(0, 50).tobytes() == bytes(range(50))
        # what was read keeps no map alive
        pieces = [stream.read(place, place + 1) for place in range(50)]
        assert np.concatenate(pieces).tobytes() == bytes(range(50))
        assert stream.read(3, 4).flags.owndata
        assert stream._file.cache_info().currsize == 3
    stream.release()
    assert stream._file.cache_info().currsize == 0
    assert stream.read(7, 9).tolist() == [7, 8]


@pytest.mark.parametrize(("allowed", "kept"), [(64, 16), (1024, 256), (1 << 20, 256), (8, 4), (None, 256)])
def test_how_many_files_may_be_open(monkeypatch, allowed, kept):
    # the streams of three splits take at most three quarters of what is allowed
    monkeypatch.setattr(byte_stream, "open_files_limit", lambda: allowed)
    assert _kept_maps() == kept


@pytest.mark.parametrize(
    ("now", "message"),
    [
        (None, r"a\.bin: cannot be read any more \(No such file or directory\); put the file back as it was"),
        (b"", r"a\.bin: cannot be read any more \(cannot mmap an empty file\)"),
        (b"short", r"a\.bin: has become shorter since it was found; put the file back as it was"),
    ],
)
def test_a_file_that_has_changed_since(write, now, message):
    path = write("a.bin", b"long enough")
    stream = ByteStream((Span(path, 0, 11),))
    path.unlink()
    if now is not None:
        write("a.bin", now)
    with pytest.raises(DataError, match=message):
        stream.read(0, 1)
