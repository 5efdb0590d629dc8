"""A tagger's run: trained, stopped, resumed bit for bit, loaded, and kept apart from language models."""

import json
import signal

import pytest
import torch
from short_runs import Stopping, metrics_of, quiet
from tagged import write_tsv

import refrain
from refrain import assembly, runs
from refrain.config import TaggerExperiment
from refrain.data.tagged.sentences import Sentence
from refrain.errors import CheckpointError, DataError, UserError
from refrain.recipes import recipe
from refrain.training import Interrupted

TINY = (
    "model.embedding_size=8",
    "model.hidden_sizes=[8]",
    # for so few sentences and steps
    "data.prefixes=3",
    "data.feature_min_count=2",
    "model.dropout=0.33",
    "training.epochs=4",
    "training.batch_size=8",
    "training.log_windows=3",
    "training.learning_rate=0.02",
    "training.stop_window=none",
)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return write_tsv(tmp_path_factory.mktemp("tagged") / "toy")


def experiment(corpus, *changes, name="pos-default"):
    return recipe(name, *TINY, *changes, data=str(corpus))


def train(place, corpus, *changes):
    return runs.train(experiment(corpus, *changes), place, progress=quiet())


@pytest.fixture(scope="module")
def run(corpus, tmp_path_factory):
    place = tmp_path_factory.mktemp("runs") / "tagger"
    train(place, corpus)
    return place


def test_the_report_has_the_confusion_matrix(run):
    by_tag = json.loads((run / "summary.json").read_text())["by_tag"]
    assert by_tag["split"] == "test" and by_tag["tags"].keys() == {"N", "D", "V", "P"}
    counts = by_tag["confusion"]
    # each word is in the row of its true tag, and the most frequent tag comes first
    assert [sum(row) for row in counts] == [by_tag["tags"][tag]["words"] for tag in by_tag["confusion_tags"]]
    assert by_tag["confusion_tags"][0] == "N" and sum(map(sum, counts)) == sum(
        t["words"] for t in by_tag["tags"].values()
    )
    page = (run / "report.html").read_text()
    assert "<h2>Tags</h2>" in page and f'<td class="r8">{counts[0][0]}</td>' in page
    assert "Accuracy" in page and "Nats per word" in page and "Precision, recall and F1 of 4 tags" in page


def test_the_run_explains_itself(run):
    summary = json.loads((run / "summary.json").read_text())
    assert summary["task"] == "tagger" and summary["tags"] == 4
    # an ending says what a word is
    assert summary["test"]["accuracy"] > 0.95
    assert json.loads((run / "config.json").read_text())["task"] == "tagger"
    manifest = json.loads((run / "manifest.json").read_text())
    assert manifest["data"]["unit"] == "tag" and manifest["data"]["splits"]["train"]["lines"] == 60
    card = (run / "README.md").read_text()
    assert "A tagger of 4 tags" in card and "refrain tag" in card
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    valid = [line for line in lines if line["event"] == "valid"]
    assert len(valid) == 4 and all(0 <= line["accuracy"] <= 1 for line in valid)
    best = max(valid, key=lambda line: line["accuracy"])
    assert summary["best_epoch"] == best["epoch"]
    assert summary["valid"]["accuracy"] == pytest.approx(best["accuracy"])


def test_the_tagger_is_loaded_and_tags(run):
    tagger = refrain.load(run)
    assert isinstance(tagger, refrain.TrainedTagger) and "TrainedTagger(" in repr(tagger)
    assert tagger.tag([["the", "dogs", "running", "."], []]) == [["D", "N", "V", "P"], []]
    # words that training lacks, known by their endings
    assert tagger.tag([["the", "foxes", "sleeping", "."]]) == [["D", "N", "V", "P"]]
    assert tagger.tag_text("the dogs barking.") == [[("the", "D"), ("dogs", "N"), ("barking", "V"), (".", "P")]]
    many = [["the", "dogs"], ["a"], ["cats", "hiding", "a", "hens", "."]] * 5
    assert list(tagger.stream(many, batch_size=4)) == tagger.tag(many) == [tagger.tag([each])[0] for each in many]
    assert tagger.column == "xpos"
    for wrong in ("the dogs", ["the dogs"]):
        with pytest.raises(UserError, match="tag_text"):
            tagger.tag(wrong)
    for method in (tagger.tag, lambda *given, **more: list(tagger.stream(*given, **more))):
        with pytest.raises(UserError, match=r"batch_size must be at least 1 \(got 0\)"):
            method(many, batch_size=0)


@pytest.mark.parametrize("step", [5, 8, 20])
def test_a_stopped_run_ends_as_an_unbroken_one(run, corpus, tmp_path, step):
    place = tmp_path / "tagger"
    with pytest.raises(Interrupted):
        runs.train(experiment(corpus), place, progress=Stopping(step, signal.SIGINT))
    runs.resume(place, progress=quiet())
    one, other = (runs.load_tagger(each).model.state_dict() for each in (run, place))
    assert all(torch.equal(one[name], other[name]) for name in one)

    def validations(folder):
        return [line for line in metrics_of(folder) if line["event"] == "valid"]

    assert validations(place) == validations(run)


def test_a_run_is_not_replaced_unasked(run, corpus):
    with pytest.raises(CheckpointError, match="exists already"):
        train(run, corpus)


def test_resuming_wants_the_same_text_and_settings(corpus, tmp_path):
    own = write_tsv(tmp_path / "own")
    with pytest.raises(Interrupted):
        runs.train(experiment(own), tmp_path / "run", progress=Stopping(2, signal.SIGINT))
    with pytest.raises(CheckpointError, match=r"training\.seed: 1 in the run, 5 now"):
        runs.resume(tmp_path / "run", experiment=experiment(own, "training.seed=5"))
    with pytest.raises(CheckpointError, match="is the run of a tagger, but the recipe is for a language model"):
        runs.resume(tmp_path / "run", experiment=recipe("quickstart"))
    with (own / "toy.train.tsv").open("a") as file:
        file.write("\nowls\tN\n")
    with pytest.raises(DataError, match="has changed"):
        runs.resume(tmp_path / "run", progress=quiet())


