"""Reviews are cleaned as the published code cleans them, each on a line of its own, once."""

import html
import random

import pytest

from refrain.data import clean_review, open_byte_corpus
from refrain.data.text.files import Span, whole
from refrain.errors import DataError


@pytest.fixture
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("REFRAIN_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def published(text, front_pad="\n ", end_pad=" "):
    """The preprocessing of the code published with the paper."""
    text = html.unescape(text)
    text = text.replace("\n", " ").strip()
    text = front_pad + text + end_pad
    return text.encode()


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("Good.", b"\n Good. "),
        ("  two\nlines\r\n", b"\n two lines "),
        ("&quot;A &amp; B&quot; &lt;3 &#10;caf&eacute;", b'\n "A & B" <3  caf\xc3\xa9 '),
        ("", b"\n  "),
        ("&nbsp;", b"\n  "),
        ("\u65e5\u672c", b"\n \xe6\x97\xa5\xe6\x9c\xac "),
    ],
)
def test_a_review(text, wanted):
    assert clean_review(text) == wanted == published(text)


def test_bytes_that_are_not_utf8_stay():
    assert clean_review(b"a\xff&amp;\xc3".decode(errors="surrogateescape")) == b"\n a\xff&\xc3 "
    # the number of a surrogate is no character
    assert clean_review("&#xDCFF;") == "\n \ufffd ".encode()


def opened(spans, **options):
    corpus = open_byte_corpus("reviews", spans, cleaning="reviews", **options)
    return {name: split.tokens.read(0, 1 << 20).tobytes() for name, split in corpus.splits.items()}


def test_a_corpus_of_reviews(write, own_cache):
    draw = random.Random(9)
    reviews = ["".join(draw.choices("ab &lt;\u65e5;", k=draw.randrange(30))) for _ in range(500)]
    path = write("reviews.txt", "\n".join(reviews))
    said = []
    wanted = b"".join(published(review) for review in reviews if html.unescape(review).strip())
    assert opened({"train": whole(path)}, log=said.append) == {"train": wanted}
    assert said == [f"cleaning reviews (reviews): {path.stat().st_size:,} bytes of text"]
    # found again, and the text is what the split is known by
    assert opened({"train": whole(path)}, log=said.append) == {"train": wanted}
    assert len(said) == 1 and len(list((own_cache / "cleaned").iterdir())) == 1
    split = open_byte_corpus("reviews", {"train": whole(path)}, cleaning="reviews").splits["train"]
    assert split.sha256 == open_byte_corpus("reviews", {"train": whole(path)}).splits["train"].sha256
    assert split.source == whole(path)


def test_where_a_file_ends_a_review_ends(write, own_cache):
    parts = whole(write("a", b"one")) + whole(write("b", b"\xef\xbb\xbftwo\n"))
    joined = whole(write("c", b"one\xef\xbb\xbftwo\n"))
    assert opened({"train": parts}) == {"train": b"\n one \n two "}
    # the same bytes in a row, and other reviews
    assert opened({"train": joined}) == {"train": b"\n one\xef\xbb\xbftwo "}


def test_a_changed_text_is_cleaned_anew(write, own_cache):
    path = write("a", b"one\n")
    assert opened({"train": whole(path)}) == {"train": b"\n one "}
    write("a", b"two\n")
    assert opened({"train": whole(path)}) == {"train": b"\n two "}


def test_splits_are_cleaned_apart(write, own_cache):
    path = write("a", b"one\ntwo\n")
    spans = {"train": (Span(path, 0, 4),), "valid": (Span(path, 4, 8),)}
    assert opened(spans) == {"train": b"\n one ", "valid": b"\n two "}


def test_blank_reviews_alone(write, own_cache):
    with pytest.raises(DataError, match=r"a: no text is left after cleaning; every line is blank"):
        opened({"train": whole(write("a", b" \n&nbsp;\n\n"))})
    assert not list((own_cache / "cleaned").iterdir())


@pytest.mark.parametrize("damage", [b"", b"longer than it was", None])
def test_damaged_cleaned_text(write, own_cache, damage):
    spans = {"train": whole(write("a", b"one\n"))}
    opened(spans)
    (folder,) = (own_cache / "cleaned").iterdir()
    (folder / "train.bin").unlink()
    if damage is not None:
        (folder / "train.bin").write_bytes(damage)
    with pytest.raises(DataError, match=r"the cleaned text is damaged \(.*\); delete this folder and try again"):
        opened(spans)
