"""Committed loss curves: a change that is not meant to alter numbers reproduces them on any processor.

The text can be learnt: the verb follows from the noun two words before it. A run is as exact as it can be made:
float64, torch's own operations, one thread, weights and masks from integers that the generator draws alike everywhere.
What is left is the order of summation, which differs from one processor to the next by some 1e-16 of a value; the last
test measures how much a run magnifies such a difference.

To record the curves anew, after a change that is meant to alter them: `python tests/recipes/test_loss_curve.py`.
"""

import collections
import json
import math
import pathlib
import random
import sys
import tempfile

import pytest
import torch

import refrain
from refrain.training import PlainProgress

GOLDEN = pathlib.Path(__file__).parents[1] / "golden" / "loss_curves.json"
VERBS = {"ant": "digs", "bee": "hums", "cat": "purrs", "dog": "barks", "eel": "swims", "fox": "hides"}
LINES = {"train": 300, "valid": 40, "test": 20}
WINDOWS = 30
TOLERANCE = 1e-6
SHRINK = (
    "training.backend=torch",
    "training.precision=float32",
    "training.device=cpu",
    "training.batch_size=4",
    "training.window_steps=12",
    "training.log_windows=1",
    "training.sample_tokens=0",
    "training.validation=exact",
)
# at widths of this size the published rates of the first two make a run chaotic, and so the last bit would decide it
RUNS = {
    "zaremba-medium": (
        "data.order='first-seen'",
        "model.embedding_size=16",
        "model.hidden_sizes=[16,16]",
        "model.init.scale=0.5",
        "model.dropout=0.1",
        "training.learning_rate=0.4",
        "training.epochs=2",
        "training.schedule.hold_epochs=6",
    ),
    "awd-lstm-ptb": (
        "model.embedding_size=16",
        "model.hidden_sizes=[20,16]",
        "model.embedding_dropout=0.1",
        "model.between_dropout=0.1",
        "model.output_dropout=0.1",
        "model.weight_drop=0.2",
        "training.activation_penalty=0.2",
        "training.temporal_penalty=0.1",
        "training.learning_rate=5",
        "training.max_norm=0.5",
        "training.optimizer.trigger_window=1",
        "training.epochs=2",
    ),
    "mlstm-bytes-reference": (
        "model.embedding_size=8",
        "model.hidden_sizes=[16]",
        "training.learning_rate=0.03",
        "training.validation_windows=none",
        "training.sample_windows=none",
        "training.epochs=1",
    ),
}


def write_corpus(folder):
    """Splits of lines such as `the bee often hums .`."""
    draw = random.Random(1)
    for split, count in LINES.items():
        nouns = draw.choices(list(VERBS), k=count)
        adverbs = draw.choices(("now", "often", "rarely"), k=count)
        lines = [f"the {noun} {adverb} {VERBS[noun]} .\n" for noun, adverb in zip(nouns, adverbs, strict=True)]
        (folder / f"{split}.txt").write_text("".join(lines))
    return folder


def trained(name, corpus, out):
    """Nats per token of each window, and of each validation."""
    experiment = refrain.recipe(name, *SHRINK, *RUNS[name], data=str(corpus))
    threads, dtype = torch.get_num_threads(), torch.get_default_dtype()
    torch.set_num_threads(1)
    torch.set_default_dtype(torch.float64)
    try:
        refrain.train(experiment, out, progress=PlainProgress(quiet=True))
    finally:
        torch.set_num_threads(threads)
        torch.set_default_dtype(dtype)
    records = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    return tuple([line["nats_per_token"] for line in records if line["event"] == event] for event in ("train", "valid"))


def unigram_entropy(name, corpus):
    """Nats per token of the best guess that knows how often each token occurs in the validation text, and no more."""
    text = (corpus / "valid.txt").read_text()
    tokens = list(text) if name == "mlstm-bytes-reference" else text.replace("\n", " <eos> ").split()
    shares = [count / len(tokens) for count in collections.Counter(tokens).values()]
    return -sum(share * math.log(share) for share in shares)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return write_corpus(tmp_path_factory.mktemp("golden"))


@pytest.fixture(scope="module", params=RUNS)
def run(request, corpus, tmp_path_factory):
    """Name, curve and validations."""
    return request.param, *trained(request.param, corpus, tmp_path_factory.mktemp("runs") / "run")


def test_the_curve_is_the_committed_one(run):
    name, curve, _ = run
    assert curve[:WINDOWS] == pytest.approx(json.loads(GOLDEN.read_text())[name], rel=TOLERANCE)


def test_the_run_has_learnt(run, corpus):
    name, _, validations = run
    assert validations[-1] < unigram_entropy(name, corpus)


def test_rounding_does_not_reach_the_tolerance(run, corpus, tmp_path, monkeypatch):
    """Weights that start a million last bits away give the curve to a tenth of the tolerance."""

    def nudged(draw):
        return lambda tensor, *arguments, **options: draw(tensor, *arguments, **options).data.mul_(1 + 1e-10)

    for function in ("uniform_", "normal_", "trunc_normal_"):
        monkeypatch.setattr(torch.nn.init, function, nudged(getattr(torch.nn.init, function)))
    name, curve, _ = run
    other, _ = trained(name, corpus, tmp_path / "run")
    assert other[:WINDOWS] != curve[:WINDOWS]
    assert other[:WINDOWS] == pytest.approx(curve[:WINDOWS], rel=TOLERANCE / 10)


def record():
    """Write the committed file."""
    with tempfile.TemporaryDirectory() as scratch:
        corpus = write_corpus(pathlib.Path(scratch))
        curves = {name: trained(name, corpus, corpus / name)[0][:WINDOWS] for name in RUNS}
    GOLDEN.write_text(json.dumps(curves, indent=0) + "\n")


if __name__ == "__main__":
    sys.exit(record())
