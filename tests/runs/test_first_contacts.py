"""What somebody tries first with the library in Python."""

import typing

import numpy as np
import pytest
import torch
from short_runs import quiet, write_cat_and_dog

import refrain
from refrain import runs
from refrain.config import Data, Experiment, Model, Training
from refrain.errors import CheckpointError, UserError


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = write_cat_and_dog(tmp_path_factory.mktemp("first"))
    experiment = Experiment(
        data=Data(corpus=str(folder)),
        model=Model(embedding_size=6, hidden_sizes=(8,)),
        training=Training(
            epochs=1, batch_size=4, window_steps=6, optimizer="adam", learning_rate=0.03, sample_tokens=0
        ),
    )
    refrain.train(experiment, folder / "run", progress=quiet())
    return folder / "run"


@pytest.fixture(scope="module")
def lm(run):
    return refrain.load(run, kind="language-model")


def test_a_string_is_one_text_and_never_a_list(lm):
    assert lm.features("the cat").hidden.shape == (1, 8)
    assert lm.features("the cat").hidden.tolist() == lm.features(["the cat"]).hidden.tolist()
    assert lm.count("the cat") == lm.count(["the cat"]) == (1, 2, 0)
    assert lm.count(text for text in ("the", "unheard cat")) == (2, 3, 1)
    assert lm.count("unheard <unk>") == (1, 2, 1)


def test_several_texts_are_scored_one_by_one(lm):
    one, two = lm.score(["the cat sat", "the dog\nran away"])
    assert one == lm.score("the cat sat")
    assert two == lm.score("the dog\nran away")
    assert lm.score([]) == []


@pytest.mark.parametrize("wrong", [b"the cat", 3, None, ["the", 3]])
def test_what_is_no_text_is_refused(lm, wrong):
    for method in (lm.score, lm.features, lm.count):
        with pytest.raises(UserError, match="must be a text"):
            method(wrong)


def test_numbers_out_of_range(lm):
    for wrong, message in (
        ({"tokens": -1}, r"tokens must be at least 0 \(got -1\)"),
        ({"samples": 0}, r"samples must be at least 1 \(got 0\)"),
        ({"temperature": -1}, "temperature must be at least 0"),
        ({"top_k": 0}, r"top_k must be at least 1 \(got 0\)"),
        ({"top_p": 9}, "top_p must be greater than 0 and at most 1"),
    ):
        with pytest.raises(UserError, match=message):
            lm.generate("the", **wrong)
    with pytest.raises(UserError, match=r"batch_size must be at least 1 \(got 0\)"):
        lm.features(["the"], batch_size=0)
    with pytest.raises(UserError, match="start: 'none' needs a prompt"):
        lm.generate(start="none")
    assert lm.generate("the", tokens=0) == ["the"]


def test_a_vocabulary_is_a_collection(lm):
    words = lm.vocabulary
    assert "cat" in words and "company" not in words and 3 not in words
    assert sorted(words) == sorted(words.words) and len(words) == 8
    assert repr(words) == "WordVocabulary(8 words)"


def test_a_kind_that_must_be_loaded(run):
    assert isinstance(refrain.load(run), refrain.TrainedLanguageModel)
    with pytest.raises(CheckpointError, match="is the run of a language model, but a tagger is needed"):
        refrain.load(run, kind="tagger")
    with pytest.raises(UserError, match="kind: must be 'language-model' or 'tagger'"):
        refrain.load(run, kind="lm")
    for device in ("gpu", "mps", None):
        with pytest.raises(UserError, match=rf"device: {device!r} is unknown; use 'cpu', 'cuda' or 'auto'"):
            refrain.load(run, device=device)


def test_names_are_completed():
    assert {"load", "train", "recipe", "resume", "TrainedTagger"} <= set(dir(refrain))
    assert not {"TYPE_CHECKING", "lazily", "_moved"} & set(dir(refrain))


