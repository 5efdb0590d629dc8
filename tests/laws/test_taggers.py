"""What every tagger keeps: the declared axes are true, padding and neighbours do not matter."""

import copy
import json
import pathlib

import pytest
import torch
from table import TAGGERS, V
from test_models import select

from refrain.data import PADDING
from refrain.models import Tagger, pack_tagger
from refrain.nn import (
    GRU,
    LSTM,
    Bidirectional,
    ConditionalRandomField,
    Embedding,
    SparseLSTM,
    WeightDropout,
    lstm_step,
    plan_blocks,
)
from refrain.nn.kernels.packed_linear import round_weights

LENGTHS = [7, 1, 4]


@pytest.fixture(params=TAGGERS)
def name(request):
    return request.param


@pytest.fixture
def tagger(name):
    return built(TAGGERS[name])


def built(build):
    torch.manual_seed(1)
    model = build().double()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    return model


def batch(lengths=LENGTHS):
    generator = torch.Generator().manual_seed(6)
    inputs = torch.randint(V, (max(lengths), len(lengths), 3), generator=generator)
    for column, length in enumerate(lengths):
        inputs[length:, column] = torch.tensor([PADDING, 0, 0])
    return inputs


def test_every_parameter_is_declared_and_fits(tagger):
    assert tagger.widths()["vocabulary"] == V
    assert set(tagger.axes()) == {name for name, _ in tagger.named_parameters()}


def test_permuting_the_units_of_any_width_changes_nothing(name, tagger):
    wanted = tagger.logits(batch())
    # the words and entries of a sparse embedding keep their order, as do the tags
    fixed = {"tags", "vocabulary", "features"} | ({"embedding"} if "sparse" in name else set())
    for width, size in tagger.widths().items():
        if width not in fixed:
            select(tagger, width, torch.randperm(size, generator=torch.Generator().manual_seed(7)))
            torch.testing.assert_close(tagger.logits(batch()), wanted)


def test_sentences_are_alone_in_their_batch(tagger):
    inputs = batch()
    words = inputs[..., 0] != PADDING
    table = torch.zeros(*words.shape, tagger.output.out_features, dtype=torch.float64)
    table[words] = tagger.logits(inputs)
    for column, length in enumerate(LENGTHS):
        torch.testing.assert_close(tagger.logits(inputs[:length, column : column + 1]), table[:length, column])


def test_the_loss_is_the_sum_of_the_nats_of_the_right_tags(tagger):
    inputs = batch()
    targets = torch.randint(tagger.output.out_features, (sum(LENGTHS),), generator=torch.Generator().manual_seed(3))
    found = tagger(inputs, targets, ()).nats
    if tagger.crf is None:
        wanted = -tagger.logits(inputs).log_softmax(dim=1).gather(1, targets[:, None]).sum()
        torch.testing.assert_close(found, wanted)
    # a sentence of one word has the same nats in both models
    (word,) = targets[[1]]
    (nats,) = -tagger.logits(inputs[:1, 1:2]).log_softmax(dim=1)[:, word]
    torch.testing.assert_close(tagger(inputs[:1, 1:2], word[None], ()).nats, nats)
    assert tagger.predict(inputs).tags.shape == targets.shape


def test_with_a_random_field_the_tags_of_a_sentence_are_the_best_sequence():
    """A transition that is impossible is avoided, though it connects the best tags of the single words."""
    model, inputs = built(TAGGERS["conditional random field"]), batch([7])
    with torch.no_grad():
        model.crf.transitions.fill_(0.0)
        model.crf.transitions[torch.arange(3), torch.arange(3)] = -1e4
    found = model.predict(inputs)
    assert torch.equal(found.logits, model.logits(inputs))
    assert (found.tags[1:] != found.tags[:-1]).all()
    packed = pack_tagger(model.float()).predict(inputs)
    assert torch.equal(packed.tags, found.tags)


def test_without_a_random_field_the_tags_are_the_best_of_each_word():
    model, inputs = built(TAGGERS["plain"]), batch()
    found = model.predict(inputs)
    assert torch.equal(found.logits, model.logits(inputs)) and torch.equal(found.tags, found.logits.argmax(dim=1))


def test_a_random_field_of_other_tags_is_refused():
    with pytest.raises(ValueError, match="the conditional random field has 4 tags, but the tagger has 3"):
        Tagger(Embedding(V, 5), [Bidirectional(LSTM(5, 4), LSTM(5, 4))], 3, crf=ConditionalRandomField(4))


def reference_scores(model, ids):
    """The scores (L, K) of the tags of one sentence (L, 1 + F), by the step of the LSTM and one word at a time."""
    vectors = [model.embedding.weight[word] + model.features.weight[rest].sum(0) for word, *rest in ids.tolist()]

    def read(layer, order):
        state, found = layer.initial_state(1), {}
        for place in order:
            hidden, state = lstm_step(vectors[place][None], state, layer.weight_ih, layer.weight_hh, layer.bias)
            found[place] = hidden[0]
        return found

    (layer,) = model.layers
    ahead, back = read(layer.ahead, range(len(ids))), read(layer.back, reversed(range(len(ids))))
    scores = []
    for place, vector in enumerate(vectors):
        both = torch.cat([ahead[place], back[place]])
        above = (model.projection.weight @ both + model.projection.bias).tanh()
        scores.append(model.output.weight @ above + model.output.bias + model.skip.weight @ vector)
    return torch.stack(scores)


