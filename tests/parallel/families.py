"""Trains a shrunken run of every recipe, alone or as one of several ranks: `python families.py FOLDER OUT [NAME ...]`.

The folder has a text and a treebank. Weights are float64, so that runs of several ranks can be compared closely.
"""

import os
import pathlib
import sys

import torch
from torch import nn

from refrain import recipe, runs
from refrain.config import Experiment
from refrain.parallel import channels, gradients, group, joined
from refrain.recipes import RECIPES
from refrain.training import PlainProgress

SHRINK = (
    "model.embedding_size=8",
    # not divisible by the numbers of ranks
    "training.batch_size=5",
    "training.log_windows=7",
    "training.epochs=2",
)
TEXT = ("training.window_steps=4", "training.sample_tokens=0", "training.validation=awd")


OWN = "own network"


class OwnNetwork(nn.Module):
    """torch's own LSTM, whose state has the columns along its second axis."""

    def __init__(self, vocabulary):
        super().__init__()
        self.words = nn.Embedding(len(vocabulary), 6)
        self.lstm = nn.LSTM(6, 6, 2)
        self.dropout = nn.Dropout(0.3)
        self.output = nn.Linear(6, len(vocabulary))

    def initial_state(self, batch_size):
        zeros = self.output.weight.new_zeros(2, batch_size, 6)
        return zeros, zeros

    def forward(self, inputs, targets, state):
        outputs, state = self.lstm(self.dropout(self.words(inputs)), state)
        logits = self.output(outputs).flatten(0, 1)
        return nn.functional.cross_entropy(logits, targets.flatten(), reduction="sum"), None, state


def shrunken(name, folder):
    """A recipe with small sizes, and what follows from them."""
    if name == OWN:
        return recipe("zaremba-medium", *SHRINK, *TEXT, "training.state=carry", data=str(folder / "text"))
    given = recipe(name)
    if not isinstance(given, Experiment):
        sparse = given.model.embedding.kind == "sparse"
        blocks = ["model.embedding.blocks=2", "model.embedding.density=0.6"] if sparse else []
        rest = ["model.hidden_sizes=[8]", "training.learning_rate=0.02", *blocks]
        return recipe(name, *SHRINK, *rest, data=str(folder / "tags"))
    changes = [*SHRINK, *TEXT, f"model.hidden_sizes={[8] * len(given.model.hidden_sizes)}"]
    changes += ["training.stop_window=1"] if given.training.stop_window else []
    if given.training.optimizer.kind == "nt-asgd":
        # with a rate of 30, rounding errors of 1e-16 grow to 1e-6 within 40 steps
        changes += ["training.optimizer.trigger_window=1", "training.learning_rate=1"]
    changes += ["data.order='first-seen'"] if given.data.unit == "word" else []
    changes += [f"sparsity.target.{given.sparsity.target.chosen()[0]}=900"] if given.sparsity.target else []
    changes += ["model.embedding.blocks=2"] if given.model.embedding.kind == "sparse" else []
    return recipe(name, *changes, data=str(folder / "text"))


def main(folder, out, *names):
    torch.set_default_dtype(torch.float64)
    # so that small models have gradients that are sent on their own
    gradients.LARGE_BYTES = 1024
    channels.BLOCK_BYTES = 4096
    if os.environ.get("WORLD_SIZE") == "3":
        # two ranks share memory, three use the network
        group.shared_memory = lambda *given: None
    with joined():
        for name in names or RECIPES:
            more = {"model": OwnNetwork} if name == OWN else {}
            runs.train(
                shrunken(name, pathlib.Path(folder)),
                pathlib.Path(out) / name,
                progress=PlainProgress(quiet=True),
                **more,
            )


if __name__ == "__main__":
    main(*sys.argv[1:])
