"""Rows in bands of words compute what the dense matrix computes that they stand for: forwards and in all gradients."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from refrain.nn import BlockLowRankEmbedding, BlockLowRankHead, Embedding, EmbeddingDropout, LowRankBand, SoftmaxHead

V, D = 11, 5
BANDS = {
    "full, then ranks": (LowRankBand(0, None), LowRankBand(3, 2), LowRankBand(7, 1)),
    "ranks alone": (LowRankBand(0, 4), LowRankBand(1, 3)),
    "a rank above the width": (LowRankBand(0, 2), LowRankBand(4, 7), LowRankBand(10, None)),
}
FULL = (LowRankBand(0, None), LowRankBand(3, None), LowRankBand(4, None))


def drawn(part):
    draw = torch.Generator().manual_seed(1)
    part.double()
    with torch.no_grad():
        for parameter in part.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=draw, dtype=torch.float64))
    return part


def matrix(part):
    """The dense matrix (V, D), band by band in plain operations."""
    rows = []
    for index, block in enumerate(part.blocks):
        if part.bands[index].rank is None:
            rows.append(block)
        else:
            projection = part.projections[str(index)]
            # (D, R) in an embedding, (R, D) in a head
            rows.append(
                torch.einsum("wr,dr->wd" if isinstance(part, BlockLowRankEmbedding) else "wr,rd->wd", block, projection)
            )
    return torch.cat(rows)


def same(found, wanted, leaves):
    cotangent = torch.randn(wanted.shape, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    torch.testing.assert_close(found, wanted)
    for one, other in zip(
        torch.autograd.grad((found * cotangent).sum(), leaves),
        torch.autograd.grad((wanted * cotangent).sum(), leaves),
        strict=True,
    ):
        assert other.abs().sum() > 0
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize("bands", BANDS.values(), ids=BANDS)
def test_an_embedding_looks_up_rows_of_the_dense_matrix(bands):
    embedding = drawn(BlockLowRankEmbedding(V, D, bands))
    ids = torch.tensor([[0, 3, 10, 2], [7, 6, 3, 4]])
    assert [tuple(block.shape) for block in embedding.blocks] == [
        (end - start, D if rank is None else rank)
        for (start, rank), end in zip(bands, [*(band.start for band in bands[1:]), V], strict=True)
    ]
    same(embedding(ids), F.embedding(ids, matrix(embedding)), list(embedding.parameters()))


@pytest.mark.parametrize("bands", BANDS.values(), ids=BANDS)
def test_a_head_is_the_softmax_of_the_dense_matrix(bands):
    head = drawn(BlockLowRankHead(D, V, bands))
    hidden = torch.randn(2, 4, D, generator=torch.Generator().manual_seed(3), dtype=torch.float64).requires_grad_()
    targets = torch.tensor([[0, 3, 10, 2], [7, 6, 3, 4]])
    leaves = [hidden, *head.parameters()]
    same(head.log_probabilities(hidden), F.linear(hidden, matrix(head), head.bias).log_softmax(-1), leaves)
    logits = F.linear(hidden, matrix(head), head.bias)
    same(head(hidden, targets), F.cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction="sum"), leaves)


def test_a_tied_head_shares_rows_and_their_gradient():
    bands = BANDS["ranks alone"]
    embedding = BlockLowRankEmbedding(V, D, bands)
    head = drawn(nn.ModuleList([embedding, BlockLowRankHead(6, V, bands, embedding=embedding)]))[1]
    assert head.blocks is embedding.blocks
    ids, targets = torch.tensor([[1, 0]]), torch.tensor([[3, 4]])
    read = torch.randn(D, 6, dtype=torch.float64)
    logits = F.embedding(ids, matrix(embedding)) @ read @ matrix(head).T + head.bias
    leaves = [*embedding.parameters(), *head.projections.values(), head.bias]
    wanted = F.cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction="sum")
    same(head(embedding(ids) @ read, targets), wanted, leaves)


def test_bands_of_full_rank_are_the_dense_parts():
    embedding, head = drawn(BlockLowRankEmbedding(V, D, FULL)), drawn(BlockLowRankHead(D, V, FULL))
    dense, softmax = Embedding(V, D).double(), SoftmaxHead(D, V).double()
    with torch.no_grad():
        dense.weight.copy_(torch.cat(list(embedding.blocks)))
        softmax.weight.copy_(torch.cat(list(head.blocks)))
        softmax.bias.copy_(head.bias)
    ids, hidden = torch.arange(V), torch.randn(V, D, dtype=torch.float64)
    assert torch.equal(embedding(ids), dense(ids))
    torch.testing.assert_close(head.log_probabilities(hidden), softmax.log_probabilities(hidden))
    torch.testing.assert_close(head(hidden, ids), softmax(hidden, ids))
    assert not embedding.projections and not head.projections
    assert sum(p.numel() for p in head.parameters()) == sum(p.numel() for p in softmax.parameters())


def test_vectors_have_the_initial_variance_of_a_dense_embedding_in_every_band():
    torch.manual_seed(1)
    embedding = BlockLowRankEmbedding(900, 64, [LowRankBand(0, None), LowRankBand(300, 16), LowRankBand(600, 4)])
    for part in embedding(torch.arange(900)).split(300):
        assert part.std().item() == pytest.approx(0.1 / 3**0.5, rel=0.1)


def test_word_dropout_drops_whole_vectors():
    torch.manual_seed(1)
    embedding = BlockLowRankEmbedding(V, D, BANDS["ranks alone"], word_dropout=EmbeddingDropout(0.5))
    found = embedding(torch.arange(V))
    dropped = (found == 0).all(-1)
    assert 0 < dropped.sum() < V
    assert torch.equal(embedding.eval()(torch.arange(V)) == 0, torch.zeros(V, D, dtype=torch.bool))


@pytest.mark.parametrize(
    ("bands", "message"),
    [
        ([], "bands must ascend from word 0"),
        ([(1, 2)], "bands must ascend from word 0"),
        ([(0, 2), (0, 1)], "each with another first word"),
        ([(0, 2), (V, 1)], "the last one starts at word 11, but there are 11 words"),
        ([(0, 0)], "ranks must be positive"),
    ],
)
@pytest.mark.parametrize(
    "part", [BlockLowRankEmbedding, lambda words, width, bands: BlockLowRankHead(width, words, bands)]
)
def test_bands_that_do_not_fit(part, bands, message):
    with pytest.raises(ValueError, match=message):
        part(V, D, bands)


def test_an_embedding_of_other_bands_is_not_shared():
    with pytest.raises(ValueError, match=r"needs an embedding with blocks of shapes \[\(1, 4\), \(10, 3\)\], got"):
        BlockLowRankHead(D, V, BANDS["ranks alone"], embedding=BlockLowRankEmbedding(V, D, FULL))


@pytest.mark.parametrize("bad", [-1, 10])
def test_an_id_outside_of_the_vocabulary_is_refused(bad):
    with pytest.raises(IndexError, match=r"ids must be in \[0, 10\)"):
        BlockLowRankEmbedding(10, 4, [LowRankBand(0, 2), LowRankBand(6, None)])(torch.tensor([0, bad, 2]))
