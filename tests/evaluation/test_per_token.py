"""The table of tokens adds up to the figure and spells words as the text does."""

import ast
import csv
import math

import pytest

from refrain import runs
from refrain.data import open_byte_corpus, open_word_corpus
from refrain.data.text.files import whole
from refrain.errors import UserError
from refrain.evaluation import TokenRow, evaluate, protocol_windows, token_rows, write_token_table

# each row is rounded to six decimals
ROUNDING = 5e-7


@pytest.fixture(scope="module")
def words(tiny_run):
    return runs.load(tiny_run)


@pytest.fixture(scope="module")
def letters(byte_run):
    return runs.load(byte_run)


def word_corpus(lm, path):
    return open_word_corpus("text", {"all": whole(path)}, vocabulary=lm.vocabulary)


def figure_of(lm, corpus):
    return evaluate(lm.model, protocol_windows(corpus.splits["all"].tokens, "exact", split="all", window_steps=5))


def test_words(words, write):
    corpus = word_corpus(words, write("text", "ant Zebra bee\ncat <unk>"))
    rows = list(token_rows(words.model, corpus, "all"))
    assert [row.position for row in rows] == [1, 2, 3, 4, 5, 6]
    assert [row.token for row in rows] == ["<unk>", "bee", "<eos>", "cat", "<unk>", "<eos>"]
    # spelled as in the text, where the model reads <unk>
    assert [row.word for row in rows] == ["Zebra", "bee", "<eos>", "cat", "<unk>", "<eos>"]
    assert all(row.word_bits == pytest.approx(row.nats / math.log(2)) for row in rows)
    assert sum(row.nats for row in rows) == pytest.approx(figure_of(words, corpus).nats)


def test_each_row_is_the_cost_after_what_came_before(words, write):
    path = write("text", "ant bee cat dog\neel fox\n")
    rows = list(token_rows(words.model, word_corpus(words, path), "all"))
    ids = words.vocabulary.encode(path.read_text())
    state = words.initial_state()
    import torch

    for row, before, target in zip(rows, ids[:-1], ids[1:], strict=True):
        log_probabilities, state = words.step(torch.tensor([before]), state)
        assert row.nats == pytest.approx(-float(log_probabilities[0, target]), rel=1e-4)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        # position of the last byte of each word, and its spelling; the first byte costs nothing
        ("ab cd\n", [(2, "ab"), (5, "cd")]),
        ("a b", [(1, "a"), (2, "b")]),
        ("é  x\n", [(2, "é"), (3, ""), (5, "x")]),
        (" ab\t", [(3, "ab")]),
        ("日本", [(5, "日本")]),
    ],
)
def test_words_of_bytes(letters, write, text, wanted):
    corpus = open_byte_corpus("text", {"all": whole(write("text", text))})
    rows = list(token_rows(letters.model, corpus, "all"))
    assert [row.position for row in rows] == list(range(1, len(text.encode())))
    ends = [row for row in rows if row.word_bits is not None]
    assert [(row.position, row.word) for row in ends] == wanted
    assert all(row.word == "" for row in rows if row.word_bits is None)
    # every nat belongs to one word
    total = sum(row.nats for row in rows)
    assert sum(row.word_bits for row in ends) * math.log(2) == pytest.approx(total)
    assert total == pytest.approx(figure_of(letters, corpus).nats)


def test_the_table_is_written_whole(words, write, tmp_path):
    text = write("text", "ant zebra bee\ncat\n" * 300)
    corpus = word_corpus(words, text)
    table = tmp_path / "table.tsv"
    figure = write_token_table(table, words.model, corpus, "all")
    head, *rows = [line.split("\t") for line in table.read_text().split("\n")[:-1]]
    assert head == ["position", "token", "nats", "word", "word_bits"]
    assert all(len(row) == 5 for row in rows)
    assert len(rows) == figure.tokens == 6 * 300 - 1
    assert sum(float(row[2]) for row in rows) == pytest.approx(figure.nats, abs=ROUNDING * len(rows))
    assert figure.nats == pytest.approx(figure_of(words, corpus).nats, rel=1e-6)
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".tmp")] == []


def test_a_table_that_exists_is_replaced_on_request_only(words, write, tmp_path):
    text = write("text", "ant\n" * 5)
    corpus = word_corpus(words, text)
    table = write("table.tsv", "mine")
    with pytest.raises(UserError, match=r"table.tsv exists; choose another path, or replace it with force=True"):
        write_token_table(table, words.model, corpus, "all")
    assert table.read_text() == "mine"
    write_token_table(table, words.model, corpus, "all", force=True)
    assert table.read_text().startswith("position\t")
    with pytest.raises(UserError, match=r"text is also read, so it is never replaced"):
        write_token_table(text, words.model, corpus, "all", force=True)
    with pytest.raises(UserError, match=r"x.json is to be a table"):
        write_token_table(tmp_path / "x.json", words.model, corpus, "all")


ODD = ["a,b", 'say "x"', "tab\there", "back\\slash", "\x1b[31m", "cr\rhere", "\u2028", "\u00e9"]


@pytest.mark.parametrize("name", ["x.csv", "x.CSV", "x.tsv", "x.txt", "x", "x-lr0.5"])
def test_cells_can_be_read_back(words, write, tmp_path, monkeypatch, name):
    rows = [TokenRow(index, word, 0.5, word, 1.0) for index, word in enumerate(ODD, 1)]
    monkeypatch.setattr("refrain.evaluation.per_token.token_rows", lambda model, corpus, split, **more: iter(rows))
    path = tmp_path / name
    write_token_table(path, words.model, word_corpus(words, write("text", "ant\n")), "all")
    with path.open(encoding="utf-8", newline="") as file:
        if name.lower().endswith(".csv"):
            head, *cells = csv.reader(file)
        else:
            # one line for each row, whatever its reader takes for the end of a line
            head, *cells = [line.split("\t") for line in file.read().splitlines()]
            cells = [[ast.literal_eval(f"'{cell}'") for cell in line] for line in cells]
    assert head == ["position", "token", "nats", "word", "word_bits"]
    assert [(line[1], line[3]) for line in cells] == [(word, word) for word in ODD]


def test_the_names_of_bytes_are_escaped_once(letters, write, tmp_path):
    corpus = open_byte_corpus("text", {"all": whole(write("text", "a b\\\n"))})
    write_token_table(tmp_path / "x.tsv", letters.model, corpus, "all")
    tokens = [line.split("\t")[1] for line in (tmp_path / "x.tsv").read_text().splitlines()[1:]]
    assert tokens == [r"\x20", "b", r"\x5c", r"\x0a"]


def test_nothing_stays_of_a_table_that_was_not_finished(words, write, tmp_path, monkeypatch):
    corpus = word_corpus(words, write("text", "ant\n" * 50))
    (tmp_path / "table.tsv").write_text("before")

    def fail(*arguments, **options):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("refrain.evaluation.per_token.stream_nats", fail)
    with pytest.raises(OSError, match="No space"):
        write_token_table(tmp_path / "table.tsv", words.model, corpus, "all", force=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["table.tsv", "text"]
    assert (tmp_path / "table.tsv").read_text() == "before"
