"""Words, features and tags by id; batches of sentences; words hidden at random."""

from collections import Counter

import numpy as np
import pytest
import torch

from refrain.data import PADDING
from refrain.data.tagged.buckets import MOST_PLACES, cut, encode_sentences, hide_words, in_order, shuffled
from refrain.data.tagged.sentences import Sentence
from refrain.data.tagged.vocabulary import (
    FeatureKinds,
    TagVocabulary,
    build_tag_vocabulary,
    shape_of,
    tag_vocabulary_from,
)
from refrain.errors import DataError, UserError

KINDS = FeatureKinds(lower_case=True, prefixes=2, suffixes=3, shapes=True)
COUNTS = Counter({"the": 5, "Cat": 2, "sat": 1})


def build(**more):
    return build_tag_vocabulary(COUNTS, {"N", "D"}, **more)


def test_features_of_a_word():
    assert KINDS.of("Cats") == [
        "lower:cats", "prefix1:C", "prefix2:Ca", "suffix1:s", "suffix2:ts", "suffix3:ats", "shape:Xx",
    ]  # fmt: skip
    assert len(KINDS.of("a")) == len(KINDS.of("Cats"))
    assert FeatureKinds().of("Cats") == []


@pytest.mark.parametrize(
    ("word", "shape"),
    [
        ("Word", "Xx"),
        ("WORD", "X"),
        ("3.14", "d.d"),
        ("e-mail", "x-x"),
        ("...", "."),
        ("Éa", "Xx"),
        ("a1" * 9, "xdxdxdxd"),
    ],
)
def test_shapes(word, shape):
    assert shape_of(word) == shape


def test_orders_and_the_place_of_the_unknown_word():
    assert build().words == ["the", "Cat", "sat", "<unk>"]
    assert build(order="ascending").words == ["<unk>", "sat", "Cat", "the"]
    # drawn three times in the place of others, it stands between
    assert build(order="ascending", unknown_count=3).words == ["sat", "Cat", "<unk>", "the"]
    assert build(min_count=2).words == ["the", "Cat", "<unk>"]
    assert build().tags == ["D", "N"]


def test_rare_words_were_seen_and_have_no_id():
    vocabulary = build(min_count=2)
    assert vocabulary.saw("sat") and vocabulary.saw("the")
    assert not vocabulary.saw("dog") and not vocabulary.saw("<unk>")
    assert vocabulary.encode(["sat"]).tolist() == [[vocabulary.unknown]]


def test_features_of_few_words_share_an_id():
    vocabulary = build(kinds=KINDS, feature_min_count=2)
    # beside <rare>: the endings of Cat and sat, and the shape of the and sat
    assert vocabulary.features == ["<rare>", "shape:x", "suffix1:t", "suffix2:at"]
    row = dict(zip(["word", *KINDS.of("bat")], vocabulary.encode(["bat"])[0].tolist(), strict=True))
    assert row == {
        "word": vocabulary.unknown, "lower:bat": 0, "prefix1:b": 0, "prefix2:ba": 0, "suffix1:t": 2, "suffix2:at": 3,
        "suffix3:bat": 0, "shape:x": 1,
    }  # fmt: skip


def test_the_document_is_read_back_and_others_are_refused():
    vocabulary = build(kinds=KINDS, min_count=2)
    again = tag_vocabulary_from(vocabulary.document())
    assert again.document() == vocabulary.document()
    assert again.saw("sat") and again.kinds == KINDS
    for wrong in (
        {},
        {"unit": "word", "words": []},
        {**vocabulary.document(), "tags": []},
        vocabulary.document() | {"kinds": {}},
    ):
        with pytest.raises(DataError, match="vocabulary"):
            tag_vocabulary_from(wrong)
    with pytest.raises(ValueError, match="<unk> among the words"):
        TagVocabulary(["a"], ["X"])


def test_a_string_is_no_list_of_words():
    with pytest.raises(UserError, match=r"^words: a sentence is a list of words; .* first \(got 'the Cat'\)$"):
        build().encode("the Cat")


def sentences(lengths):
    return [Sentence(["the"] * length, ["D"] * length, 1) for length in lengths]


