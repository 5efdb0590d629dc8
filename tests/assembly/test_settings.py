"""Settings become the objects that they name."""

import pytest
import torch

from refrain import recipe, runs
from refrain.assembly.model import build_model, check_frequent_first
from refrain.assembly.tagger import build_tagger
from refrain.assembly.task import build_methods
from refrain.config import Experiment, Model, Sparsity, Training
from refrain.data import TagVocabulary, WordVocabulary
from refrain.errors import CheckpointError, UserError
from refrain.nn import GRU, AdaptiveHead, EmbeddingDropout, LockedDropout, MixtureHead, SoftmaxHead, WeightDropout
from refrain.training import PlainProgress
from refrain.training.own_methods import RESERVED

V = 30


def model(**settings):
    return build_model(Model(**{"embedding_size": 6, "hidden_sizes": (8, 6), **settings}), V)


def test_dropout_goes_where_it_is_said():
    plain = model(dropout=0.3, between_dropout=0.0)
    assert isinstance(plain.embedding_dropout, torch.nn.Dropout) and plain.embedding_dropout.p == 0.3
    assert isinstance(plain.stack.between, torch.nn.Identity)
    locked = model(dropout=0.2, output_dropout=0.6, dropout_mask="locked", word_dropout=0.1)
    assert isinstance(locked.output_dropout, LockedDropout) and locked.output_dropout.rate == 0.6
    assert isinstance(locked.embedding.word_dropout, EmbeddingDropout)
    assert model().embedding.word_dropout is None


def test_each_place_may_draw_its_masks_in_its_own_way():
    own = model(dropout=0.2, dropout_mask="locked", between_dropout_mask="plain", output_dropout_mask="plain")
    assert isinstance(own.embedding_dropout, LockedDropout)
    assert isinstance(own.stack.between, torch.nn.Dropout) and isinstance(own.output_dropout, torch.nn.Dropout)
    other = model(embedding_dropout=0.1, output_dropout=0.2, embedding_dropout_mask="locked")
    assert isinstance(other.embedding_dropout, LockedDropout) and isinstance(other.output_dropout, torch.nn.Dropout)
    tagger = recipe("pos-dense", "model.output_dropout=0.2", "model.output_dropout_mask=plain").model
    built = build_tagger(tagger, TagVocabulary(["<unk>", "a"], ["N", "V"]))
    assert isinstance(built.embedding_dropout, LockedDropout) and isinstance(built.output_dropout, torch.nn.Dropout)


def test_weight_drop_goes_where_it_is_said():
    recurrent = model(weight_drop=0.5).stack.layers[0]
    assert isinstance(recurrent.recurrent_transform, WeightDropout)
    assert isinstance(recurrent.input_transform, torch.nn.Identity)
    kernel = model(weight_drop=0.4, weight_drop_on="kernel", weight_drop_granularity="row", cell="gru").stack.layers
    assert all(isinstance(layer, GRU) and layer.input_transform.rate == 0.4 for layer in kernel)
    assert kernel[0].recurrent_transform.granularity == "row"
    # every layer draws masks of its own
    assert kernel[0].recurrent_transform is not kernel[1].recurrent_transform


def test_heads_are_those_that_are_named():
    assert isinstance(model().head, SoftmaxHead)
    mixture = model(head={"kind": "mixture", "components": 3, "latent_dropout": 0.2}, tied=True, hidden_sizes=(8, 5))
    assert isinstance(mixture.head, MixtureHead) and mixture.head.weight is mixture.embedding.weight
    assert mixture.head.latent_dropout.p == 0.2 and isinstance(mixture.output_dropout, torch.nn.Identity)
    assert isinstance(model(head={"kind": "adaptive", "cutoffs": (10, 20)}, hidden_sizes=(8, 16)).head, AdaptiveHead)
    with pytest.raises(UserError, match=r"model\.head\.cutoffs must ascend within 1 and 29 \(got \[10, 30\]\)"):
        model(head={"kind": "adaptive", "cutoffs": (10, 30)})
    with pytest.raises(UserError, match=r"need an input of width 16 \(got 6\)"):
        model(head={"kind": "adaptive", "cutoffs": (10, 20)})


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"head": {"kind": "mixture", "components": 2}},
        {"head": {"kind": "adaptive", "cutoffs": (9,)}},
        {"cell": "gru"},
    ],
)
def test_every_kind_of_model_declares_its_axes(settings):
    assert model(**settings).widths()["embedding"] == 6


