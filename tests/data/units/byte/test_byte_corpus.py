"""A corpus of bytes is its files: nothing copied, nothing lost, nothing twice, and the next byte is the target."""

import hashlib
import random
import subprocess
import sys

import numpy as np
import pytest
import torch
from blocked_modules import lacks

from refrain.assembly import build_corpus, build_text
from refrain.config import Data
from refrain.data import ByteVocabulary, Windows, open_byte_corpus
from refrain.data.text.files import Span, sha256_of, whole
from refrain.data.units.byte.corpus import SAMPLE_BYTES, SAMPLES, fingerprint
from refrain.errors import UserError


@pytest.fixture
def own_cache(tmp_path, monkeypatch):
    """A cache that holds nothing yet."""
    monkeypatch.setenv("REFRAIN_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def build(path, **settings):
    return build_corpus(Data(corpus=str(path), unit="byte", **settings))


def content(split):
    return split.tokens.read(0, len(split.tokens)).tobytes()


def write_shards(write, count, *, bytes_each, seed):
    draw = random.Random(seed)
    blocks = [draw.randbytes(draw.randint(1, bytes_each)) for _ in range(count)]
    for number, block in enumerate(blocks):
        folder = write(f"shards/part-{number:04d}.bin", block).parent
    return folder, b"".join(blocks)


def test_bytes_are_their_own_tokens(write, own_cache):
    spans = {"train": whole(write("train", b"a\xffb\n\n")), "valid": whole(write("valid", b"\x00"))}
    corpus = open_byte_corpus("bytes", spans)
    assert isinstance(corpus.vocabulary, ByteVocabulary)
    assert {name: content(split) for name, split in corpus.splits.items()} == {"train": b"a\xffb\n\n", "valid": b"\x00"}
    assert [(split.lines, split.unseen) for split in corpus.splits.values()] == [(None, 0)] * 2
    assert not own_cache.exists()


@pytest.mark.parametrize("shares", [(0.9, 0.05), (0.5, 0.2), (0.6, 0.4)])
def test_splits_cover_the_text_without_overlap(write, shares):
    folder, joined = write_shards(write, 40, bytes_each=300, seed=1)
    for path in (folder, folder / "part-*.bin"):
        corpus = build(path, split=shares)
        parts = {name: content(split) for name, split in corpus.splits.items()}
        assert b"".join(parts.values()) == joined
        assert ("test" in parts) == (sum(shares) < 1)
        assert len(parts["train"]) == round(len(joined) * shares[0])
        for name, part in parts.items():
            # each part on its own, as evaluation reads it
            text, found = build_text(Data(unit="byte", split=shares), path, name, None)
            assert (found, content(text.splits[name])) == (name, part)
    text, found = build_text(Data(unit="byte"), folder, None, None)
    assert (found, content(text.splits["all"])) == ("all", joined)


@pytest.mark.parametrize(("batch_size", "window_steps"), [(1, 7), (3, 64), (32, 11), (7, 500)])
def test_the_target_is_the_next_byte(write, batch_size, window_steps):
    """Over all windows of an epoch: columns of the stream, in order, and targets one byte further, across files."""
    folder, joined = write_shards(write, 60, bytes_each=400, seed=2)
    train = build(folder).splits["train"]
    stream = torch.from_numpy(np.frombuffer(joined, np.uint8).astype(np.int64))
    column = len(train.tokens) // batch_size
    windows = Windows(train.tokens, batch_size=batch_size, window_steps=window_steps, tail="keep")
    inputs, targets = (torch.cat(parts) for parts in zip(*windows, strict=True))
    for number in range(batch_size):
        start = number * column
        assert torch.equal(inputs[:, number], stream[start : start + column - 1])
        assert torch.equal(targets[:, number], stream[start + 1 : start + column])
    # the column ends where the next begins, so nothing but the remainder of the division is left out
    assert batch_size * column > len(train.tokens) - batch_size


def test_named_splits_are_read_apart(write):
    for split in ("train", "valid", "test"):
        for number in range(3):
            folder = write(f"corpus/{split}-{number}.bin", f"{split} {number};".encode()).parent
    corpus = build(folder)
    for name, split in corpus.splits.items():
        assert content(split) == b"".join(f"{name} {number};".encode() for number in range(3))
        assert split.sha256 == hashlib.sha256(content(split)).hexdigest()
        assert len(split.source) == 3
    with pytest.raises(UserError, match=r"data\.split: cannot take effect, .*corpus has a file for each split"):
        build(folder, split=(0.8, 0.1))
    # text to be measured may be laid out as it likes
    text, found = build_text(Data(unit="byte", split=(0.8, 0.1)), folder, None, None)
    assert found == "test" and content(text.splits["test"]).startswith(b"test 0;")


def test_words_take_shares_too(write, own_cache):
    path = write("plain.txt", "".join(f"w{number}\n" for number in range(20)))
    corpus = build_corpus(Data(corpus=str(path), split=(0.5, 0.25)))
    assert [split.lines for split in corpus.splits.values()] == [10, 5, 5]
    assert list(build_corpus(Data(corpus=str(path), split=(0.5, 0.5))).splits) == ["train", "valid"]
    for split in ("train", "valid"):
        folder = write(f"folder/{split}.txt", "a\n").parent
    with pytest.raises(UserError, match=r"data\.split: cannot take effect"):
        build_corpus(Data(corpus=str(folder), split=(0.5, 0.25)))
    pattern = build_corpus(Data(corpus=str(path.parent / "p*.txt"), split=(0.5, 0.25)))
    assert [split.lines for split in pattern.splits.values()] == [10, 5, 5]


def test_reviews_stay_whole(write, own_cache):
    """With cleaning, a cut in the midst of a document moves to the next one."""
    draw = random.Random(4)
    reviews = [bytes(draw.choices(b"abc", k=draw.randint(1, 80))) for _ in range(300)]
    for number in range(3):
        folder = write(f"reviews/{number}.txt", b"\n".join(reviews[number * 100 : (number + 1) * 100]) + b"\n").parent
    corpus = build(folder, cleaning="reviews")
    parts = [content(split) for split in corpus.splits.values()]
    assert b"".join(parts) == b"".join(b"\n " + review + b" " for review in reviews)
    assert all(part.startswith(b"\n ") and part.endswith(b" ") for part in parts)
    assert [len(split.source) for split in corpus.splits.values()] == [3, 1, 1]


def test_a_long_text_is_known_by_samples(write, monkeypatch):
    monkeypatch.setattr("refrain.data.units.byte.corpus.WHOLE_BYTES", 1000)
    draw = random.Random(3)
    # three times as long as its samples, in two files
    text = bytearray(draw.randbytes(SAMPLES * SAMPLE_BYTES // 8) * 24)
    cut = len(text) // 3

    def known_by(text):
        spans = whole(write("a", bytes(text[:cut]))) + whole(write("b", bytes(text[cut:])))
        return fingerprint(spans)

    first = known_by(text)
    assert first.startswith("sampled:") and len(first) == len("sampled:") + 64
    path = write("whole", bytes(text))
    assert fingerprint(whole(path)) == first
    for place in (0, -1, SAMPLE_BYTES - 1):
        changed = bytearray(text)
        changed[place] ^= 1
        assert known_by(changed) != first
    assert known_by(text + b"x") != first
    # between the first two samples, what the docstring owns up to
    step = (len(text) - SAMPLE_BYTES) // (SAMPLES - 1)
    changed = bytearray(text)
    changed[(SAMPLE_BYTES + step) // 2] ^= 1
    assert known_by(changed) == first
    short = (Span(path, 5, 1005),)
    assert fingerprint(short) == sha256_of(short) == hashlib.sha256(text[5:1005]).hexdigest()


# the peak of this program alone: getrusage would count that of the process it was started from
SPARSE = """
import pathlib
import re
from refrain.assembly import build_corpus
from refrain.config import Data
from refrain.data import Windows

corpus = build_corpus(Data(corpus="sparse", unit="byte"))
windows = Windows(corpus.splits["train"].tokens, batch_size=32, window_steps=256)
for index in range(1500):
    inputs, targets = windows[index]
assert int(inputs.sum()) == int(targets.sum()) == 0
peak = re.search(r"VmHWM:\\s+(\\d+) kB", pathlib.Path("/proc/self/status").read_text())
print(len(windows), peak[1])
"""


@pytest.mark.skipif(sys.platform != "linux", reason="files elsewhere may not have holes")
def test_ten_gigabytes_take_little_memory(tmp_path, own_environment):
    with (tmp_path / "sparse").open("wb") as file:
        file.truncate(10_000_000_000)
    done = subprocess.run(
        [sys.executable, "-c", SPARSE],
        cwd=tmp_path,
        env=own_environment,
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    count, kilobytes = map(int, done.stdout.split())
    # 9,000,000,000 bytes in 32 columns, each of which predicts all but its first
    assert count == (9_000_000_000 // 32 - 1) // 256
    assert kilobytes < 600_000


MANY = """
import resource

resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
from refrain.assembly import build_corpus
from refrain.config import Data
from refrain.data import Windows

corpus = build_corpus(Data(corpus="shards/*.bin", unit="byte", split=(0.4, 0.3)))
for split in corpus.splits.values():
    # more columns than files may be open
    for inputs, targets in Windows(split.tokens, batch_size=100, window_steps=20):
        pass
print(sum(len(split.source) for split in corpus.splits.values()))
"""


@pytest.mark.skipif(lacks("resource"), reason="the limit of open files cannot be set or read")
def test_three_hundred_shards_need_few_open_files(write, tmp_path, own_environment):
    write_shards(write, 300, bytes_each=600, seed=5)
    done = subprocess.run(
        [sys.executable, "-c", MANY],
        cwd=tmp_path,
        env=own_environment,
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    # a file that holds a cut is in two splits
    assert 300 <= int(done.stdout) <= 302


def test_bytes_that_are_no_text_have_their_ids():
    vocabulary = ByteVocabulary()
    assert vocabulary.encode("a\udcffé") == [97, 255, 195, 169]
    assert len(vocabulary.pieces("a\udcffé")) == 4
    with pytest.raises(UserError, match=r"U\+D800 is half of a surrogate pair and no character; leave it out"):
        vocabulary.encode("a\ud800")
