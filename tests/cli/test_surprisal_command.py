"""Surprisal of each word of sentences as a table: lines, tables with other columns, contexts and mistakes."""

import csv
import io
import json
import math
import pickle
import sys

import pytest
from arpa import ARPA

from refrain import load, runs
from refrain.cli.surprisal import HEAD
from refrain.errors import DataError, UserError
from refrain.evaluation import SurprisalRow


def rows_of(text):
    head, *rows = [line.split("\t") for line in text.splitlines()]
    assert head[: len(HEAD)] == [*HEAD]
    return [dict(zip(head, row, strict=True)) for row in rows]


def test_the_heading_has_the_names_of_the_library():
    assert SurprisalRow._fields == HEAD


def test_lines(refrain, tiny_run, write):
    text = write("text.txt", "ant bee zebra\n  cat\tdog\n")
    rows = rows_of(refrain("surprisal", tiny_run, text).out)
    found = runs.load(tiny_run).surprisal(["ant bee zebra", "cat dog"])
    assert [(row["sentence"], row["word_number"], row["word"]) for row in rows] == [
        ("1", "1", "ant"), ("1", "2", "bee"), ("1", "3", "zebra"), ("2", "1", "cat"), ("2", "2", "dog"),
    ]  # fmt: skip
    assert [row["unknown"] for row in rows] == ["0", "0", "1", "0", "0"]
    for row, wanted in zip(rows, found, strict=True):
        for name in ("surprisal_bits", "entropy_bits", "reduction_bits"):
            assert float(row[name]) == pytest.approx(getattr(wanted, name), abs=1e-4)
        assert row["frequency"] == ("" if wanted.frequency is None else str(wanted.frequency))
    objects = [json.loads(line) for line in refrain("surprisal", tiny_run, text, "--json").out.splitlines()]
    assert [(row["word"], row["unknown"], row["frequency"]) for row in objects] == [
        (row.word, row.unknown, row.frequency) for row in found
    ]


def test_columns_of_a_table_are_carried_along(refrain, tiny_run, write, tmp_path):
    table = write("items.csv", 'item,"stimulus",condition\n1,"ant, bee",a\n2,"cat\ndog","b ""c"""\n')
    out = tmp_path / "found.csv"
    said = refrain("surprisal", tiny_run, table, "--column", "stimulus", "--out", out)
    assert (said.status, said.out) == (0, "2 sentences, 4 words, 1 unknown\n"), said.err
    with out.open(newline="") as file:
        head, *rows = csv.reader(file)
    assert head == [*HEAD, "item", "condition"]
    assert [[*row[:3], *row[-2:]] for row in rows] == [
        ["1", "1", "ant,", "1", "a"], ["1", "2", "bee", "1", "a"],
        ["2", "1", "cat", "2", 'b "c"'], ["2", "2", "dog", "2", 'b "c"'],
    ]  # fmt: skip
    tabs = write("items.tsv", 'item\tstimulus\n1\t"ant\n\n2\tbee\r\n')
    rows = rows_of(refrain("surprisal", tiny_run, tabs, "--column", "stimulus").out)
    assert [(row["word"], row["item"]) for row in rows] == [('"ant', "1"), ("bee", "2")]
    found = refrain("surprisal", tiny_run, tabs, "--column", "stimulus", "--out", tmp_path / "x.tsv", "--json").json
    assert (found["sentences"], found["words"], found["unknown"]) == (2, 2, 1)


def test_contexts_and_preparation(refrain, tiny_run, write):
    text = write("text.txt", "Ant.\nbee\n")
    lm = runs.load(tiny_run)
    words = ["surprisal", tiny_run, text, "--lowercase", "--tokenise"]
    alone, carried = (rows_of(refrain(*words, "--context", name).out) for name in ("sentence", "document"))
    assert [row["word"] for row in alone] == ["Ant.", "bee"]
    assert alone[0] == carried[0] and alone[1]["surprisal_bits"] != carried[1]["surprisal_bits"]
    given = rows_of(refrain("surprisal", tiny_run, text, "--after", "cat dog").out)
    wanted = lm.surprisal("bee", after="cat dog")[0].surprisal_bits
    assert float(given[1]["surprisal_bits"]) == pytest.approx(wanted, abs=1e-4)