def test_with_a_skip_connection_loss_and_gradients_are_those_of_a_reference():
    model, inputs = built(TAGGERS["skip connection"]), batch()
    columns = [inputs[:length, column] for column, length in enumerate(LENGTHS)]
    tags = [torch.arange(length) % 3 for length in LENGTHS]
    # words of one step are side by side: the first words of all sentences, then the second ones
    order = [(step, column) for step in range(max(LENGTHS)) for column in range(3) if step < LENGTHS[column]]
    scores = [reference_scores(model, ids) for ids in columns]
    torch.testing.assert_close(model.logits(inputs), torch.stack([scores[column][step] for step, column in order]))
    found = model(inputs, torch.stack([tags[column][step] for step, column in order])).nats
    wanted = torch.nn.functional.cross_entropy(torch.cat(scores), torch.cat(tags), reduction="sum")
    torch.testing.assert_close(found, wanted)
    names, parameters = zip(*model.named_parameters(), strict=True)
    pairs = zip(torch.autograd.grad(found, parameters), torch.autograd.grad(wanted, parameters), strict=True)
    for name, (one, other) in zip(names, pairs, strict=True):
        assert bool(one.any()), name
        torch.testing.assert_close(one, other, msg=lambda text, name=name: f"{name}: {text}")


def test_the_skip_connection_reads_the_vectors_that_the_layers_read():
    """Dropout of the vectors comes before both, with one mask."""

    class Half(torch.nn.Module):
        def forward(self, x):
            return x * mask

    mask = torch.tensor([0.0, 2, 0, 2, 2], dtype=torch.float64)
    model, inputs = built(TAGGERS["skip connection"]), batch()
    plain = copy.deepcopy(model)
    model.embedding_dropout = Half()
    with torch.no_grad():
        plain.embedding.weight.mul_(mask)
        plain.features.weight.mul_(mask)
    torch.testing.assert_close(model.logits(inputs), plain.logits(inputs))


def test_dropout_acts_in_its_places_in_training_and_nowhere_in_evaluation():
    class Count(torch.nn.Module):
        def forward(self, x):
            if self.training:
                shapes.append(tuple(x.shape))
            return x

    shapes = []
    layers = [Bidirectional(LSTM(5, 4), LSTM(5, 4)), Bidirectional(LSTM(8, 6), LSTM(8, 6))]
    model = Tagger(
        Embedding(V, 5),
        layers,
        3,
        projection_size=2,
        embedding_dropout=Count(),
        between=Count(),
        output_dropout=Count(),
    )
    model.logits(batch())
    assert shapes == [(7, 3, 5), (7, 3, 8), (7, 3, 12), (7, 3, 2)]
    model.eval()
    model.logits(batch())
    assert len(shapes) == 4


def test_layers_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="at least one layer"):
        Tagger(Embedding(V, 5), [], 3)
    layers = [Bidirectional(LSTM(5, 4), LSTM(5, 4)), Bidirectional(LSTM(4, 4), LSTM(4, 4))]
    with pytest.raises(ValueError, match="a layer has input width 4, but its input has width 8"):
        Tagger(Embedding(V, 5), layers, 3)


def test_state_dict_names_and_shapes_are_those_of_the_committed_file():
    """Names are part of the API. When a change means to alter them, the file and the changelog change with it."""
    found = {
        name: {key: list(tensor.shape) for key, tensor in build().state_dict().items()}
        for name, build in TAGGERS.items()
    }
    assert found == json.loads(
        (pathlib.Path(__file__).parent.parent / "golden" / "tagger_state_dicts.json").read_text()
    )


def gru_tagger():
    layers = [Bidirectional(GRU(9, 37), GRU(9, 37)), Bidirectional(GRU(74, 20), GRU(74, 20))]
    return Tagger(Embedding(V, 9), layers, 5)


def sparse_layer_tagger():
    def layer():
        return SparseLSTM(plan_blocks(30, 50, blocks=3, density=0.5))

    return Tagger(Embedding(V, 30), [Bidirectional(layer(), layer())], 5)


def dropping_tagger():
    def layer():
        return LSTM(9, 37, recurrent_transform=WeightDropout(0.5))

    return Tagger(Embedding(V, 9), [Bidirectional(layer(), layer())], 5, output_dropout=torch.nn.Dropout(0.5))


PACKED = {**TAGGERS, "GRU": gru_tagger, "sparse layer": sparse_layer_tagger, "dropout": dropping_tagger}
MANY = [5, 1, 9, 3, 2, 7, 4, 8, 6, 9, 1]


@pytest.mark.parametrize("lengths", [[6], LENGTHS, MANY], ids=["one", "three", "eleven"])
@pytest.mark.parametrize("name", PACKED)
def test_with_packed_weights_it_is_the_same(name, lengths):
    """Few sentences go through the kernels, more than eight through the library's window."""
    model, inputs = built(PACKED[name]).float(), batch(lengths)
    packed = pack_tagger(model.train())
    with torch.no_grad():
        wanted = model.eval().logits(inputs)
        torch.testing.assert_close(packed.logits(inputs), wanted, atol=1e-5, rtol=0)
        assert torch.equal(packed.logits(inputs).argmax(1), wanted.argmax(1))
        rounded = copy.deepcopy(model)
        round_weights(rounded)
        found = pack_tagger(model, weights="int8").logits(inputs)
        torch.testing.assert_close(found, rounded.logits(inputs), atol=1e-5, rtol=0)


def test_a_packed_tagger_is_a_snapshot():
    model, inputs = built(TAGGERS["plain"]).float(), batch()
    packed = pack_tagger(model)
    with torch.no_grad():
        wanted = packed.logits(inputs)
        for parameter in model.parameters():
            parameter.add_(1)
        assert torch.equal(packed.logits(inputs), wanted)
