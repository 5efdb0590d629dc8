"""Corpora: text to token ids in memory-mapped files, and windows over them."""

from .byte_corpus import open_byte_corpus as open_byte_corpus
from .byte_stream import ByteStream as ByteStream
from .cleaning import clean_review as clean_review
from .corpus import Corpus as Corpus
from .corpus import Split as Split
from .embedded import embedded_folder as embedded_folder
from .labelled import Labelled as Labelled
from .labelled import read_labelled as read_labelled
from .shards import find_byte_splits as find_byte_splits
from .splits import find_splits as find_splits
from .streams import Windows as Windows
from .streams import random_lengths as random_lengths
from .token_file import TokenFile as TokenFile
from .token_file import TokenSource as TokenSource
from .vocabulary import ByteVocabulary as ByteVocabulary
from .vocabulary import Vocabulary as Vocabulary
from .vocabulary import WordVocabulary as WordVocabulary
from .vocabulary import build_vocabulary as build_vocabulary
from .word_corpus import open_word_corpus as open_word_corpus
