"""`refrain check` shows how predefined sparseness lays a model out."""

import pytest

SHAPE = ("model.embedding_size=8", "model.hidden_sizes=[12,12,8]")
SMALL = ("training.batch_size=2", "training.window_steps=3", "training.validation=exact")


@pytest.fixture
def corpus(tmp_path):
    folder = tmp_path / "corpus"
    folder.mkdir()
    for split in ("train", "valid", "test"):
        (folder / f"{split}.txt").write_text("a b c d e f\na b c\na b\na\n" * 12)
    return folder


def test_the_layout_is_printed_and_drawn(refrain, corpus, tmp_path):
    words = (
        "check",
        "recite-sparse2",
        *SHAPE,
        "model.embedding=sparse",
        "model.embedding.blocks=4",
        *SMALL,
        "--data",
        corpus,
    )
    found = refrain(*words, "--json").json
    assert sum(band["words"] for band in found["bands"]) == 8
    assert sum(band["share"] for band in found["bands"]) == pytest.approx(1)
    assert [band["width"] for band in found["bands"]] == sorted(band["width"] for band in found["bands"])
    assert set(found["plans"]) == {f"stack.layers.{index}" for index in range(3)}
    picture = tmp_path / "layout.png"
    outcome = refrain(*words, "--layout", picture)
    printed = outcome.out
    assert outcome.err.endswith(f"wrote {picture}\n")
    assert "blocks, density" in printed and "of the training text" in printed
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_a_dense_recipe_has_no_layout(mistake, corpus, tmp_path):
    words = ("check", "recite-dense", *SHAPE, *SMALL, "--data", corpus, "--layout", tmp_path / "x.png")
    mistake(2, words, "no layer of this recipe is sparse")


def test_a_tagger_has_one_too(refrain, tmp_path):
    (tmp_path / "train.tsv").write_text("the\tD\ndog\tN\nran\tV\n\nthe\tD\ncat\tN\n\n" * 20)
    (tmp_path / "dev.tsv").write_text("the\tD\ndog\tN\n\n" * 3)
    found = refrain(
        "check", "pos-sparse", "model.embedding=sparse", "model.embedding.blocks=4", "--data", tmp_path, "--json"
    ).json
    assert sum(band["share"] for band in found["bands"]) == pytest.approx(1)


def test_a_run_says_what_its_sparse_layers_are_and_when_one_is_smaller_than_asked_for(refrain, corpus, tmp_path):
    sizes = (
        "model.embedding_size=6",
        "model.hidden_sizes=[24,6]",
        "model.cell=sparse-lstm",
        "model.cell.plan=fraction",
        "model.cell.plan.of=hidden",
        "model.tied=true",
    )
    words = ("train", "zaremba-small", *sizes, *SMALL, "model.cell.plan.fraction=0.9", "training.epochs=1")
    said = refrain(*words, "--data", corpus, "--out", tmp_path / "run").err
    assert "sparse stack.layers.0: 6 -> 24 in " in said and "every block already reads all inputs" in said
