"""Random damage to files, words and text: a result or a UserError, never another exception."""

import random
import string
from collections import Counter

import pytest

from refrain.assembly import build_corpus
from refrain.config import Data, Experiment, TaggerExperiment
from refrain.data import Windows
from refrain.data.text.files import blocks
from refrain.errors import DataError, UserError
from refrain.recipes import RECIPES, recipe

ROUNDS = 100
RECIPE = b"""# a recipe
extends = "zaremba-small"
name = "fuzz"
[data]
corpus = "x"
min_count = 2
[model]
hidden_sizes = [20, 30]
dropout = 0.5
[training]
epochs = 3
schedule = {kind = "exponential", hold_epochs = 1, decay = 0.5}
learning_rate = 1e-3
"""
# mostly what TOML is made of
ALPHABET = [*string.printable.encode() * 5, *range(256)]
WORDS = [
    ["recipes", "quickstart", "--json"],
    ["check", "zaremba-small", "training.epochs=3", "model.hidden_sizes=[20,30]", "--data", "gone"],
    ["check", "quickstart", "training.schedule=cosine", "model.dropout=0.5", "--data", "gone", "--json"],
    ["evaluate", "gone", "--split", "valid", "--protocol", "exact"],
    ["generate", "gone", "--tokens", "3", "--temperature", "0.5", "--top-k", "3", "--seed", "1"],
    ["data", "check", "gone", "--unit", "word", "--min-count", "2"],
]


def mutated(draw, content, alphabet, most=4):
    """One to `most` random insertions, deletions, replacements and doublings."""
    content = list(content)
    for _ in range(draw.randint(1, most)):
        at = draw.randrange(len(content) + 1)
        match draw.randrange(4):
            case 0:
                content[at:at] = draw.choices(alphabet, k=draw.randint(1, 3))
            case 1:
                del content[at : at + draw.randint(1, 8)]
            case 2:
                content[at : at + 1] = draw.choices(alphabet, k=1)
            case 3:
                content[at:at] = content[at : at + draw.randint(1, 30)]
    return content


def test_recipe_files(write):
    outcomes = Counter()
    for seed in range(ROUNDS):
        draw = random.Random(seed)
        path = write("mine.toml", bytes(mutated(draw, RECIPE, ALPHABET, most=2)))
        try:
            assert isinstance(recipe(str(path)), Experiment)
            outcomes["fine"] += 1
        except UserError as error:
            assert str(error)
            outcomes["mistake"] += 1
    # the damage is neither too little nor too much to reach into the program
    assert min(outcomes["fine"], outcomes["mistake"]) > 2


@pytest.mark.parametrize("start", range(0, ROUNDS, 25))
def test_command_line_words(refrain, tmp_path, monkeypatch, start):
    monkeypatch.chdir(tmp_path)
    for seed in range(start, start + 25):
        draw = random.Random(seed)
        words = list(draw.choice(WORDS))
        # the command itself stays, so that no damage to a word trains, fetches or measures
        at = draw.randrange(2 if words[0] == "data" else 1, len(words))
        words[at] = "".join(mutated(draw, words[at], string.printable + "é日"))
        outcome = refrain(*words)
        assert outcome.status in (0, 2, 3, 4), words
        assert bool(outcome.complaints) == (outcome.status != 0), words
    assert list(tmp_path.iterdir()) == []


def test_settings():
    names = ["training.epochs", "model.hidden_sizes", "data.corpus", "training.schedule.kind", "name", "model.tied"]
    names += ["model.head", "model.head.components", "model.cell.plan.layers", "sparsity.l1", "sparsity.l1.strength"]
    values = [
        "mixture",
        "3",
        "[1,2]",
        "x",
        "1e400",
        "-0.0",
        "{a=1}",
        "2020-01-01",
        "12:00:00",
        "'x",
        "nan",
        "none",
        "[[]]",
        "\n",
    ]
    for seed in range(ROUNDS):
        draw = random.Random(seed)
        word = "".join(mutated(draw, f"{draw.choice(names)}={draw.choice(values)}", string.printable))
        try:
            assert isinstance(recipe(draw.choice(list(RECIPES)), word), Experiment | TaggerExperiment)
        except UserError as error:
            assert str(error)


@pytest.mark.parametrize("start", range(0, ROUNDS, 25))
def test_corpora(write, start, tmp_path, monkeypatch):
    monkeypatch.setenv("REFRAIN_CACHE", str(tmp_path / "cache"))
    text = "the cat sat on the mat\n\nthe <unk> dog é 日本 ran\n".encode() * 3
    for seed in range(start, start + 25):
        draw = random.Random(seed)
        content = bytes(mutated(draw, text[: draw.randrange(len(text))], [10, 13, 32, 0, *range(256)]))
        path = write("text.txt", content)
        options = draw.choice([{"unit": "byte"}, {}, {"min_count": 2}, {"errors": "replace", "max_words": 4}])
        try:
            corpus = build_corpus(Data(corpus=str(path), **options))
            split = corpus.splits["train"]
            if corpus.vocabulary.unit == "word":
                assert len(split.tokens) == len(list(corpus.spellings("train")))
                assert split.lines == sum(text.count("\n") for text in blocks(split.source, corpus.errors))
            else:
                assert bytes(split.tokens.read(0, len(content))) == content[: len(split.tokens)]
            assert int(split.tokens.read(0, len(split.tokens)).max()) < len(corpus.vocabulary)
            Windows(split.tokens, batch_size=4, window_steps=3)
        except DataError as error:
            assert str(error)
