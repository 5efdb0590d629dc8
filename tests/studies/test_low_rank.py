"""Embeddings and heads of a lower rank: exact where the rank is there, best where it is not, and ordinary runs."""

import pytest
import torch
from kinds_of_runs import KINDS, QUIET, SMALL

from refrain import load, recipe, train
from refrain.config import Experiment
from refrain.errors import UserError
from refrain.models.step_graph import step_graph
from refrain.studies import compress
from refrain.studies.low_rank import Ranks, reduced
from refrain.studies.removal_cost import open_validation


def parts(run):
    lm = load(run)
    experiment = Experiment.model_validate(lm.config)
    return lm.model, experiment, open_validation(lm.vocabulary, experiment, None, lambda line: None).windows


def log_probabilities(model, text):
    hidden, _ = model.hidden(text[0][0], model.initial_state(text.batch_size))
    return model.head.log_probabilities(hidden.dropped).detach()


def low(matrix, rank):
    """Give a matrix a rank, in place."""
    u, s, v = torch.linalg.svd(matrix.detach(), full_matrices=False)
    matrix.data.copy_(u[:, :rank] * s[:rank] @ v[:rank])


@pytest.mark.parametrize(("kind", "ranks"), [
    ("lstm", Ranks(5, None)), ("lstm", Ranks(None, 6)), ("lstm", Ranks(5, 6)), ("gru", Ranks(5, 6)),
    ("mlstm", Ranks(5, 6)), ("tied", Ranks(5, 5)), ("tied, one layer", Ranks(5, 5)),
    ("low rank", Ranks(5, 6)), ("weight norm", Ranks(5, 6)), ("adaptive", Ranks(5, None)),
    ("narrow first layer", Ranks(8, None)), ("narrow first layer", Ranks(10, None)),
])  # fmt: skip
def test_a_matrix_that_has_the_rank_is_replaced_without_loss(runs, kind, ranks):
    model, experiment, text = parts(runs(kind))
    if ranks.embedding and kind != "narrow first layer":
        # a first layer with two units has eight gates, so that eight directions of an embedding are read
        low(model.embedding.weight, ranks.embedding)
    if ranks.head and not kind.startswith("tied"):
        low(model.head.weight, ranks.head)
    before = log_probabilities(model, text)
    small, settings = reduced(model, experiment, ranks, [1.0] * len(model.embedding.weight), text)
    torch.testing.assert_close(log_probabilities(small, text), before, atol=2e-4, rtol=0)
    assert sum(p.numel() for p in small.parameters()) < sum(p.numel() for p in model.parameters())
    assert small.embedding.embedding_size == settings.model.embedding_size == (ranks.embedding or 12)
    if ranks.head:
        assert settings.model.head.rank == ranks.head == len(small.head.projection)


def test_frequent_words_are_kept_best(runs):
    """With a rank of 1, the word that nearly all of the text consists of is exact."""
    model, experiment, text = parts(runs("lstm"))
    for word in (2, 4):
        counts = [0.0] * len(model.embedding.weight)
        counts[word] = 1e9
        small, _ = reduced(model, experiment, Ranks(1, None), counts, text)
        reading = model.embedding.weight @ model.stack.layers[0].weight_ih.T
        now = small.embedding.weight @ small.stack.layers[0].weight_ih.T
        error = ((reading - now).norm(dim=1) / reading.norm(dim=1)).tolist()
        assert error[word] < 1e-3 and sorted(error)[1] > 0.1


