"""Ranks for bands of words: exact where the ranks are there, best where they are not, and ordinary runs."""

import json
from itertools import pairwise

import pytest
import torch
from kinds_of_runs import KINDS, QUIET, SMALL
from test_low_rank import log_probabilities, low, parts

from refrain import load, recipe, train
from refrain.errors import UserError
from refrain.models.step_graph import step_graph
from refrain.studies import compress
from refrain.studies.low_rank import Ranks, moments_of, readers_of, reduced
from refrain.studies.rank_bands import rank_of
from refrain.studies.sized_bands import Spectrum, spectra

EMBEDDING, HEAD = ((0, 12), (5, 6), (9, 2)), ((0, 14), (4, 7), (9, 3))
FEW = {"embedding": ((0, 6), (5, 4), (9, 2)), "head": ((0, 8), (4, 7), (9, 3))}


def low_in_bands(matrix, bands):
    """Give each band of a matrix its rank, in place."""
    for (start, end), (_, rank) in zip(pairwise([*(start for start, _ in bands), len(matrix)]), bands, strict=True):
        low(matrix[start:end], rank)


@pytest.mark.parametrize(
    ("kind", "ranks"),
    [
        ("lstm", Ranks(EMBEDDING, None)), ("lstm", Ranks(None, HEAD)), ("lstm", Ranks(EMBEDDING, HEAD)),
        ("lstm", Ranks(5, HEAD)), ("gru", Ranks(EMBEDDING, HEAD)), ("mlstm", Ranks(EMBEDDING, 6)),
        ("adaptive", Ranks(EMBEDDING, None)), ("low rank", Ranks(None, ((0, 13), (4, 5)))),
        ("tied", Ranks(EMBEDDING, EMBEDDING)), ("tied, one layer", Ranks(EMBEDDING, EMBEDDING)),
    ],
)  # fmt: skip
def test_bands_that_have_their_ranks_are_replaced_without_loss(runs, kind, ranks):
    model, experiment, text = parts(runs(kind))
    for matrix, rank in ((model.embedding.weight, ranks.embedding), (getattr(model.head, "weight", None), ranks.head)):
        if isinstance(rank, tuple):
            low_in_bands(matrix, rank)
        elif rank is not None:
            low(matrix, rank)
    before = log_probabilities(model, text)
    small, settings = reduced(model, experiment, ranks, [1.0] * len(model.embedding.weight), text)
    torch.testing.assert_close(log_probabilities(small, text), before, atol=2e-4, rtol=0)
    for part, asked in (("embedding", ranks.embedding), ("head", ranks.head)):
        if isinstance(asked, tuple):
            found = getattr(settings.model, part)
            width = 12 if part == "embedding" else experiment.model.hidden_sizes[-1]
            full = "full" if kind not in ("low rank", "tied", "tied, one layer") else width
            assert found.kind == "block-low-rank"
            assert found.bands == tuple((start, full if rank == width else rank) for start, rank in asked)


def tail(matrix, rank):
    """The sum of squares of the singular values of a matrix that a rank leaves out."""
    return float(torch.linalg.svdvals(matrix)[rank:].square().sum())


@torch.no_grad()
def test_the_error_of_each_band_of_an_embedding_is_the_tail_of_its_singular_values(runs):
    """Of what the gates read, weighted by counts; the largest rank is the whole width, so that nothing else is lost."""
    model, experiment, text = parts(runs("lstm"))
    words = model.widths()["vocabulary"]
    counts = torch.linspace(9, 1, words, dtype=torch.float64)
    small, _ = reduced(model, experiment, Ranks(EMBEDDING, None), counts.tolist(), text)
    shares = (counts / counts.sum()).sqrt()[:, None]

    def read(which):
        reading = torch.cat([dict(which.named_parameters())[name].double() for name in readers_of(which)])
        return shares * (which.embedding(torch.arange(words)).double() @ reading.T)

    before, after = read(model), read(small)
    for (start, end), (_, rank) in zip(pairwise([*(s for s, _ in EMBEDDING), words]), EMBEDDING, strict=True):
        error = float((before - after)[start:end].square().sum())
        assert error == pytest.approx(tail(before[start:end], rank), rel=1e-4, abs=1e-9)


