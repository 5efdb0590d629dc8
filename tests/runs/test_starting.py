"""A run that starts from another one goes on with a text of other words, characters, bytes or pieces."""

import json

import pytest
import tagged
import torch
from short_runs import Stopping, quiet, write_cat_and_dog, write_splits

import refrain
from refrain import recipe, runs
from refrain.errors import CheckpointError, DataError, UserError
from refrain.runs.outline import start_text
from refrain.training import Interrupted

SMALL = (
    "model.embedding_size=6", "model.hidden_sizes=[8]", "training.batch_size=4", "training.window_steps=6",
    "training.validation=exact", "training.sample_tokens=0", "training.epochs=1",
)  # fmt: skip
# the weights stay where they start
STILL = ("training.learning_rate=1e-12",)
OTHER = "the bird sat\nthe dog sang to the bird\n"


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cat")
    runs.train(small(write_cat_and_dog(folder / "text")), folder / "run", progress=quiet())
    return folder / "run"


@pytest.fixture
def other(tmp_path):
    return write_splits(tmp_path / "other", OTHER, (40, 15, 15))


def small(text, *words, start=None):
    return recipe("zaremba-small", *SMALL, *words, data=str(text), start_from=start)


def start_of(folder):
    return json.loads((folder / "manifest.json").read_text())["start"]


def test_rows_of_known_words_are_kept(run, other, tmp_path):
    progress = Stopping()
    runs.train(small(other, *STILL, start=run), tmp_path / "on", start_from=run, progress=progress)
    before, after = refrain.load(run), refrain.load(tmp_path / "on")
    # the run has cat, ran and away besides, and the new text bird, sang and to
    line = (
        f"start  {run}: 5 of 8 words known, 3 new, 3 of the run's words left out, new ones start at the mean of the "
        "run's 1 rarest"
    )
    assert line in progress.lines
    assert start_of(tmp_path / "on")["units"]["words"] == {"known": 5, "new": 3, "left_out": 3, "mean_of": 1}
    ids = before.vocabulary.index
    rarest = min((w for w in ids if w[0] != "<"), key=lambda w: (before.vocabulary.counts[ids[w]], ids[w]))
    for word, index in after.vocabulary.index.items():
        from_row = ids[word if word in ids else rarest]
        for name in ("embedding.weight", "head.weight", "head.bias"):
            rows = [dict(lm.model.named_parameters())[name] for lm in (after, before)]
            torch.testing.assert_close(rows[0][index], rows[1][from_row], atol=1e-6, rtol=0)
    others = {name for name, _ in before.model.named_parameters() if name.startswith("stack.")}
    assert others
    for name in others:
        pair = [dict(lm.model.named_parameters())[name] for lm in (before, after)]
        torch.testing.assert_close(*pair, atol=1e-6, rtol=0)
    assert "Started from" in (tmp_path / "on" / "README.md").read_text()


def test_the_same_words_are_the_same_run(run, tmp_path):
    """Without another vocabulary, all rows are copied, and the line has the number."""
    progress = Stopping()
    runs.train(small(run.parent / "text", *STILL), tmp_path / "on", start_from=run, progress=progress)
    assert f"start  {run}: all 8 words known" in progress.lines
    before, after = refrain.load(run).model, refrain.load(tmp_path / "on").model
    assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(before.parameters(), after.parameters(), strict=True))


def test_averages_and_optimisers_do_not_travel(run, other, tmp_path):
    """A run that starts from one with averages and moments begins with neither."""
    first = small(other, "training.optimizer=asgd")
    runs.train(first, tmp_path / "first", progress=quiet())
    text = write_splits(tmp_path / "third", "one bird sat\n", (60, 15, 15))
    fresh = small(text, "training.optimizer=adam", *STILL, start=tmp_path / "first")
    runs.train(fresh, tmp_path / "on", start_from=tmp_path / "first", progress=quiet())
    names = {path.name for path in (tmp_path / "on" / "best").resolve().iterdir()}
    assert "training.safetensors" in names
    training = json.loads((tmp_path / "on" / "best" / "training.json").read_text())
    assert "averaging" not in training["stateful"]


