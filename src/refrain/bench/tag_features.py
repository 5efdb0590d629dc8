"""The features of a classical tagger, for the conditional random field that taggers are compared with.

As in Ratnaparkhi (1996) and the tutorials of CRFsuite: the word, its lower-cased form, prefixes and suffixes of up to
four characters, its shape, and what its characters are; the same of both neighbours; the words after next.
"""

from collections.abc import Sequence

from refrain.data.tagged.vocabulary import shape_of

Features = dict[str, str | bool]
AFFIX = 4


def word_features(word: str) -> Features:
    """The features of a word without its neighbours."""
    found: Features = {"word": word, "lower": word.lower(), "shape": shape_of(word)}
    for size in range(1, AFFIX + 1):
        found[f"prefix{size}"] = word[:size]
        found[f"suffix{size}"] = word[-size:]
    return found | {"digit": word.isdigit(), "upper": word.isupper(), "title": word.istitle()}


def sentence_features(words: Sequence[str]) -> list[Features]:
    """The features of each word of a sentence, with those of its neighbours."""
    own = [word_features(word) for word in words]
    found = []
    for place, features in enumerate(own):
        here: Features = {"bias": True, **features}
        for offset in (-2, -1, 1, 2):
            if not 0 <= place + offset < len(words):
                here[f"{offset}:outside"] = True
                continue
            names = own[place].keys() if abs(offset) == 1 else ("word", "lower", "shape")
            here |= {f"{offset}:{name}": own[place + offset][name] for name in names}
        found.append(here)
    return found