@torch.no_grad()
def test_the_error_of_each_band_of_a_head_is_the_tail_of_its_singular_values(runs):
    """Of the logits on the text without their mean, weighted by the counts; the mean that is lost is in the bias."""
    model, experiment, text = parts(runs("lstm"))
    words = model.widths()["vocabulary"]
    counts = torch.linspace(9, 1, words, dtype=torch.float64)
    small, _ = reduced(model, experiment, Ranks(None, HEAD), counts.tolist(), text)
    mean, covariance = moments_of(model, text)
    values, vectors = torch.linalg.eigh(covariance)
    root = vectors * values.clamp_min(0).sqrt() @ vectors.T
    shares = (counts / counts.sum()).sqrt()[:, None]
    dense = torch.cat([
        block.double() @ (small.head.projections[str(index)].double() if index else torch.eye(14).double())
        for index, block in enumerate(small.head.blocks)
    ])  # fmt: skip
    before, after = model.head.weight.double(), dense
    for (start, end), (_, rank) in zip(pairwise([*(s for s, _ in HEAD), words]), HEAD, strict=True):
        error = float((shares * ((before - after) @ root))[start:end].square().sum())
        assert error == pytest.approx(tail((shares * (before @ root))[start:end], rank), rel=1e-3, abs=1e-9)
    logits = [mean @ before.T + model.head.bias, mean @ after.T + small.head.bias]
    torch.testing.assert_close(*logits, atol=1e-5, rtol=0)


def test_bands_of_one_rank_are_the_plain_rank(runs):
    """The embedding becomes as wide as the largest rank, and what it then computes is that of the rank alone."""
    model, experiment, text = parts(runs("lstm"))
    counts = [1.0] * model.widths()["vocabulary"]
    plain, _ = reduced(model, experiment, Ranks(6, None), counts, text)
    bands, settings = reduced(model, experiment, Ranks(((0, 6), (5, 6)), None), counts, text)
    assert settings.model.embedding_size == 6 and not bands.embedding.projections
    torch.testing.assert_close(log_probabilities(bands, text), log_probabilities(plain, text))


@pytest.mark.parametrize(("kind", "asked"), [
    ("lstm", {"embedding_rank": FEW["embedding"], "head_rank": [(0, "100%"), (4, "50%"), (9, 3)]}),
    ("tied", {"head_rank": FEW["embedding"]}),
])  # fmt: skip
def test_the_smaller_run_is_an_ordinary_one(runs, tiny_corpus, tmp_path, kind, asked):
    found = compress(runs(kind), tmp_path / "small", max_loss=9.0, weights="int8", **asked)
    expected = [(0, 14), (4, 7), (9, 3)] if kind == "lstm" else FEW["embedding"]
    assert found["ranks"] == {"embedding": FEW["embedding"], "head": tuple(expected)}
    assert "bands 0:6,5:4,9:2 of the embedding" in (tmp_path / "small" / "README.md").read_text()
    lm = load(tmp_path / "small")
    assert lm.config["model"]["embedding"]["kind"] == lm.config["model"]["head"]["kind"] == "block-low-rank"
    assert lm.weights == "int8" and lm.stepper.unpacked == []
    assert lm.generate("a", tokens=3, seed=1)[0].startswith("a") and lm.score("ant bee\n").tokens > 1
    assert step_graph(lm.model).weights
    model = lm.config["model"]
    settings = [f"model.{name}={value}" for name, value in (
        ("embedding_size", model["embedding_size"]), ("embedding", "block-low-rank"), ("head", "block-low-rank"),
        *((f"{part}.bands", json.dumps(model[part]["bands"])) for part in ("embedding", "head")),
    )]  # fmt: skip
    experiment = recipe("zaremba-small", *SMALL, *KINDS[kind], *settings, data=str(tiny_corpus))
    assert train(experiment, tmp_path / "on", start_from=tmp_path / "small", progress=QUIET)["epochs"] == 2
    again = compress(tmp_path / "on", tmp_path / "again", max_loss=9.0, to=("parameters", "70%"))
    assert again["removed"] and again["after"]["parameters"] <= 0.7 * again["before"]["parameters"]
    with pytest.raises(UserError, match="not BlockLowRank"):
        compress(tmp_path / "on", tmp_path / "twice", head_rank=3)


def test_finetuning_after_it(runs, tmp_path):
    found = compress(runs("lstm"), tmp_path / "small", embedding_rank=FEW["embedding"], finetune_epochs=1)
    assert found["finetuned"]["widths"]["embedding"] == 6