@torch.no_grad()
def test_no_other_head_of_the_rank_has_a_smaller_error(runs):
    """The weighted error of the logits, without their mean, on the text on which it is minimised."""
    model, experiment, text = parts(runs("lstm"))
    counts = [float(1 + index % 5) for index in range(len(model.embedding.weight))]
    small, _ = reduced(model, experiment, Ranks(None, 4), counts, text)
    hidden = []
    state = model.initial_state(text.batch_size)
    for index in range(min(50, len(text))):
        outputs, state = model.hidden(text[index][0], state)
        hidden.append(outputs.dropped.flatten(0, -2))
    hidden = torch.cat(hidden).double()
    shares = torch.tensor(counts, dtype=torch.float64)

    def error(rows, projection):
        difference = hidden @ (model.head.weight.double() - rows @ projection).T
        return float((shares * (difference - difference.mean(0)).square().mean(0)).sum())

    rows, projection = small.head.weight.double(), small.head.projection.double()
    least = error(rows, projection)
    u, s, v = torch.linalg.svd(model.head.weight.double(), full_matrices=False)
    assert least < 0.999 * error(u[:, :4] * s[:4], v[:4])
    draw = torch.Generator().manual_seed(1)
    for _ in range(20):
        changes = [1e-2 * each.std() * torch.randn(each.shape, generator=draw).double() for each in (rows, projection)]
        assert error(rows + changes[0], projection + changes[1]) > least
    # what is lost of the mean is in the bias
    logits = [hidden.float() @ model.head.weight.T + model.head.bias, small.head._projected(hidden.float())]
    logits[1] = logits[1] @ small.head.weight.T + small.head.bias
    torch.testing.assert_close(logits[1].mean(0), logits[0].mean(0), atol=1e-4, rtol=0)


@pytest.mark.parametrize(("kind", "ranks"), [("lstm", {"embedding_rank": 6, "head_rank": "50%"}),
                                             ("tied", {"head_rank": 5})])  # fmt: skip
def test_the_smaller_run_is_an_ordinary_one(runs, tiny_corpus, tmp_path, kind, ranks):
    found = compress(runs(kind), tmp_path / "small", max_loss=9.0, **ranks)
    assert found["ranks"] == ({"embedding": 6, "head": 7} if kind == "lstm" else {"embedding": 5, "head": 5})
    assert found["after"]["parameters"] < found["before"]["parameters"]
    assert "rank" in (tmp_path / "small" / "README.md").read_text()
    lm = load(tmp_path / "small")
    assert lm.generate("a", tokens=3, seed=1)[0].startswith("a")
    assert step_graph(lm.model).weights
    assert lm.stepper.unpacked == []
    settings = [f"model.{name}={value}" for name, value in (
        ("embedding_size", lm.config["model"]["embedding_size"]), ("head", "low-rank"),
        ("head.rank", lm.config["model"]["head"]["rank"]),
    )]  # fmt: skip
    experiment = recipe("zaremba-small", *SMALL, *KINDS[kind], *settings, data=str(tiny_corpus))
    assert train(experiment, tmp_path / "on", start_from=tmp_path / "small", progress=QUIET)["epochs"] == 2
    again = compress(tmp_path / "small", tmp_path / "again", max_loss=9.0, head_rank=3)
    assert again["ranks"]["head"] == 3


def test_finetuning_after_it(runs, tmp_path):
    found = compress(runs("lstm"), tmp_path / "small", embedding_rank=6, finetune_epochs=1)
    assert found["finetuned"]["widths"]["embedding"] == 6


def test_units_are_removed_for_the_rest_of_a_size(runs, tmp_path):
    found = compress(runs("lstm"), tmp_path / "small", embedding_rank=6, to=("parameters", "50%"), max_loss=9.0)
    assert found["removed"] and found["ranks"]["embedding"] == 6
    assert found["after"]["parameters"] <= 0.5 * found["before"]["parameters"]


@pytest.mark.parametrize(
    ("kind", "ranks", "message"),
    [
        ("lstm", {"embedding_rank": 12}, "--embedding rank=12: must be at least 1 and below the present width, 12"),
        ("lstm", {"head_rank": 0}, "--head rank=0: must be at least 1 and below the present width, 14"),
        ("lstm", {"head_rank": "half"}, "--head rank=half: must be a number or a percentage"),
        ("adaptive", {"head_rank": 5}, "--head: only a softmax can get a lower rank, not AdaptiveHead"),
        ("mixture", {"embedding_rank": 5}, "--embedding: a mixture of softmaxes has vectors as wide as the embedding"),
        ("sparse layer", {"embedding_rank": 5}, "--embedding: the blocks of the sparse first layer read parts"),
        ("sparse embedding", {"embedding_rank": 5}, "--embedding: only a dense embedding can get a lower rank"),
        ("tied", {"embedding_rank": 5, "head_rank": 5}, "--embedding and --head: the model shares one matrix"),
    ],
)
def test_what_cannot_be_reduced(runs, tmp_path, kind, ranks, message):
    with pytest.raises(UserError, match=message):
        compress(runs(kind), tmp_path / "small", **ranks)
    assert not any(tmp_path.iterdir())