def test_methods_are_those_that_are_asked_for_in_the_order_in_which_they_act():
    awd = Training(
        activation_penalty=2.0, temporal_penalty=1.0, train_accuracy=True, optimizer="asgd", epochs=3, stop_window=2
    )
    sparsity = Sparsity(l1={"strength": 0.1}, zeros={"kind": "threshold", "threshold": 0.01})
    net = model()
    methods = build_methods(Experiment(training=awd, sparsity=sparsity), net, 10, {"own": object()})
    assert list(methods) == [
        "activation_penalty", "temporal_penalty", "sparsifier", "accuracy", "own", "averaging", "early_stop"
    ]  # fmt: skip
    assert {*methods} - {"own"} <= RESERVED
    assert methods["averaging"].started
    hooks = methods.hooks()
    assert [len(acts) for acts in (hooks.loss_terms, hooks.before_step, hooks.after_step)] == [3, 1, 2]
    # what makes weights zero acts before they enter the mean
    assert hooks.after_step == [methods["sparsifier"].after_step, methods["averaging"].after_step]
    assert not build_methods(Experiment(), net, 10)
    # proximal steps are no term of the loss
    assert not build_methods(Experiment(sparsity=Sparsity(l1={"strength": 0.1})), net, 10).hooks().loss_terms


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["training.optimizer.trigger_window=9"], "optimizer 'sgd' has no such setting; it belongs to 'nt-asgd'"),
        (
            ["training.optimizer=nt-asgd"],
            "training.optimizer.trigger_window: must be given where training.optimizer is 'nt-asgd'",
        ),
        (
            ["training.optimizer=nt-asgd", "training.optimizer.trigger_window=13"],
            "13 looks further back than the run's 13 epochs",
        ),
        (
            ["training.windows.cap=40"],
            "training.windows.cap: windows 'fixed' has no such setting; it belongs to 'random'",
        ),
        (["training.windows=random", "training.windows.cap=3"], "training.windows.cap: must be at least window_steps"),
        (["training.windows=random", "training.windows.tail=drop"], "it belongs to 'fixed' (training.windows=fixed)"),
        (["model.weight_drop_on=kernel"], "model.weight_drop_on: cannot take effect where weight_drop is 0"),
        (["model.head=mixture"], "model.head.components: must be given where model.head is 'mixture'"),
        (
            ["model.head.components=3"],
            "head 'softmax' has no such setting; it belongs to 'mixture' (model.head=mixture)",
        ),
        (["model.head=adaptive", "model.head.cutoffs=[5]", "model.tied=true"], "model.tied: cannot take effect"),
        (
            ["model.dropout_mask=locked"],
            "argument settings: model.dropout_mask: cannot take effect where nothing is dropped",
        ),
        (
            ["model.head=adaptive", "model.head.cutoffs=[5]", "data.order=ascending"],
            "argument settings: model.head: the adaptive head needs words in the order 'descending'",
        ),
        (
            ["model.output_dropout_mask=locked"],
            "model.output_dropout_mask: cannot take effect where output_dropout is 0",
        ),
        (["data.order=random", "data.ties=spelling"], "data.ties: cannot take effect where order is 'random'"),
        (["training.stop_min_epochs=3"], "training.stop_min_epochs: cannot take effect without stop_window"),
        (["model.init.biases=2"], "model.init.biases: init 'uniform' has no such setting; it belongs to 'standard'"),
        (["model.head.latent_dropout=0.1"], "model.head.latent_dropout: head 'softmax' has no such setting"),
        (["model.weight_drop=1.0"], "model.weight_drop: must be less than 1"),
    ],
)
def test_settings_that_cannot_take_effect_are_errors(words, message):
    with pytest.raises(UserError) as error:
        recipe("zaremba-small", *words)
    assert message in str(error.value)


