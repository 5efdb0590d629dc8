"""The rows of a model for another vocabulary."""

import pytest
import torch

from refrain.assembly.model import build_model
from refrain.config import Model
from refrain.models.adaptive_rows import _Trained
from refrain.models.other_vocabulary import Units, carried_over, count_shortened
from refrain.nn import SparseEmbedding
from refrain.training import load_weights
from refrain.training.resume import weights_of

V = 20
SIZES = {"embedding_size": 6, "hidden_sizes": (8, 6)}
MODELS = {
    "softmax": {},
    "tied": {"tied": True},
    "mixture": {"head": {"kind": "mixture", "components": 3}},
    "tied-mixture": {"head": {"kind": "mixture", "components": 3}, "tied": True},
    "adaptive": {"head": {"kind": "adaptive", "cutoffs": (6, 12)}, "hidden_sizes": (8, 16)},
    "bands": {
        "embedding": {"kind": "block-low-rank", "bands": ((0, "full"), (6, 3))},
        "head": {"kind": "block-low-rank", "bands": ((0, 5), (6, 4), (10, 2))},
    },
    "tied-bands": {
        "embedding": {"kind": "block-low-rank", "bands": ((0, 5), (6, 3))},
        "head": {"kind": "block-low-rank", "bands": ((0, 5), (6, 3))},
        "hidden_sizes": (8, 7),
        "tied": True,
    },
    "sparse-embedding": {"embedding": {"kind": "sparse", "blocks": 3, "density": 0.5}},
    "tied-sparse-embedding": {"embedding": {"kind": "sparse", "blocks": 3, "density": 0.5}, "tied": True},
}


def built(name, words=V, seed=1):
    torch.manual_seed(seed)
    model = build_model(Model(**{**SIZES, **MODELS[name]}), words)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn_like(parameter) / 3)
    return model.eval()


def carried(name, trained, source, initial=(0,)):
    """A model with the rows of a trained one, in place of random weights."""
    model = built(name, len(source), seed=2)
    units = {"vocabulary": Units(torch.tensor(source), torch.tensor(initial))}
    load_weights(model, carried_over(weights_of(trained), trained, model, units))
    return model


def log_probabilities(model, ids):
    outputs, _ = model.hidden(ids, model.initial_state(ids.shape[1]))
    return model.head.log_probabilities(outputs.dropped)


@pytest.mark.parametrize("name", MODELS)
def test_the_same_words_in_another_order_are_the_same_model(name):
    trained = built(name)
    # by pairs, so that words stay in their cluster, and in a band of the sparse embedding's layout
    order = [index ^ 1 for index in range(V)]
    if "sparse" in name:
        starts = {band.start for band in trained.embedding.bands}
        order = [index ^ 1 if {index, index ^ 1}.isdisjoint(starts) else index for index in range(V)]
        assert len({*order}) == V and order != list(range(V))
    model = carried(name, trained, order)
    ids = torch.randint(V, (5, 3))
    # word i of the new model is the trained word order[i], and a swap is its own inverse
    found = log_probabilities(model, torch.tensor(order)[ids])
    torch.testing.assert_close(found[..., order], log_probabilities(trained, ids))


@pytest.mark.parametrize("name", MODELS)
def test_rows_are_kept_made_and_freed(name):
    """A larger vocabulary: eight known words in places where the layout keeps their vectors, and new ones."""
    trained = built(name)
    source = [*range(4), *[-1] * 9, *range(14, 20)]
    initial = [15, 16, 19]
    model = carried(name, trained, source, initial)
    found = model.embedding(torch.arange(len(source)))
    kept = [place for place, index in enumerate(source) if index >= 0]
    rows = trained.embedding(torch.arange(V))
    new = [place for place, index in enumerate(source) if index < 0]
    if "sparse" not in name and "bands" not in name:
        assert torch.equal(found[kept], rows[torch.tensor(source)[kept]])
        torch.testing.assert_close(found[new], rows[initial].mean(0).expand(len(new), -1))
    if name != "adaptive":
        assert torch.equal(model.head.bias[kept], trained.head.bias[torch.tensor(source)[kept]])
        torch.testing.assert_close(model.head.bias[new], trained.head.bias[initial].mean().expand(len(new)))


def projections(model, part, band):
    """The matrix (R, D) that the rows of a band are multiplied with."""
    own, rows = getattr(model, part), getattr(model, part).blocks[band]
    found = own.projections[str(band)] if str(band) in own.projections else torch.eye(rows.shape[1])
    return found.T if part == "embedding" and str(band) in own.projections else found


