"""A sparse embedding is a dense one with zeros, which are not stored."""

import pytest
import torch

from refrain.nn import Embedding, EmbeddingDropout, SparseEmbedding, SparseSoftmaxHead, plan_bands

V, D = 13, 7


@pytest.fixture
def sparse():
    torch.manual_seed(1)
    return SparseEmbedding(V, plan_bands(V, D, blocks=3, density=0.6)).double()


def test_the_matrix_has_the_blocks_and_zeros(sparse):
    matrix = sparse.matrix()
    first = 0
    for (start, width), block in zip(sparse.bands, sparse.blocks, strict=True):
        part = matrix[:, first : first + width]
        assert torch.equal(part[start:], block) and not part[:start].any()
        first += width
    assert matrix.count_nonzero() == sum(block.numel() for block in sparse.blocks) < V * D


def test_a_lookup_is_that_of_the_matrix_with_all_gradients(sparse):
    ids = torch.randint(V, (5, 4), generator=torch.Generator().manual_seed(2))
    cotangent = torch.randn(5, 4, D, dtype=torch.float64)
    vectors, wanted = sparse(ids), sparse.matrix()[ids]
    torch.testing.assert_close(vectors, wanted)
    leaves = list(sparse.parameters())
    got = torch.autograd.grad((vectors * cotangent).sum(), leaves)
    for one, other in zip(got, torch.autograd.grad((wanted * cotangent).sum(), leaves), strict=True):
        torch.testing.assert_close(one, other)


def test_word_dropout_is_that_of_a_dense_embedding(sparse):
    sparse.word_dropout = EmbeddingDropout(0.5)
    dense = Embedding(V, D, word_dropout=EmbeddingDropout(0.5)).double()
    with torch.no_grad():
        dense.weight.copy_(sparse.matrix())
    ids = torch.arange(V)[:, None]
    torch.manual_seed(3)
    dropped = sparse(ids)
    torch.manual_seed(3)
    torch.testing.assert_close(dropped, dense(ids))
    assert (dropped == 0).all(-1).any()


def test_a_tied_head_shares_the_blocks(sparse):
    head = SparseSoftmaxHead(sparse).double()
    with torch.no_grad():
        head.bias.normal_()
    hidden = torch.randn(4, 2, D, dtype=torch.float64)
    wanted = (hidden @ sparse.matrix().T + head.bias).log_softmax(-1)
    torch.testing.assert_close(head.log_probabilities(hidden), wanted)
    head(hidden, torch.zeros(4, 2, dtype=torch.int64)).backward()
    assert all(block.grad is not None for block in sparse.blocks)


def test_bands_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="do not fit 5 words"):
        SparseEmbedding(5, [(0, 2), (5, 2)])
    with pytest.raises(ValueError, match="do not fit"):
        SparseEmbedding(5, [])


def test_the_layout_is_printed(sparse):
    assert "13 words, 7 wide" in repr(sparse) and "stored, from 0, " in repr(sparse)


@pytest.mark.parametrize("bad", [-1, V])
def test_an_id_outside_of_the_vocabulary_is_refused(sparse, bad):
    with pytest.raises(IndexError, match=rf"ids must be in \[0, {V}\), got 0 to|got -1 to"):
        sparse(torch.tensor([0, bad, 2]))
