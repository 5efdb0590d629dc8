"""A conditional random field equals the enumeration of all tag sequences of each sentence."""

import copy
import itertools

import pytest
import torch

from refrain.nn import ConditionalRandomField

K = 3
LENGTHS = [4, 1, 2]


@pytest.fixture
def field():
    torch.manual_seed(1)
    field = ConditionalRandomField(K).double()
    for parameter in field.parameters():
        torch.nn.init.normal_(parameter)
    return field


@pytest.fixture
def scores():
    drawn = torch.randn(max(LENGTHS), len(LENGTHS), K, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    return drawn.requires_grad_()


def score(field, scores, tags):
    """The score of a tag sequence of a single sentence, scores (L, K), as in the definition."""
    words = sum(scores[step, tag] for step, tag in enumerate(tags))
    pairs = sum(field.transitions[before, tag] for before, tag in itertools.pairwise(tags))
    return field.start[tags[0]] + words + pairs + field.end[tags[-1]]


def every(field, scores, column):
    """All tag sequences of a sentence of the batch, and their scores."""
    length = LENGTHS[column]
    sequences = list(itertools.product(range(K), repeat=length))
    return sequences, torch.stack([score(field, scores[:length, column], tags) for tags in sequences])


def test_the_sum_over_all_sequences_is_that_of_the_enumeration(field, scores):
    wanted = torch.stack([every(field, scores, column)[1].logsumexp(0) for column in range(len(LENGTHS))])
    torch.testing.assert_close(field.log_partition(scores, torch.tensor(LENGTHS)), wanted)


def test_the_marginals_are_those_of_the_enumeration(field, scores):
    found = field.marginals(scores, torch.tensor(LENGTHS)).exp()
    for column, length in enumerate(LENGTHS):
        sequences, values = every(field, scores, column)
        probabilities = values.softmax(0)
        for step, tag in itertools.product(range(length), range(K)):
            wanted = sum(probabilities[place] for place, tags in enumerate(sequences) if tags[step] == tag)
            torch.testing.assert_close(found[step, column, tag], wanted)


@pytest.mark.parametrize("seed", range(5))
def test_the_best_tags_are_the_most_probable_sequence(field, scores, seed):
    scores = torch.randn(scores.shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    found = field.best_tags(scores, torch.tensor(LENGTHS))
    for column, length in enumerate(LENGTHS):
        sequences, values = every(field, scores, column)
        assert tuple(found[:length, column].tolist()) == sequences[int(values.argmax())]


# the second case has words without a tag, the first, a middle and the last one
@pytest.mark.parametrize("unknown", [(), ((0, 0), (2, 0), (1, 2), (0, 1))], ids=["all known", "some unknown"])
def test_the_loss_and_all_gradients_are_those_of_the_enumeration(field, scores, unknown):
    tags = torch.randint(K, scores.shape[:2], generator=torch.Generator().manual_seed(4))
    for place in unknown:
        tags[place] = -100
    # what follows the end of a sentence does not matter
    tags[2:, 2] = -1
    wanted = torch.zeros((), dtype=torch.float64)
    for column, length in enumerate(LENGTHS):
        sequences, values = every(field, scores, column)
        given = tags[:length, column].tolist()
        fits = [all(each < 0 or each == tag for each, tag in zip(given, tags, strict=True)) for tags in sequences]
        wanted = wanted + values.logsumexp(0) - values[torch.tensor(fits)].logsumexp(0)
    found = field(scores, torch.tensor(LENGTHS), tags)
    torch.testing.assert_close(found, wanted)
    leaves = [scores, *field.parameters()]
    for one, other in zip(torch.autograd.grad(found, leaves), torch.autograd.grad(wanted, leaves), strict=True):
        torch.testing.assert_close(one, other)


def test_the_end_of_a_sentence_hides_what_follows(field, scores):
    changed = scores.detach().clone()
    changed[1:, 1] = 1e30
    lengths = torch.tensor(LENGTHS)
    torch.testing.assert_close(field.log_partition(changed, lengths), field.log_partition(scores, lengths))
    for column, length in enumerate(LENGTHS):
        one, other = field.marginals(changed, lengths), field.marginals(scores, lengths)
        torch.testing.assert_close(one[:length, column], other[:length, column])
        assert torch.equal(
            field.best_tags(changed, lengths)[:length, column], field.best_tags(scores, lengths)[:length, column]
        )


def test_with_weights_of_zero_each_word_has_a_softmax():
    field, scores, tags = ConditionalRandomField(K), torch.randn(5, 2, K), torch.randint(K, (5, 2))
    lengths = torch.tensor([5, 5])
    wanted = torch.nn.functional.cross_entropy(scores.flatten(0, 1), tags.flatten(), reduction="sum")
    torch.testing.assert_close(field(scores, lengths, tags), wanted)
    torch.testing.assert_close(field.marginals(scores, lengths), scores.log_softmax(dim=-1))
    assert torch.equal(field.best_tags(scores, lengths), scores.argmax(dim=-1))


def test_long_sentences_have_finite_losses_and_gradients_in_float32():
    field = ConditionalRandomField(K)
    torch.nn.init.normal_(field.transitions, std=5)
    scores = (30 * torch.randn(500, 1, K)).requires_grad_()
    tags = torch.full((500, 1), -100)
    tags[::2] = 1
    loss = field(scores, torch.tensor([500]), tags)
    loss.backward()
    assert loss.isfinite() and loss > 0 and scores.grad.isfinite().all()


def test_a_field_without_tags_is_refused():
    with pytest.raises(ValueError, match="at least one tag"):
        ConditionalRandomField(0)


@pytest.mark.parametrize("unknown", [False, True])
def test_a_tag_that_is_too_large_is_refused(unknown):
    field = ConditionalRandomField(3)
    tags = torch.tensor([[1, 0], [3, -1 if unknown else 0], [0, 7]])
    with pytest.raises(IndexError, match=r"tags must be in \[0, 3\), got 0 to 3"):
        field(torch.randn(3, 2, 3), torch.tensor([3, 2]), tags)
    # what follows the end of a sentence is read by nothing
    tags[1, 0] = 2
    assert field(torch.randn(3, 2, 3), torch.tensor([3, 2]), tags).isfinite()


@pytest.mark.parametrize("lengths", [[2], [2, 2, 2], [0, 2], [2, 4], [-1, 2]])
@pytest.mark.parametrize("method", ["forward", "sequence_scores", "log_partition", "marginals", "best_tags"])
def test_lengths_that_no_sentence_has_are_refused(method, lengths):
    field, scores = ConditionalRandomField(3), torch.randn(3, 2, 3)
    more = [torch.zeros(3, 2, dtype=torch.int64)] if method in ("forward", "sequence_scores") else []
    with pytest.raises(ValueError, match="lengths must be"):
        getattr(field, method)(scores, torch.tensor(lengths), *more)
    with pytest.raises(ValueError, match=r"scores must be \(T, B, 3\) \(got \(3, 2, 1\)\)"):
        getattr(field, method)(scores[..., :1], torch.tensor([3, 2]), *more)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("whole", [True, False])
def test_half_precision_is_computed_in_float32(dtype, whole):
    torch.manual_seed(1)
    field = ConditionalRandomField(K)
    for parameter in field.parameters():
        torch.nn.init.normal_(parameter)
    if whole:
        field = field.to(dtype)
    exact = copy.deepcopy(field).double()
    scores, lengths = torch.randn(400, 2, K).to(dtype), torch.tensor([400, 300])
    tags = torch.randint(K, (400, 2))
    for given in (tags, tags.masked_fill(tags == 1, -1)):
        wanted = exact(scores.double(), lengths, given)
        torch.testing.assert_close(field(scores, lengths, given).double(), wanted, rtol=1e-5, atol=0)
    assert torch.equal(field.best_tags(scores, lengths), exact.best_tags(scores.double(), lengths))
    found, wanted = field.marginals(scores, lengths)[:300], exact.marginals(scores.double(), lengths)[:300]
    torch.testing.assert_close(found.double(), wanted, rtol=0, atol=1e-3)


def test_what_is_after_the_end_of_a_sentence_does_not_matter(field, scores):
    lengths = torch.tensor(LENGTHS)
    inside = torch.arange(len(scores))[:, None] < lengths
    tags = torch.ones(inside.shape, dtype=torch.int64)
    wanted = field.sequence_scores(scores, lengths, tags)
    assert torch.equal(field.sequence_scores(scores, lengths, tags.masked_fill(~inside, 99)), wanted)
    gradients = []
    for filled in (0.0, float("nan")):
        field.zero_grad()
        marginals = field.marginals(scores.detach().masked_fill(~inside[..., None], filled), lengths)
        marginals[inside].square().sum().backward()
        gradients.append([parameter.grad.clone() for parameter in field.parameters()])
    assert all(torch.equal(one, other) for one, other in zip(*gradients, strict=True))


@pytest.mark.parametrize("kind", [list, lambda lengths: torch.tensor(lengths, dtype=torch.uint8)])
def test_lengths_as_a_list_or_of_any_whole_numbers(field, scores, kind):
    tags = torch.ones(scores.shape[:2], dtype=torch.int64)
    wanted = field(scores, torch.tensor(LENGTHS), tags)
    assert torch.equal(field(scores, kind(LENGTHS), tags), wanted)
    assert torch.equal(field.best_tags(scores, kind(LENGTHS)), field.best_tags(scores, torch.tensor(LENGTHS)))