SECOND = (
    "model.embedding_size=8", "model.hidden_sizes=[8,8]", "training.batch_size=4", "training.window_steps=5",
    "training.sample_tokens=0",
)  # fmt: skip


STILL = ("training.epochs=2", "training.stop_window=1", "training.learning_rate=1e-12")


def test_finetuning_starts_from_the_best_weights_and_stops_by_its_rule(tiny_corpus, tmp_path):
    first = recipe("awd-lstm-ptb", *SECOND, "training.epochs=7", data=str(tiny_corpus))
    runs.train(first, tmp_path / "first", progress=PlainProgress(quiet=True))
    second = recipe(
        "awd-lstm-ptb-finetune", *SECOND, "training.epochs=40", "training.stop_window=1",
        "training.learning_rate=60", data=str(tiny_corpus),
    )  # fmt: skip
    summary = runs.train(second, tmp_path / "second", start_from=tmp_path / "first", progress=PlainProgress(quiet=True))
    assert summary["epochs"] < 40
    # a rate of next to nothing leaves the weights where they started
    still = recipe("awd-lstm-ptb-finetune", *SECOND, *STILL, data=str(tiny_corpus))
    runs.train(still, tmp_path / "still", start_from=tmp_path / "first", progress=PlainProgress(quiet=True))
    pairs = zip(
        runs.load(tmp_path / "first").model.parameters(),
        runs.load(tmp_path / "still").model.parameters(),
        strict=True,
    )
    assert all(torch.allclose(before, after, atol=1e-6) for before, after in pairs)


def test_finetuning_needs_the_same_shape(tiny_corpus, tmp_path):
    first = recipe("zaremba-small", *SECOND, "training.epochs=1", data=str(tiny_corpus))
    runs.train(first, tmp_path / "first", progress=PlainProgress(quiet=True))
    wider = recipe("zaremba-small", *SECOND, "training.epochs=1", "model.hidden_sizes=[8,9]", data=str(tiny_corpus))
    with pytest.raises(CheckpointError, match=r"first: weights of another shape.*give the model settings of that run"):
        runs.train(wider, tmp_path / "x", start_from=tmp_path / "first", progress=PlainProgress(quiet=True))
    assert not (tmp_path / "x").exists()


def test_an_adaptive_head_needs_frequent_words_first():
    adaptive = Model(head={"kind": "adaptive", "cutoffs": (2,)})
    words = ["<eos>", "<unk>", "a", "b"]
    for counts in ([4, 3, 2, 1], [1, 1, 1, 1], None):
        check_frequent_first(adaptive, WordVocabulary(words, counts=counts))
    wrong = WordVocabulary(words, counts=[1, 2, 3, 4])
    check_frequent_first(Model(), wrong)
    with pytest.raises(UserError, match=r"words from 2 on occur 3\.5 times each, those before them 1\.5 times"):
        check_frequent_first(adaptive, wrong)


def test_a_run_with_an_adaptive_head_checks_a_given_vocabulary(tiny_corpus, tmp_path):
    """The config cannot: the words are in a file."""
    words = tmp_path / "words.txt"
    words.write_text("".join(f"{word}\n" for word in ["x", "y", "z", "<unk>", "<eos>", "ant", "bee"]))
    settings = ["model.tied=false", "model.head=adaptive", "model.head.cutoffs=[3]", f"data.vocabulary={words}"]
    with pytest.raises(UserError, match=r"model\.head\.cutoffs: words from 3 on occur"):
        runs.train(recipe("zaremba-small", *settings, data=tiny_corpus), tmp_path / "run")