@pytest.mark.parametrize(("name", "parts"), [
    ("bands", ["embedding"]), ("bands", ["head"]), ("tied-bands", ["embedding", "head"]),
])  # fmt: skip
@torch.no_grad()
def test_a_word_that_leaves_its_band_has_the_nearest_vector(name, parts):
    trained = built(name)
    # words 1 and 12 change their places, and with these their bands
    model = carried(name, trained, [{1: 12, 12: 1}.get(index, index) for index in range(V)])
    last = len(getattr(trained, parts[0]).bands) - 1
    vectors = {}
    for which in (trained, model):
        both = [torch.cat([projections(which, part, band) for part in parts], 1) for band in (0, last)]
        own = getattr(which, parts[0])
        vectors[which] = {1: own.blocks[0][1] @ both[0], 12: own.blocks[last][12 - own.bands[last].start] @ both[1]}
    for place, word, matrix in ((1, 12, both[0]), (12, 1, both[1])):
        # what is lost is orthogonal to all that the band expresses
        lost = vectors[model][place] - vectors[trained][word]
        torch.testing.assert_close(matrix @ lost, torch.zeros(len(matrix)), atol=1e-5, rtol=0)
        assert not torch.equal(vectors[model][place], vectors[trained][place])
    for one, other in zip(getattr(model, parts[0]).blocks, getattr(trained, parts[0]).blocks, strict=True):
        assert sum(bool((row == before).all()) for row, before in zip(one, other, strict=True)) >= len(one) - 1


def test_vectors_of_a_sparse_embedding_are_cut_to_the_new_layout():
    trained = built("sparse-embedding")
    assert isinstance(trained.embedding, SparseEmbedding)
    source = list(reversed(range(V)))
    model = carried("sparse-embedding", trained, source)
    before = trained.embedding(torch.tensor(source))
    after = model.embedding(torch.arange(V))
    # what the new layout stores of a vector is that of the trained one; the rest is zero in both
    stored = model.embedding.matrix().new_ones(V, 6)
    first = 0
    for start, width in model.embedding.bands:
        stored[:start, first : first + width] = 0
        first += width
    assert torch.equal(after, before * stored)
    shortened = int(((before != 0).sum(1) > stored.sum(1)).sum())
    assert count_shortened(trained.embedding, model.embedding, torch.tensor(source)) == shortened > 0


def test_a_word_that_leaves_its_cluster_counts_as_before_to_first_order():
    trained = built("adaptive")
    rows = _Trained(weights_of(trained), trained.head.softmax.cutoffs[:-1])
    vectors, biases = rows.in_first_softmax(torch.arange(V))

    def error(scale):
        hidden = scale * torch.randn(7, 16, generator=torch.Generator().manual_seed(3))
        softmax = trained.head.softmax
        # the normaliser of the first softmax, without which the logits are those of the first softmax
        normaliser = softmax.head(hidden).logsumexp(-1, keepdim=True)
        exact = trained.head.log_probabilities(hidden) + normaliser
        return (hidden @ vectors.T + biases - exact).abs().amax(0)

    large, small = error(0.02), error(0.01)
    assert (large[:6] < 1e-5).all()
    ratio = large[6:] / small[6:]
    assert (ratio > 3).all() and (ratio < 5).all()
    for cluster, own in enumerate((slice(6, 12), slice(12, V))):
        torch.testing.assert_close(rows.in_cluster(cluster, vectors[own]), rows.rows[cluster])


def test_words_of_an_adaptive_head_move_with_their_vectors():
    trained = built("adaptive")
    # 0 goes to the second cluster, 19 to the short list, and 12 is left out
    source = [19, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 0, 13, -1, 15, 16, 17, 18, 14]
    model = carried("adaptive", trained, source, [18, 19])
    rows = _Trained(weights_of(trained), trained.head.softmax.cutoffs[:-1])
    vectors, biases = rows.in_first_softmax(torch.tensor([19, 0]))
    first = model.head.softmax.head
    torch.testing.assert_close(first.weight[0], vectors[0])
    torch.testing.assert_close(first.bias[0], biases[0])
    assert torch.equal(first.weight[1:], trained.head.softmax.head.weight[1:])
    last = model.head.softmax.tail[1][1].weight
    before = trained.head.softmax.tail[1][1].weight
    assert torch.equal(last[[1, 3, 7]], before[[1, 3, 2]])
    torch.testing.assert_close(last[0], rows.in_cluster(1, vectors[1:])[0])
    torch.testing.assert_close(last[2], before[[6, 7]].mean(0))
