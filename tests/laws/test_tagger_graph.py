"""The graph of a tagger and its ONNX files compute what the tagger computes."""

import numpy as np
import pytest
from table import TAGGERS, V
from test_taggers import batch, built
from torch import nn

from refrain.errors import UserError
from refrain.models import Tagger
from refrain.models.tagger_graph import tagger_graph
from refrain.nn import (
    LSTM,
    Bidirectional,
    CharacterFeatures,
    ConditionalRandomField,
    Embedding,
    MultiplicativeLSTM,
    SparseLSTM,
    WeightNorm,
    plan_blocks,
)
from refrain.nn.step_graph import run_tagger

LENGTHS = ([7, 1, 4], [1], [5, 5], [2, 9, 3, 1])


def twice(make):
    return Bidirectional(make(), make())


def everything():
    """A sparse layer, another cell, weight norm, features, a projection, a skip connection and a random field."""
    layers = [
        twice(lambda: SparseLSTM(plan_blocks(5, 4, blocks=2, density=0.7))),
        twice(lambda: MultiplicativeLSTM(8, 3, intermediate_size=5)),
        twice(lambda: LSTM(6, 4, recurrent_transform=WeightNorm(16))),
    ]
    crf = ConditionalRandomField(6)
    parts = {"features": CharacterFeatures(V, 5), "projection_size": 7, "skip_connection": True, "crf": crf}
    return Tagger(Embedding(V, 5), layers, 6, **parts)


EVERY = {**TAGGERS, "everything": everything}


def features_of(model):
    return 0 if model.features is None else 2


def inside(ids, values):
    """The values of words, in the order of `Tagger.logits`."""
    return np.asarray(values)[ids[..., 0].numpy() >= 0]


@pytest.mark.parametrize("name", EVERY)
def test_the_graph_of_a_tagger_computes_what_it_computes(name):
    model = built(EVERY[name]).eval()
    graph = tagger_graph(model, features_of(model))
    for lengths in LENGTHS:
        ids = batch(lengths)
        found, tags = run_tagger(graph, ids[..., : 1 + features_of(model)].numpy())
        expected = model.predict(ids)
        wanted = expected.logits.log_softmax(-1).detach()
        np.testing.assert_allclose(inside(ids, found), wanted, rtol=0, atol=1e-12)
        np.testing.assert_array_equal(inside(ids, tags), expected.tags)


def test_a_part_that_does_not_describe_itself_is_refused_by_name():
    class Doubled(LSTM):
        def step(self, x, state):
            y, after = super().step(x, state)
            return 2 * y, after

    class Field(ConditionalRandomField):
        pass

    layers = [twice(lambda: Doubled(5, 4))]
    model = Tagger(Embedding(V, 5), layers, 3, crf=Field(3), skip_connection=True, between=nn.Tanh())
    model.skip = nn.Bilinear(5, 5, 3)
    with pytest.raises(UserError) as caught:
        tagger_graph(model)
    told = str(caught.value)
    for part in (
        "layers.0.ahead (Doubled)",
        "layers.0.back (Doubled)",
        "crf (Field)",
        "skip (Bilinear)",
        "between (Tanh)",
    ):
        assert part in told
    with pytest.raises(UserError, match="is no Tagger"):
        tagger_graph(nn.Linear(1, 1))
    with pytest.raises(ValueError, match="must fit the model"):
        tagger_graph(TAGGERS["plain"](), 2)


@pytest.fixture(scope="module")
def export_tagger():
    pytest.importorskip("onnx", reason="ONNX files are written with onnx")
    pytest.importorskip("onnxruntime", reason="ONNX files are run with onnxruntime")
    from refrain.export.onnx_tagger import export

    return export


@pytest.mark.parametrize("weights", ["float32", "int8"])
@pytest.mark.parametrize("name", EVERY)
def test_onnx_files_of_taggers_compute_the_same(export_tagger, name, weights):
    from refrain.export.formats import Options
    from refrain.export.proof_of_tags import TaggerReference, random_sentences

    model = built(EVERY[name]).float()
    graph = tagger_graph(model, features_of(model))
    files = [export_tagger(graph, Options(weights=weights, metadata={"x": "1"})) for _ in range(2)]
    assert files[0].files == files[1].files
    run, same, worst = files[0].runner(), TaggerReference(model, weights), 0.0
    for ids in random_sentences(graph):
        (found, tags), (expected, wanted) = run(ids), same(ids)
        words = ids[..., 0] >= 0
        worst = max(worst, float(np.abs(found - expected)[words].max()))
        assert found.shape == expected.shape
        # the best sequence of rounded inputs may be another one
        assert weights == "int8" or np.array_equal(tags, wanted)
        assert (tags[~words] == -1).all() and (tags[words] >= 0).all()
    assert worst < 1e-5 if weights == "float32" else 0 < worst < 0.15
