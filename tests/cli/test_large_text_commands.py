"""Commands on texts in many files, by several processes."""

import gzip
import sys

import pytest

from refrain.bench import prepare
from refrain.data.text import pieces


@pytest.fixture
def shards(write, monkeypatch, tmp_path):
    monkeypatch.setenv("REFRAIN_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(pieces, "PIECE_BYTES", 500)
    for number in range(4):
        text = "".join(f"w{line} of w{line % 7}\n" for line in range(100 * number, 100 * number + 100)).encode()
        path = write(f"shards/part-{number}.txt.gz", gzip.compress(text))
    return path.parent


def test_data_check_of_a_pattern_and_a_folder(refrain, mistake, shards, tmp_path, monkeypatch):
    found = refrain("data", "check", shards / "part-*", "--workers", "2", "--max-words", "10", "--json").json
    assert [split["lines"] for split in found["splits"].values()] == [360, 20, 20]
    # <eos>, of, w0 to w6 and <unk>
    assert found["vocabulary"] == 10
    assert found["splits"]["train"]["unseen"] == 353
    monkeypatch.setenv("REFRAIN_CACHE", str(tmp_path / "other"))
    again = refrain("data", "check", shards, "--workers", "1", "--max-words", "10", "--json").json
    assert again["splits"] == found["splits"]
    mistake(2, ["data", "check", shards, "--workers", "0"], "--workers must be from 1 to 256 (got 0)")
    mistake(2, ["data", "check", shards, "--max-words", "1"], "--max-words must be at least 2 (got 1)")
    for unit, option in (("byte", "--workers"), ("character", "--max-words")):
        words = ["data", "check", shards, "--unit", unit, option, "9"]
        mistake(2, words, f"{option} cannot take effect with --unit {unit}")


def test_a_run_is_resumed_with_another_number_of_processes(refrain, shards, tiny_settings, tmp_path):
    words = [
        "train",
        "zaremba-small",
        *tiny_settings,
        "--out",
        tmp_path / "run",
        "data.min_count=2",
        "training.validation=exact",
    ]
    assert refrain(*words, "--data", shards, "data.workers=2", "--quiet").status == 0
    more = ["--resume", "data.workers=1", "training.epochs=3", "--json"]
    assert refrain("train", "--out", tmp_path / "run", *more).json["epochs"] == 3
    evaluated = refrain("evaluate", tmp_path / "run", "--data", shards / "part-0*", "--json").json
    assert evaluated["tokens"] == 399


def test_the_bench_of_preparing(refrain, mistake, monkeypatch, shards, write):
    monkeypatch.setattr(prepare, "DISTINCT", 500)
    found = refrain("bench", "prepare", "--megabytes", "1", "--repeats", "1", "--json").json
    assert [row["name"] for row in found["rows"]] == ["1 process", "2 processes"]
    assert all(row["median"] > 0 and row["ratio"] > 0 for row in found["rows"])
    if sys.platform == "linux":
        assert all(10 < row["megabytes"] < 1000 for row in found["rows"])
    words = ["bench", "prepare", "--repeats", "1"]
    mistake(2, [*words, "--megabytes", "2", "--data", shards], "leave out --data, or --megabytes")
    mistake(2, [*words, "data.workers=1"], "data.workers is compared with one process, and must be at least 2 (got 1)")
    mistake(2, [*words, "data.unit=byte", "data.min_count=1"], "bench prepare measures words, characters and subwords")
    bad = write("bad.txt", b"line\n" * 99 + b"bad \xe9 line\n")
    mistake(
        3,
        [*words, "--data", bad],
        "(0xe9); correct the file, or if it is in Latin-1",
        ", or continue with data.errors=replace",
    )
    mistake(2, ["bench", "train", "--megabytes", "2"], "--megabytes cannot take effect in bench train")
    mistake(2, [*words, "--megabytes", "0"], "--megabytes and --repeats must be at least 1 (got 0 and 1)")


def test_the_made_text_has_the_words_of_a_language():
    text = "".join(prepare.made_text(2_000_000))
    words = text.split()
    assert 2_000_000 <= len(text) < 3_000_000
    assert 4 < len(text) / len(words) < 7
    assert 20_000 < len(set(words)) < 80_000
    assert set(map(len, map(str.split, text.splitlines()))) == {prepare.LINE_WORDS}
    assert text == "".join(prepare.made_text(2_000_000))
