"""N-best lists in three forms, the choice of the scale, and lines that are no hypotheses."""

import json

import pytest

from refrain import runs

KALDI = "u1-1 ant bee\nu1-2 zebra dog\nu2-1\nu2-2 cat cat\n"
TABBED = "u1\t-1\tant bee\nu1\t0\tzebra dog\nu2\t-3.5\t\nu2\t-2\tcat cat\n"


@pytest.fixture
def nats(tiny_run):
    lm = runs.load(tiny_run)
    return lambda text: lm.score(text).nats


def best(hypotheses, scale, nats):
    """The best of pairs of score and text, and its interpolated score."""
    return max((score - scale * nats(text), text) for score, text in hypotheses)


def test_the_best_of_each_utterance(refrain, tiny_run, write, nats):
    file = write("nbest.tsv", TABBED)
    lists = {"u1": [(-1, "ant bee"), (0, "zebra dog")], "u2": [(-3.5, ""), (-2, "cat cat")]}
    for scale in (0, 0.5, 30):
        words = ["score", tiny_run, file, "--nbest", *([] if scale == 0.5 else ["--lm-scale", scale])]
        rows = [line.split("\t") for line in refrain(*words).out.splitlines()]
        wanted = {utterance: best(pairs, scale, nats) for utterance, pairs in lists.items()}
        assert [(row[0], row[2]) for row in rows] == [(name, text) for name, (_, text) in wanted.items()]
        assert [float(row[1]) for row in rows] == pytest.approx([total for total, _ in wanted.values()], abs=1e-3)
    rows = [json.loads(line) for line in refrain(*words, "--json").out.splitlines()]
    assert [(row["id"], row["hypothesis"], row["lm_scale"], row["hypotheses"]) for row in rows] == [
        (name, text, 30, 2) for name, (_, text) in wanted.items()
    ]
    for row in rows:
        assert row["total"] == pytest.approx(row["score"] - 30 * row["nats"])
        assert lists[row["id"]][row["number"] - 1] == (row["score"], row["hypothesis"])


def test_the_forms_are_equal(refrain, tiny_run, write):
    wanted = refrain("score", tiny_run, write("nbest.tsv", TABBED), "--nbest").out
    objects = [
        {"id": name, "score": float(score), "hypothesis": text}
        for name, score, text in (line.split("\t") for line in TABBED.splitlines())
    ]
    lines = "".join(json.dumps(each) + "\n" for each in objects)
    assert refrain("score", tiny_run, write("nbest.jsonl", lines), "--nbest").out == wanted
    costs = write("ac_cost", "u2-2 2\nu1-1 1\nu1-2 0\nu2-1 3.5\n")
    kaldi = write("text", f"\n{KALDI}")
    assert refrain("score", tiny_run, kaldi, "--nbest", "--costs", costs).out == wanted
    # without costs the language model decides alone, whatever the scale
    alone = [refrain("score", tiny_run, kaldi, "--nbest", "--lm-scale", scale).out for scale in (1, 9)]
    assert [[line.split("\t")[2] for line in out.splitlines()] for out in alone] == [["ant bee", ""]] * 2


def test_the_scale_is_chosen_on_references(refrain, tiny_run, write, nats):
    gap = nats("zebra dog") - nats("ant bee")
    file = write("nbest.tsv", f"u1\t0\tant bee\nu1\t{3 * gap}\tzebra dog\n")
    words = ["score", tiny_run, file, "--nbest", "--tune", write("refs", "u1 ant  bee\nu9 cat\n")]
    said = refrain(*words)
    assert said.out.split("\t")[0::2] == ["u1", "ant bee\n"]
    assert "--lm-scale 3.1623: 0 (0.00%) word errors; without the language model 2 (100.00%), at best 0" in said.err
    assert json.loads(refrain(*words, "--json").out)["lm_scale"] == 3.1623


@pytest.mark.parametrize(
    ("content", "part"),
    [
        ("u1\t-1\tant\nu1\tbee\n", "nbest:2: 2 cells; give the id, the score and the hypothesis"),
        ("u1\tant\tbee\n", "nbest:1: the score must be a number (got 'ant')"),
        ("u1\tnan\tbee\n", "nbest:1: the score must be a number (got 'nan')"),
        ("\t1\tbee\n", "nbest:1: the hypothesis has no id"),
        ("u1-1 ant\nbee cat\n", "nbest:2: 'bee' is not the id of a hypothesis, such as utt-1"),
        ('{"id": "u1", "hypothesis": "ant"}\n', "nbest:1: the object has no score"),
        ('{"id": "u1", "hypothesis": "ant", "score": true}\n', "nbest:1: the object has no score"),
        ('{"score": 1, "hypothesis": "ant"}\n', "nbest:1: the hypothesis has no id"),
        ('{"id": "u1", "score": 1}\n', "nbest:1: the object has no hypothesis"),
        ('{"id": "u1", "score": 1, "text": "ant"}\n["u1"]\n', "nbest:2: the object has no hypothesis"),
        ('{"id": "u1", "score": 1, "text": "ant"}\nant\n', "nbest:2: no JSON object"),
        ("\n \n", "nbest: contains no text"),
    ],
)
def test_lines_that_are_no_hypotheses(mistake, tiny_run, write, content, part):
    mistake(3, ["score", tiny_run, write("nbest", content), "--nbest"], part)


def test_options_that_do_not_fit(mistake, tiny_run, write):
    tabbed, kaldi, costs = write("nbest.tsv", TABBED), write("text", KALDI), write("costs", "u1-1 1\n")
    words = ["score", tiny_run, tabbed]
    mistake(2, [*words, "--lm-scale", "1"], "--lm-scale cannot take effect without --nbest")
    mistake(2, [*words, "--tune", costs], "--tune cannot take effect without --nbest")
    mistake(2, [*words, "--nbest", "--lm-scale", "nan"], "--lm-scale must be at least 0 (got nan)")
    mistake(2, [*words, "--nbest", "--lm-scale", "1", "--tune", costs], "--lm-scale and --tune exclude each other")
    mistake(2, [*words, "--nbest", "--costs", costs], "--costs cannot take effect where each hypothesis has its score")
    mistake(3, [*words, "--nbest", "--tune", costs], "costs: no reference of 'u1'; give")
    mistake(3, [*words, "--nbest", "--tune", "gone"], "gone: No such file")
    words = ["score", tiny_run, kaldi, "--nbest"]
    mistake(2, [*words, "--tune", costs], "--tune needs scores, which", "text has not; give them with --costs")
    mistake(3, [*words, "--costs", costs], "text:2: --costs has no cost of 'u1-2'")
    mistake(3, [*words, "--costs", write("costs", "u1-1 one\n")], "costs:1: the cost must be a number (got 'one')")
    mistake(3, [*words, "--costs", kaldi], "text:1: the cost must be a number", "its cost on each line of --costs")
    mistake(3, [*words, "--costs", write("costs", "v1-1 1\n")], "no cost of any hypothesis in", "'u1-1'", "'v1-1'")
    mistake(3, [*words, "--costs", write("costs", "\n")], "costs: contains no costs; give the id")
    mistake(3, [*words, "--costs", write("costs", "u 1\nu 2\n")], "costs:2: 'u' is given twice")
