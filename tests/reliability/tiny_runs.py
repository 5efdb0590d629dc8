"""Five recipes, each shrunk to a run of some tenths of a second, and what must be the same at the end of two runs."""

import random
from pathlib import Path
from typing import NamedTuple

import pytest

from refrain import runs
from refrain.recipes import recipe
from refrain.storage.run_folder import RunFolder
from refrain.training import PlainProgress

SMALL = (
    "training.device=cpu",
    "training.log_windows=3",
    "training.batch_size=4",
)
TEXT = ("model.embedding_size=8", "model.hidden_sizes=[8,8]", "training.window_steps=8", "training.sample_tokens=5")
# checkpoints after every window
EVERY_WINDOW = "training.checkpoint_minutes=1e-9"


class TinyRecipe(NamedTuple):
    """A recipe with its settings.

    Attributes:
        corpus: the name of the folder of its text.
        start: whether it starts from the weights of a pruned run.
    """

    name: str
    settings: tuple[str, ...]
    corpus: str = "words"
    start: bool = False


RECIPES = {
    "byte-lstm": TinyRecipe(
        "char-lstm",
        (*TEXT, "training.window_steps=40", "training.epochs=3", "training.learning_rate=0.01", "model.dropout=0.2"),
    ),
    "word-gru": TinyRecipe("zaremba-small", (*TEXT, "training.epochs=3", "model.cell=gru", "model.dropout=0.2")),
    "tagger": TinyRecipe("pos-sparse", ("training.epochs=2", "training.learning_rate=0.01"), corpus="tagged"),
    "sparse": TinyRecipe(
        "zaremba-small",
        (*TEXT, "training.epochs=3", "sparsity.group_lasso.strength=0.02", "sparsity.freeze=elements"),
        start=True,
    ),
    # a rate at which the validation stalls, so that averaging begins
    "awd": TinyRecipe(
        "awd-lstm-ptb",
        (*TEXT, "model.hidden_sizes=[9,8]", "training.window_steps=15", "training.epochs=5",
         "training.learning_rate=40", "training.optimizer.trigger_window=1"),
    ),
}  # fmt: skip


class Prepared(NamedTuple):
    """The folder with the texts and the pruned run that all runs start from, and the runs that nothing stopped."""

    folder: Path

    def experiment(self, name, *settings):
        chosen = RECIPES[name]
        words = (*SMALL, *chosen.settings, *settings)
        return recipe(chosen.name, *words, data=str(self.folder / chosen.corpus))

    def start(self, name):
        return str(self.folder / "pruned") if RECIPES[name].start else None

    def words(self, name, out, *settings):
        """The words of the command that trains the run."""
        chosen = RECIPES[name]
        words = ["train", chosen.name, *SMALL, *chosen.settings, *settings, "--data", str(self.folder / chosen.corpus)]
        words += ["--from", self.start(name)] if chosen.start else []
        return [*words, "--out", str(out), "--quiet"]

    def uninterrupted(self, name):
        """The run that nothing has stopped."""
        out = self.folder / "uninterrupted" / name
        if not (out / "summary.json").exists():
            train(self.experiment(name), out, self.start(name))
        return out


def train(experiment, out, start_from=None, progress=None):
    runs.train(experiment, out, start_from=start_from, force=True, progress=progress or PlainProgress(quiet=True))


def write_texts(folder):
    """Two corpora: lines of words that follow each other in a few ways, and tagged sentences."""
    from tagged import write_tsv

    draw = random.Random(5)
    verbs = {"cat": "sleeps", "dog": "barks", "bird": "sings", "fish": "swims"}
    (folder / "words").mkdir(parents=True)
    for split, count in (("train", 60), ("valid", 45), ("test", 15)):
        animals = draw.choices(list(verbs), k=count)
        lines = [f"the {draw.choice(['old', 'young', 'small'])} {animal} {verbs[animal]}\n" for animal in animals]
        (folder / "words" / f"{split}.txt").write_text("".join(lines))
    write_tsv(folder / "tagged")


def prepare(folder):
    write_texts(folder)
    prepared = Prepared(folder)
    words = (*SMALL, *TEXT, "training.epochs=1", "sparsity.prune.share=0.5", "sparsity.prune.end=0.5")
    train(recipe("zaremba-small", *words, data=str(folder / "words")), folder / "pruned")
    return prepared


def steps(out):
    """The steps of the checkpoints of a run."""
    return sorted(int(path.name.removeprefix("step-")) for path in (out / "checkpoints").glob("step-*"))


def leftovers(out):
    return [path for path in out.rglob(".tmp-*")]


def assert_loadable(out):
    """Fails unless the newest checkpoint is whole and the run can be loaded; a run without a checkpoint is none."""
    if not steps(out):
        return
    checkpoint, problems = RunFolder(out).newest()
    assert not problems
    with pytest.MonkeyPatch.context() as patch:
        # a run that has no best checkpoint yet is loaded with a warning
        patch.setattr("warnings.warn", lambda *message, **more: None)
        runs.load(out)
    assert checkpoint.document("training")["position"]["step"] == steps(out)[-1]


def command(words):
    """Call the command line; for a process of its own."""
    from refrain.cli.app import main

    return main([str(word) for word in words])


def resume_run(forks, words, out):
    """Resume a run, or start it again where the command reports that no checkpoint was saved.

    Args:
        words: the command that has started the run.
    """
    process, status = forks.status(command, ["train", "--resume", "--out", out, "--quiet"])
    if not steps(out):
        assert status == 4
        said = process.complaint()
        assert any(cause in said for cause in ("none was saved yet", "no such run folder", "is not a run folder")), said
        process, status = forks.status(command, [*words, "--force"])
    assert status == 0, process.text()
