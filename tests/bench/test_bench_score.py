"""`refrain bench score`: the plain loop computes the same nats, and each way has a row."""

import json
import random

import pytest
import torch

from refrain import bench, runs
from refrain.bench import own_process
from refrain.bench.score import HYPOTHESES, LINE_WORDS, hypotheses, plain_model, plain_scores
from refrain.bench.score_models import bench_models
from refrain.errors import UserError
from refrain.evaluation import score_lines
from refrain.recipes import recipe

SMALL = ("model.embedding_size=6", "model.hidden_sizes=[5,5]")
ARPA = "\\data\\\nngram 1=3\n\n\\1-grams:\n-99\t<s>\n-0.5\t</s>\n-0.2\t<unk>\n\n\\end\\\n"


def test_the_plain_loop_computes_the_same(tiny_run):
    lm = runs.load(tiny_run)
    texts = ["ant bee", "", "cat zebra ant ant", "bee"] * 20
    wanted = [line.figure.nats for line in score_lines(lm.stepper, lm.vocabulary, texts)]
    assert plain_scores(plain_model(lm.model), lm.vocabulary, texts) == pytest.approx(wanted, rel=1e-5)


def test_hypotheses_of_an_utterance_differ_in_a_few_words():
    lists = hypotheses(random.Random(1))
    assert len(set(lists)) == len(lists) == HYPOTHESES
    words = [each.split() for each in lists]
    assert {len(each) for each in words} == {LINE_WORDS}
    assert sum(len(set(column)) > 1 for column in zip(*words, strict=True)) <= 7


def test_each_way_has_a_row():
    threads = torch.get_num_threads()
    rows = bench.bench_score(recipe("zaremba-small", *SMALL), lines=3, repeats=1)
    forward = [row for row in rows if row["name"].startswith("beside training: ")]
    assert len(rows) == 5 + len(forward) + 2 * 3 and len(forward) in (3, 4)
    # the first is the forward pass in float32, with which scoring is compared
    assert forward[0]["name"].endswith("forward passes, float32") and forward[0]["ratio"] == 1.0
    assert all(row["median"] > 0 and row["unit"] == "tokens/CPU s" for row in rows)
    assert [row["ratio"] for row in rows if row["name"].endswith("line by line")] == [1.0, 1.0]
    assert torch.get_num_threads() == threads
    with pytest.raises(UserError, match="plain loop"):
        bench.bench_score(recipe("zaremba-small", *SMALL, "model.cell=gru"), lines=3, repeats=1)


def test_a_run_beside_an_ngram_model(tiny_run, tmp_path):
    file = tmp_path / "one.arpa"
    file.write_text(ARPA)
    lm = runs.load(tiny_run)
    rows = bench_models(lm.model, lm.vocabulary, ["ant bee", "cat"], file, lambda mixture: 0.25, repeats=1)
    names = [row["name"] for row in rows]
    assert names[:3] == ["network, float32", "network, int8", "n-gram model (ARPA, read by refrain)"]
    assert names[-2:] == [f"mixture, {weights}, 0.250 of the n-gram model" for weights in ("float32", "int8")]
    # three words of <unk> that all words but the line end share, and two line ends
    shared = 10**-0.2 / (len(lm.vocabulary) - 1)
    assert rows[2]["perplexity"] == pytest.approx((shared**3 * 10 ** (-0.5 * 2)) ** (-1 / 5), rel=1e-6)
    assert all(row["memory"] is None for row in rows)
    assert rows[2]["size"] == file.stat().st_size
    assert rows[0]["size"] == 4 * count_parameters(lm.model) > rows[1]["size"]


def count_parameters(model):
    return sum(parameter.numel() for parameter in model.parameters())


def test_the_memory_of_a_process_is_that_of_its_own(tiny_run, tmp_path, monkeypatch):
    """Each child has its own arguments and lines, and what this process holds is not counted."""
    held = bytearray(b"x" * (1 << 28))
    code = "import sys; text = sys.stdin.read(); assert text == 'ant\\n'; held = b'x' * int(sys.argv[1])"
    bare = own_process.peak_bytes(own_process.NOTHING, [], [])
    if bare is None:
        pytest.skip("the system does not tell")
    assert bare < len(held) / 4
    needed = own_process.own_memory(code, ["50000000"], ["ant"])
    assert 49e6 < needed < 60e6
    with pytest.raises(UserError, match=r"failed with status 1: .*AssertionError"):
        own_process.peak_bytes(code, ["1"], ["bee"])
    file = tmp_path / "one.arpa"
    file.write_text(ARPA)
    for code, arguments in (
        (own_process.NETWORK, [tiny_run, "int8"]),
        (own_process.NGRAMS, [tiny_run, file]),
    ):
        assert own_process.peak_bytes(code, arguments, ["ant bee"]) > bare + 30e6
    asked = []
    monkeypatch.setattr("refrain.bench.score_models.own_memory", lambda *process: asked.append(process[:2]) or 5)
    lm = runs.load(tiny_run)
    rows = bench_models(lm.model, lm.vocabulary, ["ant"], file, lambda mixture: 0.25, repeats=1, run=tiny_run)
    assert [row["memory"] for row in rows] == [5] * len(asked) + [None, None]
    assert asked[:3] == [
        (own_process.NETWORK, [tiny_run, "float32"]),
        (own_process.NETWORK, [tiny_run, "int8"]),
        (own_process.NGRAMS, [tiny_run, file]),
    ]


def test_a_model_of_bytes_is_measured_alone(capsys, byte_run, tmp_path, monkeypatch):
    from refrain.cli.app import main

    monkeypatch.setattr("refrain.bench.score_models.own_memory", lambda *process: 1)

    words = ["bench", "score", *SMALL, "--windows", "2", "--repeats", "1", "--run", str(byte_run)]
    assert main([*words, "--json"]) == 0
    assert [row["name"] for row in json.loads(capsys.readouterr().out)["models"]] == [
        "network, float32",
        "network, int8",
    ]
    file = tmp_path / "one.arpa"
    file.write_text(ARPA)
    assert main([*words, "--ngram", str(file)]) == 2
    assert "--ngram needs a model of words" in capsys.readouterr().err


def test_the_command(capsys, tiny_run, tmp_path, monkeypatch):
    from refrain.cli.app import main

    monkeypatch.setattr("refrain.bench.score_models.own_memory", lambda *process: 1)

    file = tmp_path / "one.arpa"
    file.write_text(ARPA)
    words = ["bench", "score", *SMALL, "--windows", "2", "--repeats", "1", "--run", str(tiny_run), "--ngram", str(file)]
    assert main(words) == 0
    out = capsys.readouterr().out
    assert "lines together, int8" in out and "perplexity" in out and "of the n-gram model" in out
    for more, message in (
        (["--ngram", str(file)], "--ngram is measured beside a network"),
        (["--run", "a", "--run", "b"], "measures one --run"),
        (["--device", "cuda"], "one thread of the CPU"),
        (["--windows", "0"], "must be at least 1"),
        (["--plot", "a.png"], "cannot take effect"),
    ):
        assert main(["bench", "score", *more]) == 2
        assert message in capsys.readouterr().err
    assert main(["bench", "train", "--ngram", str(file)]) == 2
