"""Minimal pairs by phenomenon and paradigm, from JSON lines and tables, and lines that are no pairs."""

import csv
import json

import pytest

from refrain import runs
from refrain.evaluation.share import Share


def blimp(good, bad, uid, term):
    return json.dumps({"sentence_good": good, "sentence_bad": bad, "UID": uid, "linguistics_term": term, "field": "x"})


@pytest.fixture
def texts(tiny_run):
    """Two texts of equal length, the more probable one first."""
    lm = runs.load(tiny_run)
    return sorted(["ant bee cat", "dog cat ant"], key=lambda text: lm.score(text).nats)


def test_phenomena_and_paradigms(refrain, tiny_run, texts, write, tmp_path):
    cheap, dear = texts
    folder = write("blimp/a.jsonl", "\n".join([blimp(cheap, dear, "one", "binding")] * 3) + "\n").parent
    write("blimp/b.jsonl", blimp(dear, cheap, "two", "binding") + "\n\n" + blimp(cheap, cheap, "three", "ellipsis"))
    found = refrain("pairs", tiny_run, folder, "--json").json
    assert (found["pairs"], found["right"], found["accuracy"]) == (5, 3, 0.6)
    assert found["interval"] == list(Share(3, 5).interval)
    binding, ellipsis = found["phenomena"]["binding"], found["phenomena"]["ellipsis"]
    assert [(binding[key], ellipsis[key]) for key in ("pairs", "right")] == [(4, 1), (3, 0)]
    assert {name: (each["pairs"], each["right"]) for name, each in binding["paradigms"].items()} == {
        "one": (3, 3), "two": (1, 0),
    }  # fmt: skip
    # a table of the same pairs, with other columns
    out = tmp_path / "pairs.csv"
    said = refrain("pairs", tiny_run, folder / "a.jsonl", folder / "b.jsonl", "--out", out)
    lines = [line.split() for line in said.out.splitlines()]
    assert [line[0] for line in lines[1:]] == ["binding", "one", "two", "ellipsis", "three", "all"]
    assert lines[-1] == ["all", "5", "60.0%", "23.1%", "to", "88.2%", "0"]
    with out.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["right"] for row in rows] == ["1", "1", "1", "0", "0"]
    lm = runs.load(tiny_run)
    assert float(rows[0]["good_nats"]) == pytest.approx(lm.score(cheap).nats, abs=1e-4)
    assert (rows[3]["good"], rows[3]["bad"], rows[3]["phenomenon"], rows[3]["paradigm"]) == (
        dear,
        cheap,
        "binding",
        "two",
    )
    again = refrain("pairs", tiny_run, out, "--json").json
    assert again["phenomena"]["binding"] == {key: value for key, value in binding.items() if key != "paradigms"}


def test_a_phenomenon_without_a_name_is_that_of_its_paradigm(refrain, tiny_run, texts, write):
    pair = {"sentence_good": texts[0], "sentence_bad": texts[1], "linguistics_term": None}
    file = write("pairs.jsonl", json.dumps({**pair, "UID": "one"}) + "\n" + json.dumps({**pair, "UID": None}))
    assert set(refrain("pairs", tiny_run, file, "--json").json["phenomena"]) == {"one", "all"}


def test_unknown_words_are_counted_and_reported(refrain, tiny_run, write):
    table = write("pairs.tsv", "good\tbad\tphenomenon\nzebra\tlion\ta\nAnt\tbee\tb\n")
    outcome = refrain("pairs", tiny_run, table, "--lowercase")
    assert outcome.status == 0
    assert [line.split()[-1] for line in outcome.out.splitlines()[1:]] == ["1", "0", "1"]
    assert "note: unknown words, which are read as <unk>, are 25.0% of the pairs" in outcome.err


@pytest.mark.parametrize(
    ("name", "content", "part"),
    [
        ("x.jsonl", "ant bee\n", "x.jsonl:1: no JSON object"),
        ("x.jsonl", "[1]\n", "x.jsonl:1: no pair; give an object with the texts sentence_good and sentence_bad"),
        ("x.jsonl", blimp("a", "b", "u", "t") + '\n{"sentence_good": "a"}\n', "x.jsonl:2: no pair"),
        ("x.jsonl", blimp("a", " ", "u", "t"), "x.jsonl:1: the bad sentence is empty; remove the pair"),
        ("x.jsonl", "\n\n", "x.jsonl: contains no pair"),
        ("x.csv", "good,bad\na,b\n", "x.csv:1: no column is named 'phenomenon'; the columns are good, bad"),
        ("x.csv", "good,bad,phenomenon\na,b,c\n,b,c\n", "x.csv:3: the good sentence is empty"),
        ("x.csv", "good,bad,phenomenon\n", "x.csv: the table has no rows"),
    ],
)
def test_lines_that_are_no_pairs(mistake, tiny_run, write, name, content, part):
    mistake(3, ["pairs", tiny_run, write(name, content)], part)


def test_options(mistake, tiny_run, write):
    mistake(2, ["pairs", tiny_run], "no file of minimal pairs; give at least one")
    mistake(
        2, ["pairs", tiny_run, write("x.jsonl", blimp("a", "b", "u", "t")), "--force"], "--force cannot take effect"
    )


def test_suites_of_syntaxgym(refrain, mistake, tiny_run, write, tmp_path):
    def condition(name, *contents):
        regions = [{"region_number": number, "content": text} for number, text in enumerate(contents, 1)]
        return {"condition_name": name, "regions": regions}

    item = {"item_number": 7, "conditions": [condition("a", "ant bee", "cat"), condition("b", "ant bee", "cat cat")]}
    suite = {"predictions": [{"formula": "(*;%a%) < (*;%b%)"}, {"formula": "(1;%a%) < 0"}], "items": [item]}
    file, table = write("agreement.json", json.dumps(suite)), tmp_path / "regions.tsv"
    found = refrain("pairs", tiny_run, file, "--json", "--out", table).json["suites"]["agreement"]
    assert [each["right"] for each in found["predictions"]] == [1, 0] and found["items"] == 1
    assert found["accuracy"] == 0.5
    head, first, *_ = (line.split("\t") for line in table.read_text().splitlines())
    assert head == ["suite", "item", "condition", "region", "content", "surprisal_bits"]
    assert first[:5] == ["agreement", "7", "a", "1", "ant bee"] and float(first[5]) > 0
    assert "(1;%a%) < 0" in refrain("pairs", tiny_run, file).out
    same = write("other/agreement.json", json.dumps(suite))
    mistake(3, ["pairs", tiny_run, file, same], f"{same}: has the name 'agreement', as {file} has; give one")
    assert len(refrain("pairs", tiny_run, file, file, "--json").json["suites"]) == 1
    suite["predictions"][0]["formula"] = "(*;%c%) < 1"
    mistake(3, ["pairs", tiny_run, write("bad.json", json.dumps(suite))], "bad.json: item 7 has no region *")
    lines = write("lines.jsonl", json.dumps({"sentence_good": "ant", "sentence_bad": "bee"}))
    mistake(2, ["pairs", tiny_run, file, lines], "lines.jsonl: is no test suite")