def test_a_run_that_went_on_is_resumed(run, other, tmp_path):
    experiment = small(other, start=run)
    with pytest.raises(Interrupted):
        runs.train(experiment, tmp_path / "on", start_from=run, progress=Stopping(3))
    resumed = runs.resume(tmp_path / "on", progress=quiet())
    whole = runs.train(experiment, tmp_path / "whole", start_from=run, progress=quiet())
    assert resumed["test"]["nats_per_token"] == whole["test"]["nats_per_token"]
    assert start_of(tmp_path / "on") == start_of(tmp_path / "whole")


@pytest.mark.parametrize(
    ("unit", "line"), [("byte", "all 256 bytes known"), ("character", "13 of 15 characters known")]
)
def test_bytes_and_characters_go_onto_any_text(unit, line, other, tmp_path):
    text = write_cat_and_dog(tmp_path / "text")
    runs.train(small(text, f"data.unit={unit}"), tmp_path / "first", progress=quiet())
    progress = Stopping()
    on = small(other, start=tmp_path / "first")
    assert on.data.unit == unit
    runs.train(on, tmp_path / "on", start_from=tmp_path / "first", progress=progress)
    assert any(line in each for each in progress.lines), progress.lines


def test_pieces_are_those_of_the_run(other, tmp_path):
    pytest.importorskip("sentencepiece")
    text = write_cat_and_dog(tmp_path / "text")
    runs.train(small(text, "data.unit=subword", "data.pieces=280"), tmp_path / "first", progress=quiet())
    on = small(other, start=tmp_path / "first")
    assert (on.data.unit, on.data.vocabulary) == ("subword", str(tmp_path / "first"))
    with pytest.raises(Interrupted):
        runs.train(on, tmp_path / "on", start_from=tmp_path / "first", progress=Stopping(2))
    before = refrain.load(tmp_path / "first").vocabulary
    # a run that is resumed has its pieces itself
    (tmp_path / "first").rename(tmp_path / "gone")
    runs.resume(tmp_path / "on", progress=quiet())
    assert refrain.load(tmp_path / "on").vocabulary.document() == before.document()
    trained = small(other, "data.unit=subword", "data.pieces=290")
    with pytest.raises(CheckpointError, match=r"other pieces of words, which cannot be exchanged; .*data\.vocabulary="):
        runs.train(trained, tmp_path / "x", start_from=tmp_path / "gone", progress=quiet())


def test_what_cannot_be_carried_over_is_named(run, other, tmp_path):
    characters = small(other, "data.unit=character")
    with pytest.raises(CheckpointError, match=r"was trained on words, but the new run reads characters; .*unit=word"):
        runs.train(characters, tmp_path / "x", start_from=run, progress=quiet())
    wider = small(other, "model.hidden_sizes=[9]")
    with pytest.raises(CheckpointError, match=r"weights of another shape.*give the model settings of that run"):
        runs.train(wider, tmp_path / "x", start_from=run, progress=quiet())

    def own(vocabulary):
        return Own(refrain.assembly.model.build_model(small(other).model, len(vocabulary)))

    with pytest.raises(CheckpointError, match="not for a network of your own; give its corpus"):
        runs.train(small(other), tmp_path / "x", model=own, start_from=run, progress=quiet())
    assert not (tmp_path / "x").exists()