def test_another_run_is_the_start(run, corpus, tmp_path):
    summary = runs.train(
        experiment(corpus, "training.epochs=1", "training.learning_rate=1e-9"),
        tmp_path / "second",
        start_from=run,
        progress=quiet(),
    )
    before = json.loads((run / "summary.json").read_text())
    assert summary["test"]["accuracy"] == before["test"]["accuracy"]


def test_training_stops_when_validation_stalls(corpus, tmp_path):
    summary = train(
        tmp_path / "run", corpus, "training.epochs=30", "training.stop_window=2", "training.learning_rate=2.0"
    )
    assert summary["epochs"] < 30


def test_unknown_words_are_trained(corpus, tmp_path):
    """Without features all that a new word has is the vector of <unk>: it moves, and stays where nothing is hidden."""
    plain = (
        "data.lower_case=false",
        "data.prefixes=0",
        "data.suffixes=0",
        "data.shapes=false",
        "data.feature_min_count=1",
    )
    moved = {}
    for rate in (0.0, 0.5):
        place = tmp_path / f"rate-{rate}"
        train(place, corpus, *plain, f"training.unknown_rate={rate}", "training.epochs=1")
        tagger = runs.load_tagger(place)
        torch.manual_seed(1)
        start = assembly.build_tagger(experiment(corpus, *plain).model, tagger.vocabulary)
        row = tagger.vocabulary.unknown
        moved[rate] = (tagger.model.embedding.weight[row] - start.embedding.weight[row]).abs().max().item()
    assert moved[0.0] == 0.0 < moved[0.5]


@pytest.mark.parametrize("name", ["pos-default", "pos-dense", "pos-sparse", "pos-sparse-descending"])
def test_recipes_train_shrunk(name, corpus, tmp_path):
    shrink = ["training.epochs=2", "training.batch_size=10", "training.stop_window=none"]
    given = recipe(name, *shrink, data=str(corpus))
    assert (
        isinstance(given, TaggerExperiment) and TaggerExperiment.model_validate_json(given.model_dump_json()) == given
    )
    # the toy corpus has too few words for twenty blocks of falling length
    blocks = ["model.embedding.blocks=4", "model.embedding.density=0.5"] if "sparse" in name else []
    with pytest.raises(Interrupted):
        runs.train(
            recipe(name, *shrink, *blocks, data=str(corpus)),
            tmp_path / "run",
            progress=Stopping(3, signal.SIGINT),
        )
    assert runs.resume(tmp_path / "run", progress=quiet())["epochs"] == 2
    assert runs.load_tagger(tmp_path / "run").tag([["the"]])[0][0] in "DNVP"


def test_sparse_layers_and_gru(corpus, tmp_path):
    blocks = ("model.cell=sparse-lstm", "model.cell.plan.blocks=2", "model.cell.plan.density=0.5")
    train(tmp_path / "a", corpus, *blocks, "training.epochs=1")
    train(tmp_path / "b", corpus, "model.cell=gru", "model.hidden_sizes=[6,4]", "training.epochs=1")
    for name in "ab":
        assert runs.load_tagger(tmp_path / name).model.widths()["tags"] == 4


def test_sparse_and_dense_vectors_have_as_many_weights():
    vocabulary = type("V", (), {"__len__": lambda self: 1000, "features": [], "tags": list("abc")})()
    dense, sparse = (assembly.build_tagger(recipe(name).model, vocabulary) for name in ("pos-dense", "pos-sparse"))
    counts = [sum(p.numel() for p in model.embedding.parameters()) for model in (dense, sparse)]
    assert counts == [5000, 5000]


def test_kinds_of_runs_are_kept_apart(run, tiny_run):
    with pytest.raises(CheckpointError, match="is the run of a tagger, but a language model is needed"):
        runs.load_language_model(run)
    with pytest.raises(CheckpointError, match="is the run of a language model, but a tagger is needed"):
        runs.load_tagger(tiny_run)


def test_settings_that_cannot_take_effect(corpus):
    for setting, message in (
        ("model.between_dropout=0.1", "single layer"),
        ("model.cell.plan.blocks=2", "cell 'lstm' has no such setting; it belongs to 'sparse-lstm'"),
        ("model.embedding.density=0.5", "embedding 'dense' has no such setting"),
        ("training.stop_window=4", "looks further back"),
        ("training.window_steps=4", "training.window_steps: unknown key"),
        ("model.head=mixture", "model.head: must be 'softmax' or 'crf'"),
        ("task=other", "must be 'tagger'"),
    ):
        with pytest.raises(UserError, match=message):
            experiment(corpus, setting)
    with pytest.raises(UserError, match="has a file for each split"):
        assembly.build_tagged_corpus(experiment(corpus, "data.split=[0.5,0.2]").data)


def test_sentences_that_cannot_be_measured_are_named(run):
    tagger = refrain.load(run)
    for sentence in (Sentence(["a"], ["D", "N"], 1), Sentence(["a", "b"], ["D"], 1)):
        with pytest.raises(UserError, match="each needs one tag for each of its words"):
            tagger.evaluate([sentence])
    with pytest.raises(UserError, match="there is no sentence with a word"):
        tagger.evaluate([Sentence([], [], 1)])
    both = tagger.evaluate([Sentence([], [], 1), Sentence(["a"], [tagger.vocabulary.tags[0]], 2)])
    assert both.words.total == 1
