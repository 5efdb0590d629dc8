"""The vocabulary of a corpus knows how often each word occurs in the training text."""

from refrain.data import Preparation, WordVocabulary, open_word_corpus, vocabulary_from
from refrain.data.text.files import whole
from refrain.data.units.table import same_tokens


def opened(write, vocabulary=None, **options):
    texts = {"train": "ant bee ant\ncat\n", "valid": "bee dog dog\n"}
    spans = {split: whole(write(f"{split}.txt", text)) for split, text in texts.items()}
    return open_word_corpus("toy", spans, vocabulary=vocabulary, **options).vocabulary


def counts_of(vocabulary):
    return dict(zip(vocabulary.words, vocabulary.counts, strict=True))


def test_counts_are_those_of_the_training_text(write):
    assert counts_of(opened(write)) == {"ant": 2, "bee": 1, "cat": 1, "<eos>": 2, "<unk>": 0}
    # rare words are counted as <unk>
    assert counts_of(opened(write, min_count=2)) == {"ant": 2, "<eos>": 2, "<unk>": 2}
    # words of other splits do not occur in it
    everything = counts_of(opened(write, vocabulary_from="all"))
    assert everything == {"ant": 2, "bee": 1, "cat": 1, "dog": 0, "<eos>": 2, "<unk>": 0}


def test_counts_stay_with_the_vocabulary(write):
    made = opened(write)
    assert vocabulary_from(made.document()).counts == made.counts
    assert made.prepared(Preparation(lowercase=True)).counts == made.counts
    # a corpus that is read with the words of a model has the counts of that model, also where it is in the cache
    without, other = WordVocabulary(made.words), WordVocabulary(made.words, counts=[7] * len(made))
    for vocabulary in (without, made, other, without):
        assert opened(write, vocabulary).counts == vocabulary.counts
        assert same_tokens(vocabulary.document(), made.document())
