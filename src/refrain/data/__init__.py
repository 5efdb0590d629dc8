"""Corpora: text to token ids in memory-mapped files, and windows over them."""

from .byte_corpus import open_byte_corpus as open_byte_corpus
from .corpus import Corpus as Corpus
from .corpus import Split as Split
from .embedded import embedded_folder as embedded_folder
from .splits import find_splits as find_splits
from .streams import Windows as Windows
from .streams import random_lengths as random_lengths
from .token_file import TokenFile as TokenFile
from .vocabulary import ByteVocabulary as ByteVocabulary
from .vocabulary import Vocabulary as Vocabulary
from .vocabulary import WordVocabulary as WordVocabulary
from .vocabulary import build_vocabulary as build_vocabulary
from .word_corpus import open_word_corpus as open_word_corpus