@pytest.mark.parametrize("tied", [False, True])
def test_a_size_in_bytes_tries_bands(tiny_corpus, tmp_path, tied):
    sizes = ("model.hidden_sizes=[10,48]", "model.tied=true") if tied else ("model.hidden_sizes=[10,64]",)
    wide = ("data.unit=byte", *sizes, "model.embedding_size=48", "training.epochs=1")
    train(recipe("zaremba-small", *SMALL, *wide, data=str(tiny_corpus)), tmp_path / "run", progress=QUIET)
    lines = []
    found = compress(tmp_path / "run", tmp_path / "small", to=("bytes", "22%"), max_loss=9.0, log=lines.append)
    tried = [line for line in lines if "bands" in line and "on the beginning of" in line]
    assert any("zeros" in line for line in tried) and any("zeros" not in line for line in tried)
    assert found["after"]["bytes"] <= 0.22 * found["before"]["bytes"] + 100
    # and of a run whose units were removed already, by a size or by hand
    removed = compress(tmp_path / "run", tmp_path / "uneven", to=("multiply_adds", "80%"), max_loss=9.0)
    widths = removed["after"]["widths"]
    assert min(widths.values()) < 10 or widths["embedding" if tied else "layer1.hidden"] < 48
    found = compress(tmp_path / "uneven", tmp_path / "smaller", to=("bytes", "22%"), max_loss=9.0)
    assert found["before"]["widths"] == widths and found["after"]["bytes"] <= 0.22 * found["before"]["bytes"] + 100
    for run, figures in (("uneven", found["before"]), ("smaller", found["after"])):
        lm = load(tmp_path / run)
        assert figures["parameters"] == sum(parameter.numel() for parameter in lm.model.parameters())
        assert figures["bytes"] == (tmp_path / run / "best" / "model.safetensors").stat().st_size
        ids = torch.tensor(lm.vocabulary.encode((tiny_corpus / "test.txt").read_text()))[:, None]
        nats, _ = lm.stepper.token_nats(ids[:-1], ids[1:], lm.initial_state())
        assert figures["perplexity"] == pytest.approx(float(nats.double().mean().exp()), rel=1e-4)


def spectrum(**changes):
    saved = (torch.tensor([9.0, 4.0, 1.0, 0.5]), torch.tensor([3.0, 2.0, 0.1, 0.0]))
    settings = {"starts": (0, 10), "words": (10, 40), "saved": saved, "projected": 4, "has_full": False}
    return Spectrum(**(settings | {"is_nested": False} | changes))


def test_each_entry_saves_as_much_as_any_other():
    """By hand: a rank of the first band costs 14 entries, one of the second 44; what they save for each is ordered so:
    9/14, 4/14, 1/14, 3/44, 2/44, 0.5/14, ..."""
    found = [spectrum().bands(entries) for entries in (0, 14, 28, 42, 86, 130, 144, 1000)]
    assert found == [((0, first), (10, second)) for first, second in
                     [(1, 1), (1, 1), (2, 1), (3, 1), (3, 1), (3, 2), (4, 2), (4, 4)]]  # fmt: skip
    # rows of the full width have 40 entries, and of rank 3 with a projection 42
    assert spectrum(has_full=True).bands(42) == ((0, 4), (10, 1))
    assert spectrum(has_full=True, is_nested=True).bands(28) == ((0, 2), (10, 1))


def test_bands_start_at_the_frequent_end_of_the_vocabulary(runs):
    model, _, text = parts(runs("lstm"))
    words = model.widths()["vocabulary"]
    rising = [float(index) for index in range(words)]
    falling = spectra(model, rising[::-1], text)[0].starts
    # but for how numbers of words are rounded
    pairs = zip(spectra(model, rising, text)[0].starts[1:], reversed(falling[1:]), strict=True)
    assert all(abs(start - (words - other)) <= 1 for start, other in pairs)


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ([(0, 13), (5, 3)], "each rank must be at least 1 and at most the present width, 12"),
        ([(0, 0), (5, 3)], "each rank must be at least 1"),
        ([(5, 3), (9, 2)], "--head bands=5:3,9:2: the words at which bands start must ascend from 0, each given once"),
        ([(0, 5), (0, 3)], "must ascend from 0, each given once"),
        ([(0, 5), (9, 3), (5, 2)], "must ascend from 0"),
        ([(0, 5), (20, 3)], "a band starts at word 20, but the last of 20 words is 19"),
        ([(0, 5)], "needs at least two bands, one of them with a rank below 12; for one, give rank=N"),
        ([(0, 12), (5, "100%")], "needs at least two bands"),
        ([(0, "half"), (5, 3)], "must be a number or a percentage"),
    ],
)
def test_bands_that_do_not_fit(asked, message):
    with pytest.raises(UserError, match=message):
        rank_of("--head", asked, 12, 20)


def test_frequent_words_must_not_have_the_smaller_rank(runs, tmp_path):
    with pytest.raises(
        UserError, match=r"--embedding bands=0:3,9:6: words from 9 on occur .* larger rank to more freq"
    ):
        compress(runs("lstm"), tmp_path / "small", embedding_rank=[(0, 3), (9, 6)])
    assert not any(tmp_path.iterdir())
