"""Subwords: a session reads a text as a part of its line, and the surprisal of a word does not depend on the next."""

import pytest

import refrain
from refrain.serve import Models, serve_model

TEXT = "the cat sat on the mat\nthe caf\u00e9 sits\nmatted cats sit\n"
SMALL = (
    "model.embedding_size=8", "model.hidden_sizes=[8]", "training.epochs=1", "training.batch_size=4",
    "training.device=cpu", "training.sample_tokens=0", "data.unit=subword", "data.pieces=290", "data.min_count=1",
)  # fmt: skip


@pytest.fixture(scope="module")
def subwords(tmp_path_factory):
    pytest.importorskip("sentencepiece")
    folder = tmp_path_factory.mktemp("subwords")
    for split, count in (("train", 60), ("valid", 12), ("test", 12)):
        (folder / f"{split}.txt").write_text(TEXT * count, encoding="utf-8")
    experiment = refrain.recipe("quickstart", *SMALL, data=folder)
    refrain.train(experiment, folder / "run")
    return refrain.load(folder / "run")


def test_what_a_session_reads_is_what_the_text_has(served, subwords):
    """A candidate that is sent back is the token that was offered, with the log-probability that it had."""
    with served(Models([serve_model("subwords", subwords)])) as (_, client):
        session = client.post("/sessions", json={"count": 0}).json()["session"]
        path = f"/sessions/{session}/read"
        read = client.post(path, json={"text": "the", "count": 0}).json()["read"]
        offered = client.post(path, json={"text": "", "beginning": "c", "count": 1}).json()["candidates"][0]
        found = client.post(path, json={"text": offered["text"], "count": 0, "score": True}).json()
        rest = client.post(path, json={"text": " sat\nthe", "count": 0}).json()
    (again,) = found["read"]
    assert again["log_probability"] == pytest.approx(offered["log_probability"], rel=1e-5)
    every = [*read, again, *rest["read"]]
    wanted = subwords.vocabulary.encode(f"the{offered['text']} sat\nthe")
    assert [token["id"] for token in every] == wanted


def test_the_surprisal_of_a_word_does_not_depend_on_the_next(subwords):
    third = [subwords.surprisal(f"on the mat {word}")[2].surprisal_bits for word in ("sat", "zzz", "\u65e5\u672c")]
    third.append(subwords.surprisal("on the mat")[2].surprisal_bits)
    assert third == pytest.approx([third[0]] * 4, rel=1e-5)
    # the rest of a text after its beginning is as within the text
    whole, rest = subwords.surprisal("on the mat zzz"), subwords.surprisal("mat zzz", after="on the")
    assert [row.surprisal_bits for row in rest] == pytest.approx([row.surprisal_bits for row in whole][2:], rel=1e-5)
    assert [row.surprisal_bits for row in subwords.surprisal("mat zzz", after="on the ")] == pytest.approx(
        [row.surprisal_bits for row in rest]
    )
    rows = subwords.surprisal(["on the", "mat"], context="document", after="the cat\n")
    assert [row.word for row in rows] == ["on", "the", "mat"] and all(row.entropy_bits is not None for row in rows)
    # a line end begins a line
    begun, joined = (subwords.surprisal("on the", after=f"the cat{end}")[0].surprisal_bits for end in ("\n", ""))
    assert begun == pytest.approx(rows[0].surprisal_bits, rel=1e-5) and begun != pytest.approx(joined, rel=1e-5)
