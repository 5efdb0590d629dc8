"""Corpora: text as token ids in memory-mapped files, windows over them, and batches of tagged sentences."""

from typing import TYPE_CHECKING

from refrain._lazy import lazily

if TYPE_CHECKING:
    from .corpus import Corpus as Corpus
    from .corpus import Split as Split
    from .embedded import embedded_folder as embedded_folder
    from .sizes import TextSize as TextSize
    from .sizes import text_size as text_size
    from .tagged.buckets import PADDING as PADDING
    from .tagged.buckets import Batches as Batches
    from .tagged.buckets import encode_sentences as encode_sentences
    from .tagged.corpus import TaggedCorpus as TaggedCorpus
    from .tagged.corpus import TaggedSplit as TaggedSplit
    from .tagged.corpus import read_tagged as read_tagged
    from .tagged.folders import find_tagged as find_tagged
    from .tagged.sentences import Sentence as Sentence
    from .tagged.vocabulary import FeatureKinds as FeatureKinds
    from .tagged.vocabulary import TagVocabulary as TagVocabulary
    from .tagged.vocabulary import build_tag_vocabulary as build_tag_vocabulary
    from .text.byte_stream import ByteStream as ByteStream
    from .text.cleaning import clean_review as clean_review
    from .text.labelled import Labelled as Labelled
    from .text.labelled import read_labelled as read_labelled
    from .text.shards import find_byte_splits as find_byte_splits
    from .text.splits import find_splits as find_splits
    from .text.streams import Windows as Windows
    from .text.streams import random_lengths as random_lengths
    from .text.token_file import TokenFile as TokenFile
    from .text.token_file import TokenSource as TokenSource
    from .units.byte.corpus import open_byte_corpus as open_byte_corpus
    from .units.byte.vocabulary import ByteVocabulary as ByteVocabulary
    from .units.character.vocabulary import CharacterVocabulary as CharacterVocabulary
    from .units.protocol import Vocabulary as Vocabulary
    from .units.subword.vocabulary import SubwordVocabulary as SubwordVocabulary
    from .units.table import UNITS as UNITS
    from .units.table import vocabulary_from as vocabulary_from
    from .units.unit import TextOptions as TextOptions
    from .units.unit import Unit as Unit
    from .units.word.corpus import open_word_corpus as open_word_corpus
    from .units.word.preparation import Preparation as Preparation
    from .units.word.vocabulary import WordVocabulary as WordVocabulary
    from .units.word.vocabulary import build_vocabulary as build_vocabulary
else:
    __getattr__, __dir__ = lazily(
        __name__,
        {
            "Batches": "tagged.buckets",
            "ByteStream": "text.byte_stream",
            "ByteVocabulary": "units.byte.vocabulary",
            "CharacterVocabulary": "units.character.vocabulary",
            "Corpus": "corpus",
            "FeatureKinds": "tagged.vocabulary",
            "Labelled": "text.labelled",
            "PADDING": "tagged.buckets",
            "Preparation": "units.word.preparation",
            "Sentence": "tagged.sentences",
            "Split": "corpus",
            "SubwordVocabulary": "units.subword.vocabulary",
            "TagVocabulary": "tagged.vocabulary",
            "TaggedCorpus": "tagged.corpus",
            "TaggedSplit": "tagged.corpus",
            "TextOptions": "units.unit",
            "TextSize": "sizes",
            "TokenFile": "text.token_file",
            "TokenSource": "text.token_file",
            "UNITS": "units.table",
            "Unit": "units.unit",
            "Vocabulary": "units.protocol",
            "Windows": "text.streams",
            "WordVocabulary": "units.word.vocabulary",
            "build_tag_vocabulary": "tagged.vocabulary",
            "build_vocabulary": "units.word.vocabulary",
            "clean_review": "text.cleaning",
            "embedded_folder": "embedded",
            "encode_sentences": "tagged.buckets",
            "find_byte_splits": "text.shards",
            "find_splits": "text.splits",
            "find_tagged": "tagged.folders",
            "open_byte_corpus": "units.byte.corpus",
            "open_word_corpus": "units.word.corpus",
            "random_lengths": "text.streams",
            "read_labelled": "text.labelled",
            "read_tagged": "tagged.corpus",
            "text_size": "sizes",
            "vocabulary_from": "units.table",
        },
    )
