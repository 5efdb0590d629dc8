"""Corpora: text as token ids in memory-mapped files, windows over them, and batches of tagged sentences."""

from typing import TYPE_CHECKING

from refrain._lazy import lazily

from .corpus import Corpus as Corpus
from .corpus import Split as Split
from .embedded import embedded_folder as embedded_folder
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
from .text.token_file import TokenFile as TokenFile
from .text.token_file import TokenSource as TokenSource
from .units.byte.corpus import open_byte_corpus as open_byte_corpus
from .units.byte.vocabulary import ByteVocabulary as ByteVocabulary
from .units.protocol import Vocabulary as Vocabulary
from .units.table import UNITS as UNITS
from .units.table import vocabulary_from as vocabulary_from
from .units.unit import TextOptions as TextOptions
from .units.unit import Unit as Unit
from .units.word.corpus import open_word_corpus as open_word_corpus
from .units.word.preparation import Preparation as Preparation
from .units.word.vocabulary import WordVocabulary as WordVocabulary
from .units.word.vocabulary import build_vocabulary as build_vocabulary

if TYPE_CHECKING:
    from .tagged.buckets import PADDING as PADDING
    from .tagged.buckets import Batches as Batches
    from .tagged.buckets import encode_sentences as encode_sentences
    from .text.streams import Windows as Windows
    from .text.streams import random_lengths as random_lengths
else:
    __getattr__, __dir__ = lazily(
        __name__,
        {
            "Batches": "tagged.buckets",
            "PADDING": "tagged.buckets",
            "Windows": "text.streams",
            "encode_sentences": "tagged.buckets",
            "random_lengths": "text.streams",
        },
    )
