"""Counts on public corpora, where they are at hand. Those of PTB and WikiText-2 are published with the corpora."""

import hashlib

import pytest

from refrain.assembly import build_corpus
from refrain.config import Data
from refrain.data import Windows
from refrain.data.known import KNOWN
from refrain.evaluation import protocol_windows
from refrain.recipes import recipe

pytestmark = pytest.mark.data

FOLDERS = {
    "ptb": "ptb",
    "wikitext-2": "wikitext2",
    "tiny-shakespeare": "tinyshakespeare",
    "ud-english-ewt": "ud_en_ewt",
}


@pytest.fixture(scope="module")
def ptb(shared_data):
    return build_corpus(Data(corpus=str(shared_data / "ptb")))


def sizes(corpus):
    return [len(split.tokens) for split in corpus.splits.values()]


def test_ptb(ptb):
    assert sizes(ptb) == [929_589, 73_760, 82_430]
    assert [split.lines for split in ptb.splits.values()] == [42_068, 3_370, 3_761]
    assert [split.unseen for split in ptb.splits.values()] == [0, 0, 0]
    assert len(ptb.vocabulary) == 10_000


def test_windows_of_the_zaremba_recipes(ptb):
    # N // 20 tokens a column; (46,479 - 1) // 20 and // 35, (3,688 - 1) // 20 and // 35
    for name, train, valid in (
        ("zaremba-small", 2323, 184),
        ("zaremba-medium", 1327, 105),
        ("zaremba-large", 1327, 105),
    ):
        settings = recipe(name).training
        size = {"batch_size": settings.batch_size, "window_steps": settings.window_steps, "tail": settings.windows.tail}
        assert len(Windows(ptb.splits["train"].tokens, **size)) == train
        windows = protocol_windows(
            ptb.splits["valid"].tokens, settings.validation, split="valid", window_steps=settings.window_steps
        )
        assert len(windows) == valid
        assert windows.predicted == valid * settings.window_steps * 20


def test_wikitext_2(shared_data):
    corpus = build_corpus(Data(corpus=str(shared_data / "wikitext2")))
    assert sizes(corpus) == [2_088_628, 217_646, 245_569]
    assert len(corpus.vocabulary) == 33_278


def test_tiny_shakespeare(shared_data):
    corpus = build_corpus(Data(corpus=str(shared_data / "tinyshakespeare" / "input.txt"), unit="byte"))
    assert sum(sizes(corpus)) == 1_115_394


@pytest.mark.parametrize("name", FOLDERS)
def test_the_known_hashes_are_those_of_the_files(shared_data, name):
    for remote in KNOWN[name].files:
        content = (shared_data / FOLDERS[name] / remote.name).read_bytes()
        assert hashlib.sha256(content).hexdigest() == remote.sha256