def test_what_is_loaded_names_its_sizes(lm):
    parameters = sum(each.numel() for each in lm.model.parameters())
    assert f"lstm 8, vocabulary of 8 words, {parameters:,} parameters)" in repr(lm)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda lm: lm.prepare(["the"]), "text: must be a text (got ['the'])"),
        (lambda lm: lm.generate(["the"]), "prompt: must be a text (got ['the'])"),
        (lambda lm: lm.generate("the", tokens="3"), "tokens: must be a whole number (got '3')"),
        (lambda lm: lm.generate("the", tokens=True), "tokens: must be a whole number (got True)"),
        (lambda lm: lm.generate("the", samples=torch.tensor(2)), "samples: must be a whole number (got tensor(2))"),
        (lambda lm: lm.generate("the", seed=1.5), "seed: must be a whole number (got 1.5)"),
        (lambda lm: lm.generate("the", seed=2**64), "seed must be at least 0 and less than 2**63 (got 184467440737"),
        (lambda lm: lm.generate("the", seed=-1), "seed must be at least 0 and less than 2**63 (got -1)"),
        (lambda lm: lm.generate("the", temperature="hot"), "temperature: must be a number (got 'hot')"),
        (lambda lm: lm.generate("the", clamp=0), "clamp: must map units to values, as in {3: 1.5} (got 0)"),
        (lambda lm: lm.generate("the", clamp=[3]), "clamp: must map units to values, as in {3: 1.5} (got [3])"),
        (lambda lm: lm.generate("the", clamp={3: "x"}), "clamp: the value of unit 3: must be a number (got 'x')"),
        (
            lambda lm: lm.features("the", units=3),
            "units: must be a list of whole numbers, such as [3] or [3, 5] (got 3)",
        ),
        (lambda lm: lm.features("the", units="35"), "units: must be a list of whole numbers, such as [3] or [3, 5]"),
        (lambda lm: lm.features("the", units=[True]), "units: must be a whole number (got True)"),
        (lambda lm: lm.features("the", layer=torch.tensor(0)), "layer: must be a whole number (got tensor(0))"),
        (lambda lm: lm.features("the", batch_size=True), "batch_size: must be a whole number (got True)"),
        (lambda lm: lm.surprisal("the", context=None), "context: must be one of sentence, document (got None)"),
        (lambda lm: lm.surprisal("the", mix=3), "mix: must be the path of an n-gram model (got 3)"),
        (lambda lm: lm.features("the", which="all"), "which: must be one of cell, hidden (got 'all')"),
        (lambda lm: lm.count("the", cleaning="x"), "cleaning: must be one of"),
    ],
)
def test_arguments_of_another_type(lm, call, message):
    with pytest.raises(UserError) as caught:
        call(lm)
    assert str(caught.value).startswith(message)


def test_units_of_any_whole_numbers(lm):
    units = torch.tensor([2, 5])
    assert lm.features("the cat", units=units).traces[0].shape == (2, 2)
    assert lm.generate("the", tokens=np.int64(2), seed=np.int64(1)) == lm.generate("the", tokens=2, seed=1)
    given = {"samples": np.int64(2), "top_k": np.int32(3), "top_p": np.float32(0.5), "temperature": np.float64(0.5)}
    plain = {"samples": 2, "top_k": 3, "top_p": 0.5, "temperature": 0.5}
    clamps = {np.int64(2): np.float32(0.5), (np.int64(0), 3): np.float64(1)}, {2: 0.5, (0, 3): 1.0}
    texts = [lm.generate("the", tokens=6, seed=1, clamp=clamps[0], **given)]
    texts.append(lm.generate("the", tokens=6, seed=1, clamp=clamps[1], **plain))
    assert texts[0] == texts[1]


@pytest.mark.parametrize("given", [None, 3, ["a"], b"a"])
def test_what_is_no_run(given):
    with pytest.raises(UserError, match=r"^path: must be a run folder or the name of a run \(got .*\)$"):
        refrain.load(given)
    with pytest.raises(UserError, match=r"^out: must be a run folder \(got .*\)$"):
        refrain.resume(given)
    with pytest.raises(UserError, match=r"^out: must be the path of a run folder \(got .*\)$"):
        refrain.train(Experiment(data=Data(corpus="x")), given, progress=quiet())


def test_a_loaded_model_is_no_run(lm):
    with pytest.raises(UserError, match=r"\(got an object of the class TrainedLanguageModel\)$"):
        refrain.load(lm)


def test_another_word_for_whether_to_resume(run, tmp_path):
    with pytest.raises(UserError, match=r"^resume: must be one of never, auto \(got 'always'\)$"):
        refrain.train(Experiment(data=Data(corpus=str(run.parent))), tmp_path / "new", resume="always")
    assert not (tmp_path / "new").exists()


def test_a_corpus_is_a_path_and_no_list_of_them():
    with pytest.raises(UserError, match=r"^data: must be the path or the name of a corpus \(got \['text\.txt'\]\)$"):
        refrain.recipe("quickstart", data=["text.txt"])
    with pytest.raises(UserError, match=r"^iss_json: must be a file \(got 3\)$"):
        refrain.recipe("quickstart", iss_json=3)


def test_the_shape_of_a_run_to_start_from(run, tmp_path):
    changes = {
        "training.epochs": 1,
        "training.batch_size": 4,
        "training.window_steps": 6,
        "training.validation": "exact",
    }
    found = refrain.recipe("zaremba-small", changes, data=run.parent, start_from=run)
    assert (found.model.embedding_size, found.model.hidden_sizes) == (6, (8,))
    summary = refrain.train(found, tmp_path / "more", start_from=run, progress=quiet())
    assert summary["parameters"] == refrain.load(run).model.head.bias.numel() * 15 + 4 * 8 * 15
    other = refrain.recipe("zaremba-small", changes, data=write_text(tmp_path), start_from=run)
    refrain.train(other, tmp_path / "other", start_from=run, progress=quiet())
    assert "one" in refrain.load(tmp_path / "other").vocabulary


def write_text(folder):
    (folder / "other.txt").write_text("one two three four\n" * 200)
    return folder / "other.txt"


def test_type_checkers_know_what_is_loaded():
    returned = [overload.__annotations__["return"] for overload in typing.get_overloads(runs.load)]
    assert returned == ["TrainedLanguageModel", "TrainedTagger", "TrainedLanguageModel | TrainedTagger"]