@pytest.mark.parametrize("context", ["sentence", "document"])
def test_an_empty_line_has_a_number_and_no_rows(refrain, tiny_run, write, context):
    text = write("text.txt", "ant\n\nbee cat\n")
    done = refrain("surprisal", tiny_run, text, "--context", context)
    rows = rows_of(done.out)
    assert [(row["sentence"], row["word"]) for row in rows] == [("1", "ant"), ("3", "bee"), ("3", "cat")]
    assert f"note: {text}: has 1 empty line; an empty line is counted as a sentence and has no rows" in done.err
    same = rows_of(refrain("surprisal", tiny_run, write("same.txt", "ant\nbee cat\n"), "--context", context).out)
    assert [row["surprisal_bits"] for row in rows] == [row["surprisal_bits"] for row in same]


def test_mistakes(mistake, refrain, tiny_run, write, tmp_path, monkeypatch):
    blank = write("blank.txt", "\n \n")
    mistake(3, ["surprisal", tiny_run, blank], "blank.txt: contains no text; give at least one sentence")
    table = write("items.csv", "item,sentence\n1,ant\n2, \n")
    mistake(2, ["surprisal", tiny_run, table], "items.csv is a table; name the column of the sentences with --column")
    words = ["surprisal", tiny_run, table, "--column"]
    mistake(3, [*words, "text"], "items.csv:1: no column is named 'text'; the columns are item, sentence")
    mistake(3, [*words, "sentence"], "items.csv:3: the sentence is empty")
    for content, part in (
        ("item,sentence\n1\n", "items.csv:2: the row has 1 cell, and the first line has 2"),
        ("item,sentence\n", "items.csv: the table has no rows"),
        ("sentence,sentence\nant,bee\n", "items.csv:1: 2 columns are named 'sentence'"),
        ('item,sentence\n1,"ant" bee\n', "items.csv:2: "),
        ("word,sentence\n1,ant\n", "items.csv:1: a column of the result is named 'word' too; rename"),
    ):
        mistake(3, ["surprisal", tiny_run, write("items.csv", content), "--column", "sentence"], part)
    for content, part in (
        (b"item\tsentence\n1\n", "standard input:2: the row has 1 cell"),
        (b"item\ttext\n1\tant\n", "standard input:1: no column is named 'sentence'"),
        (b"item\tsentence\n", "standard input: the table has no rows"),
    ):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))
        mistake(3, ["surprisal", tiny_run, "-", "--column", "sentence"], part)
    one = write("one.txt", "ant\n")
    mistake(2, ["surprisal", tiny_run, one, "--force"], "--force cannot take effect without --out")
    mistake(2, ["surprisal", tiny_run, one, "--out", tmp_path / "x.json"], "is to be a table")
    assert not (tmp_path / "x.json").exists()


def test_a_model_adapts_to_what_it_reads(refrain, mistake, tiny_run, write):
    text = write("text", "ant bee cat ant bee cat\nant bee cat ant bee cat\n")
    fast = ["--method", "dynamic", "--dynamic-rate", "0.01", "--dynamic-steps", "2", "--json"]

    def bits(*more):
        return [
            json.loads(line)["surprisal_bits"] for line in refrain("surprisal", tiny_run, text, *more).out.splitlines()
        ]

    static, reset, carried = bits("--json"), bits(*fast), bits(*fast, "--carry")
    assert static[:6] == pytest.approx(static[6:]) and reset[:6] == pytest.approx(reset[6:], abs=1e-5)
    assert reset != pytest.approx(static, abs=1e-3) and carried[6:] != pytest.approx(carried[:6], abs=1e-3)
    assert carried[:6] == pytest.approx(reset[:6], abs=1e-6)
    for more, message in (
        (["--carry"], "--carry cannot take effect without --method dynamic"),
        (["--dynamic-steps", "3"], "--dynamic-steps cannot take effect"),
        (["--method", "dynamic", "--weights", "int8"], "--weights int8 cannot be combined"),
        (["--method", "dynamic", "--dynamic-steps", "0"], "must be at least 1"),
        (["--method", "dynamic", "--dynamic-rate", "nan"], "must be at least 0 and finite"),
    ):
        mistake(2, ["surprisal", tiny_run, text, *more], message)