def test_batches_hold_each_sentence_once_and_pad_the_rest():
    lengths = [3, 1, 4, 1, 5, 9, 2, 6, 5, 3]
    vocabulary = build(kinds=KINDS)
    encoded = encode_sentences(sentences(lengths), vocabulary)
    for batches in (in_order(encoded, 3), shuffled(encoded, 3, torch.Generator().manual_seed(1))):
        assert sorted(place for places in batches.places for place in places) == list(range(10))
        for index, places in enumerate(batches.places):
            inputs, targets = batches[index]
            own = [lengths[place] for place in places]
            assert inputs.shape == (max(own), len(own), 8) and len(targets) == sum(own)
            assert (inputs[..., 0] != PADDING).sum(dim=0).tolist() == own
            assert inputs[..., 1:].min() >= 0 and batches.share(index) == 1.0
    with pytest.raises(DataError, match="no sentence"):
        shuffled([], 3, torch.Generator())


def test_tags_stand_in_the_order_of_the_steps():
    vocabulary = build()
    encoded = encode_sentences([Sentence(["the", "Cat"], ["D", "N"], 1), Sentence(["sat"], ["N"], 4)], vocabulary)
    _, targets = in_order(encoded, 2)[0]
    # the shorter one comes first: sat, the, then Cat
    assert [vocabulary.tags[index] for index in targets] == ["N", "D", "N"]


def test_batches_depend_on_the_generator_alone_and_a_long_sentence_stands_alone():
    encoded = encode_sentences(sentences(range(1, 200)), build())
    one, same, other = (shuffled(encoded, 4, torch.Generator().manual_seed(seed)).places for seed in (1, 1, 2))
    assert one == same != other
    batches = cut([0, 1, 2], [1, 2, MOST_PLACES], 3)
    assert batches == [[0, 1], [2]]


@pytest.mark.parametrize("least", [1, 2])
@pytest.mark.parametrize("kinds", [KINDS, FeatureKinds()], ids=["features", "no features"])
def test_a_word_is_hidden_as_if_the_training_text_lacked_it(kinds, least):
    """What replaces its ids names what a vocabulary of the other words knows of it."""
    words = Counter({"the": 5, "Cat": 2, "sat": 1, "Bat": 1, "CAT": 1})
    vocabulary = build_tag_vocabulary(words, {"N"}, kinds=kinds, feature_min_count=least, min_count=2)
    rows = vocabulary.unknown_rows(least)
    assert rows.shape == (len(vocabulary), len(kinds.of("x")) + 1)
    for word in ("the", "Cat"):
        rest = Counter({other: count for other, count in words.items() if other != word})
        without = build_tag_vocabulary(rest, {"N"}, kinds=kinds, feature_min_count=least, min_count=2)
        (wanted,) = without.encode([word])
        row = rows[vocabulary.word_index[word]]
        assert [vocabulary.words[row[0]], *(vocabulary.features[index] for index in row[1:])] == [
            without.words[wanted[0]],
            *(without.features[index] for index in wanted[1:]),
        ]


def test_hidden_words_are_as_unknown_ones_and_as_many_as_asked_for():
    vocabulary = build(kinds=KINDS)
    encoded = encode_sentences([Sentence(["the", "Cat"] * 5000, ["D", "N"] * 5000, 1)], vocabulary)
    rates = torch.zeros(len(vocabulary))
    rates[vocabulary.word_index["Cat"]] = 0.3
    rows = vocabulary.unknown_rows()
    (hidden,) = hide_words(encoded, rates, rows, torch.Generator().manual_seed(1))
    gone = hidden.inputs[:, 0] == vocabulary.unknown
    assert not gone[::2].any()
    # 5000 draws of 0.3: 1500 expected, standard deviation 32.4, six of those either way
    assert abs(gone.sum() - 1500) < 195
    np.testing.assert_array_equal(hidden.inputs[gone], [rows[vocabulary.word_index["Cat"]]] * gone.sum())
    np.testing.assert_array_equal(hidden.inputs[~gone], encoded[0].inputs[~gone])
    assert (encoded[0].inputs[:, 0] != vocabulary.unknown).all()