class Own(torch.nn.Module):
    """A network of the user's own, around one of the library."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner
        self.initial_state, self.hidden = inner.initial_state, inner.hidden
        self.token_nats, self.step = inner.token_nats, inner.step

    def forward(self, inputs, targets, state):
        return self.inner(inputs, targets, state)


TAGGER = (
    "model.embedding_size=6", "model.hidden_sizes=[5]", "training.epochs=2", "training.batch_size=8", "model.head=crf",
    "model.skip_connection=true",
)  # fmt: skip


def test_a_tagger_answers_as_before_on_new_words(tmp_path):
    """New words start where the tagger read what it did not know, so that no answer changes before it is trained."""
    runs.train(
        recipe("pos-default", *TAGGER, data=str(tagged.write_tsv(tmp_path / "text"))),
        tmp_path / "run",
        progress=quiet(),
    )
    other = tagged.write_tsv(tmp_path / "other")
    for path in other.iterdir():
        path.write_text(path.read_text().replace("dogs\tN", "wolves\tN").replace("the\t", "some\t"))
    progress = Stopping()
    on = recipe("pos-default", *TAGGER, *STILL, "training.epochs=1", data=str(other), start_from=tmp_path / "run")
    runs.train(on, tmp_path / "on", start_from=tmp_path / "run", progress=progress)
    line = next(line for line in progress.lines if line.startswith("start"))
    assert "12 of 14 words known, 2 new, 2 of the run's words left out; " in line and line.endswith("all 4 tags known")
    before, after = refrain.load(tmp_path / "run"), refrain.load(tmp_path / "on")
    words = ["some", "wolves", "barking", "some", "cats", "."]
    pair = [lm.model.logits(torch.tensor(lm.vocabulary.encode(words))[:, None]) for lm in (before, after)]
    torch.testing.assert_close(*pair, atol=1e-5, rtol=1e-5)


def test_new_tags_start_at_the_mean(tmp_path):
    runs.train(
        recipe("pos-default", *TAGGER, data=str(tagged.write_tsv(tmp_path / "text"))),
        tmp_path / "run",
        progress=quiet(),
    )
    other = tagged.write_tsv(tmp_path / "other")
    for path in other.iterdir():
        path.write_text(path.read_text().replace(".\tP", ".\tPUNCT").replace("\tD\n", "\tDET\n"))
    on = recipe("pos-default", *TAGGER, *STILL, "training.epochs=1", data=str(other), start_from=tmp_path / "run")
    runs.train(on, tmp_path / "on", start_from=tmp_path / "run", progress=quiet())
    assert start_of(tmp_path / "on")["units"]["tags"] == {"known": 2, "new": 2, "left_out": 2}
    before, after = (refrain.load(tmp_path / name).model for name in ("run", "on"))
    tags = refrain.load(tmp_path / "on").vocabulary.tags
    assert tags == ["DET", "N", "PUNCT", "V"]
    mean = before.output.weight.mean(0)
    rows = torch.stack([mean, before.output.weight[1], mean, before.output.weight[3]])
    torch.testing.assert_close(after.output.weight, rows, atol=1e-6, rtol=0)
    torch.testing.assert_close(after.skip.weight[2], before.skip.weight.mean(0), atol=1e-6, rtol=0)
    torch.testing.assert_close(after.crf.transitions[1, 3], before.crf.transitions[1, 3], atol=1e-6, rtol=0)
    torch.testing.assert_close(after.crf.transitions[0, 1], before.crf.transitions[:, 1].mean(), atol=1e-6, rtol=0)


def test_the_line_has_thousands_and_what_is_shorter():
    words = {"known": 7213, "new": 2187, "left_out": 2787, "mean_of": 1000}
    assert start_text({"run": "r", "units": {"words": words}, "shorter_vectors": 31}) == (
        "r: 7,213 of 9,400 words known, 2,187 new, 2,787 of the run's words left out, new ones start at the mean "
        "of the run's 1,000 rarest; 31 known words have shorter vectors than in the run"
    )
    assert start_text({"run": "r", "units": {"words": words | {"mean_of": 10000}}}).endswith(
        "mean of the run's 10,000 words"
    )


def test_a_fixed_vocabulary(run, other, tmp_path):
    """A file of words decides the ids, whatever the text; the run is resumed without the file."""
    listed = tmp_path / "words.txt"
    listed.write_text("zebra\nthe\nbird\n<unk>\nsat\n")
    experiment = small(other, f"data.vocabulary={listed}")
    with pytest.raises(Interrupted):
        runs.train(experiment, tmp_path / "fixed", progress=Stopping(2))
    listed.unlink()
    runs.resume(tmp_path / "fixed", progress=quiet())
    lm = refrain.load(tmp_path / "fixed")
    assert lm.vocabulary.words == ["zebra", "the", "bird", "<unk>", "sat", "<eos>"]
    # 40 copies: the words dog, sang and to are unknown
    assert lm.vocabulary.counts == [0, 120, 80, 120, 40, 80] and lm.vocabulary.unknown_count == 120
    # a run that starts from it has its words, and the file is not needed
    on = small(other, start=tmp_path / "fixed")
    assert on.data.vocabulary == str(tmp_path / "fixed")
    assert runs.train(on, tmp_path / "on", start_from=tmp_path / "fixed", progress=quiet())
    assert refrain.load(tmp_path / "on").vocabulary.words == lm.vocabulary.words
    # and the words of any run can be taken
    kept = small(other, f"data.vocabulary={run}", start=run)
    runs.train(kept, tmp_path / "kept", start_from=run, progress=quiet())
    assert refrain.load(tmp_path / "kept").vocabulary.words == refrain.load(run).vocabulary.words


def test_a_fixed_vocabulary_takes_the_place_of_the_recipe_s(other, tmp_path):
    listed = tmp_path / "words.txt"
    listed.write_text("the\n")
    found = recipe("quickstart", f"data.vocabulary={listed}", data=str(other))
    assert found.data.min_count == 1
    with pytest.raises(UserError, match="min_count: cannot take effect with a fixed vocabulary; leave them out"):
        recipe("quickstart", f"data.vocabulary={listed}", "data.min_count=3", data=str(other))
    with pytest.raises(UserError, match="vocabulary: cannot take effect with unit 'byte'"):
        recipe("quickstart", f"data.vocabulary={listed}", "data.unit=byte", "data.min_count=1", data=str(other))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", r"words\.txt:1: has no word"),
        ("a\n\nb\n", r"words\.txt:2: has no word, but a vocabulary has one word on each line"),
        ("a\nb 7\n", r"words\.txt:2: has 2 words, but a vocabulary has one word on each line \(got 'b 7'\)"),
        ("a\nb\na\n", r"words\.txt:3: has 'a' again, as in line 1; leave one out"),
        (b"a\n\xff\n", r"words\.txt: invalid UTF-8 at byte 2"),
        (None, r"words\.txt: cannot be read as a vocabulary \(No such file"),
    ],
)
def test_a_list_that_is_no_vocabulary(content, message, other, tmp_path):
    path = tmp_path / "words.txt"
    if content is not None:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(DataError, match=message):
        runs.train(small(other, f"data.vocabulary={path}"), tmp_path / "x", progress=quiet())
    assert not (tmp_path / "x").exists()


def test_special_words_of_other_programs(other, tmp_path):
    path = tmp_path / "words.txt"
    path.write_text("\ufeff<UNK>\r\n</s>\r\nthe\r\n")
    runs.train(small(other, f"data.vocabulary={path}"), tmp_path / "run", progress=quiet())
    assert refrain.load(tmp_path / "run").vocabulary.words == ["<unk>", "<eos>", "the"]


def test_a_vocabulary_of_another_unit_is_named(run, other, tmp_path):
    with pytest.raises(
        DataError, match=r"has a vocabulary of words, but data\.unit is character; give data\.unit=word"
    ):
        runs.train(small(other, "data.unit=character", f"data.vocabulary={run}"), tmp_path / "x", progress=quiet())
    with pytest.raises(
        DataError, match="no such folder, but a list of tokens in a file is of words; give the folder of a run"
    ):
        runs.train(small(other, "data.unit=character", "data.vocabulary=nowhere"), tmp_path / "x", progress=quiet())
    with pytest.raises(CheckpointError, match="give the folder of a run, or of one of its checkpoints"):
        runs.train(small(other, f"data.vocabulary={other}"), tmp_path / "x", progress=quiet())