def test_python_gives_what_the_command_prints(refrain, tiny_run, write):
    sentences = ["ant bee cat ant bee cat", "bee zebra", "ant bee cat"]
    text, arpa = write("text", "\n".join(sentences) + "\n"), write("two.arpa", ARPA)
    lm = load(tiny_run)
    for options, arguments in (
        ([], {}),
        (["--mix", arpa, "--mix-weight", "0.3"], {"mix": arpa, "mix_weight": 0.3}),
        (["--mix", arpa], {"mix": str(arpa)}),
        (["--method", "dynamic"], {"method": "dynamic"}),
        (
            ["--method", "dynamic", "--carry", "--dynamic-rate", "0.01", "--dynamic-steps", "2"],
            {"method": "dynamic", "carry": True, "dynamic_rate": 0.01, "dynamic_steps": 2},
        ),
        (
            ["--method", "dynamic", "--context", "document", "--after", "bee", "--dynamic-rate", "0.01"],
            {"method": "dynamic", "context": "document", "after": "bee", "dynamic_rate": 0.01},
        ),
    ):
        printed = [
            json.loads(line) for line in refrain("surprisal", tiny_run, text, "--json", *options).out.splitlines()
        ]
        rows = lm.surprisal(sentences, **arguments)
        assert [row.word for row in rows] == " ".join(sentences).split()
        assert [row._asdict() for row in rows] == printed


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"carry": True}, "carry cannot take effect without method='dynamic'"),
        ({"dynamic_steps": 3}, "dynamic_steps cannot take effect"),
        ({"method": "dynamic", "dynamic_steps": 0}, "dynamic_steps must be at least 1"),
        ({"method": "dynamic", "dynamic_rate": math.nan}, "dynamic_rate must be at least 0 and finite"),
        ({"method": "dynamic", "mix": "x"}, "mix cannot be combined"),
        ({"method": "fast"}, "method: must be one of static, dynamic"),
        ({"mix_weight": 0.5}, "mix_weight cannot take effect without mix"),
        ({"mix": "x", "mix_weight": 1.0}, "mix_weight must be at least 0 and less than 1"),
        ({"mix": "no.arpa"}, "no.arpa"),
    ],
)
def test_mistakes_in_python(tiny_run, arguments, message):
    with pytest.raises(UserError, match=message):
        load(tiny_run).surprisal(["ant"], **arguments)


def test_models_without_words_or_without_their_text(byte_run, tiny_run, write):
    with pytest.raises(UserError, match="mix needs a model of words"):
        load(byte_run).surprisal(["ant"], mix=write("two.arpa", ARPA))
    lm = load(tiny_run)
    alone = type(lm)(lm.model, lm.vocabulary, lm.config, lm.folder)
    with pytest.raises(DataError, match=r"the split 'train' .* is not known"):
        alone.surprisal(["ant"], method="dynamic")
    copied = pickle.loads(pickle.dumps(lm))
    assert copied.surprisal(["ant"], method="dynamic") == lm.surprisal(["ant"], method="dynamic")


def test_nothing_is_printed_before_the_statistics_are_ready(refrain, mistake, tiny_run, write, monkeypatch):
    def missing(*arguments):
        raise DataError("the training text is missing")

    monkeypatch.setattr("refrain.cli.texts.split_of", missing)
    text = write("text", "ant bee\n")
    # the standard output is empty
    mistake(3, ["surprisal", tiny_run, text, "--method", "dynamic"], "the training text is missing")
