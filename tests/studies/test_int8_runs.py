"""A run with int8 weights is an ordinary run, and computes what the run that it was made of computes with int8."""

import json
import math

import pytest
import torch
from safetensors.torch import load as read_tensors
from tagged import write_tsv

from refrain import load, recipe, train
from refrain.errors import DataError, UserError
from refrain.export.exporting import export
from refrain.export.rounded import rounded_matrices
from refrain.models.step_graph import step_graph
from refrain.nn.kernels import compile as native
from refrain.storage.checkpoint import Checkpoint
from refrain.storage.weight_schemes import header_size
from refrain.studies import compress, compress_tagger
from refrain.studies.smaller_model import size_of
from refrain.training import PlainProgress

SMALL = (
    "model.embedding_size=8", "training.epochs=1", "training.batch_size=4", "training.window_steps=5",
    "training.sample_tokens=0",
)  # fmt: skip
KINDS = {
    "lstm": (),
    "tied": ("model.hidden_sizes=[10,8]", "model.tied=true"),
    "low rank": ("model.head=low-rank", "model.head.rank=4"),
    "mixture": ("model.head=mixture", "model.head.components=2"),
    "weight norm": ("model.weight_norm=true", "model.init=standard"),
    "sparse": ("data.order=ascending", "model.embedding.kind=sparse", "model.embedding.blocks=2",
               "model.embedding.density=0.7"),
    "bytes": ("data.unit=byte", "training.state=reset-per-document", "model.cell=gru"),
}  # fmt: skip
QUIET = PlainProgress(quiet=True)


@pytest.fixture(scope="module")
def runs(tiny_corpus, tmp_path_factory):
    """Runs of each kind, and the same in int8, made when they are first used."""
    folder = tmp_path_factory.mktemp("runs")

    def both(kind):
        run, small = folder / kind, folder / f"{kind}, int8"
        if not run.exists():
            experiment = recipe(
                "zaremba-small", *SMALL, "model.hidden_sizes=[10,9]", *KINDS[kind], data=str(tiny_corpus)
            )
            train(experiment, run, progress=QUIET)
            compress(run, small, weights="int8", force=True)
        return run, small

    return both


def nats(lm, text="ant bee fox\ndog"):
    return lm.score(text).nats


@pytest.mark.parametrize("kernels", [True, False])
@pytest.mark.parametrize("kind", KINDS)
def test_it_computes_what_rounding_in_memory_does(runs, kind, kernels, monkeypatch):
    if not kernels:
        monkeypatch.setattr(native, "load", lambda name: None)
    run, small = runs(kind)
    stored, rounded, plain = load(small), load(run, weights="int8"), load(run)
    assert (stored.weights, plain.weights) == ("int8", "float32")
    parameters = dict(rounded.model.named_parameters())
    for name, parameter in stored.model.named_parameters():
        assert torch.equal(parameter, parameters[name]), name
    assert nats(stored) == nats(rounded) != nats(plain)
    ids = torch.tensor([1, 2])
    for one, other in zip(*(lm.step(ids, lm.initial_state(2)) for lm in (stored, rounded)), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=0)


def test_its_files(runs):
    run, small = runs("lstm")
    folder = load(small).folder
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["format"] == 2 and manifest["files"]["model.safetensors"]["schemes"] == ["int8-rows"]
    stored = read_tensors((folder / "model.safetensors").read_bytes())
    matrices = {name: each for name, each in load(run).model.named_parameters() if each.ndim == 2}
    for name, matrix in matrices.items():
        multiples, scales = stored[f"{name}:multiples"], stored[f"{name}:scales"]
        assert multiples.dtype == torch.int8 and scales.dtype == torch.float32
        # of a row, the largest entry is 127 scales, and others are off by half a scale
        assert ((multiples * scales[:, None] - matrix).abs() <= 0.501 * scales[:, None]).all()
    exported = rounded_matrices(step_graph(load(small).model))
    for name, matrix in exported.items():
        assert torch.equal(torch.from_numpy(matrix.multiples), stored[f"{name}:multiples"])
        assert torch.equal(torch.from_numpy(matrix.scales), stored[f"{name}:scales"])
    assert len(exported) == len(matrices)
    found = json.loads((small / "summary.json").read_text())
    assert found["weights"] == "int8" and found["after"]["bytes"] < found["before"]["bytes"]
    assert found["cost"]["after"] == pytest.approx(found["cost"]["before"], rel=0.02)
    assert "matrices in int8" in (small / "README.md").read_text()


def test_it_can_be_stored_as_float32_again_and_made_smaller(runs, tmp_path):
    _, small = runs("lstm")
    wide = compress(small, tmp_path / "wide", weights="float32")
    assert wide["weights"] == "float32" and wide["after"]["bytes"] > 1.5 * wide["before"]["bytes"]
    assert load(tmp_path / "wide").weights == "float32" and nats(load(tmp_path / "wide")) == pytest.approx(
        nats(load(small)), rel=1e-5
    )
    again = compress(small, tmp_path / "again", to=("parameters", "80%"), max_loss=9.0)
    assert again["weights"] == "int8" and load(tmp_path / "again").weights == "int8"
    with pytest.raises(UserError, match="nothing to remove: the weights are int8 already, and no unit of embedding"):
        compress(small, tmp_path / "x", weights="int8")


def test_a_run_starts_from_it_in_float32(runs, tiny_corpus, tmp_path):
    _, small = runs("lstm")
    experiment = recipe("zaremba-small", *SMALL, "model.hidden_sizes=[10,9]", data=str(tiny_corpus))
    assert train(experiment, tmp_path / "on", start_from=small, progress=QUIET)["epochs"] == 1
    assert load(tmp_path / "on").weights == "float32"


def test_options_that_do_not_go_together(runs, tmp_path):
    run, _ = runs("lstm")
    with pytest.raises(UserError, match="--weights int8 cannot take effect with --finetune-epochs"):
        compress(run, tmp_path / "x", weights="int8", finetune_epochs=1)
    with pytest.raises(UserError, match="--weights must be one of float32, int8"):
        compress(run, tmp_path / "x", weights="int4")
    assert not any(tmp_path.iterdir())


def test_a_size_in_bytes(runs, tmp_path):
    run, _ = runs("lstm")
    lines = []
    found = compress(run, tmp_path / "a", to=("bytes", "65%"), max_loss=9.0, log=lines.append)
    # rounding alone is enough
    assert found["weights"] == "int8" and not found["removed"] and found["ranks"] == {"embedding": None, "head": None}
    plain = compress(run, tmp_path / "c", to=("bytes", "65%"), weights="float32", max_loss=9.0)
    assert plain["weights"] == "float32" and load(tmp_path / "c").weights == "float32"
    # of the file with 4 bytes for each parameter and a header
    assert plain["after"]["bytes"] <= 0.65 * plain["before"]["bytes"] + 8


def test_a_size_in_bytes_of_a_run_in_int8(runs, tmp_path):
    """The size of such a run is that of its file, not what it would be in float32."""
    run, _ = runs("bytes")
    before = compress(run, tmp_path / "rounded", weights="int8")["after"]["bytes"]
    with pytest.raises(UserError, match=f"the model has {before:,}, which is no more than that"):
        compress(tmp_path / "rounded", tmp_path / "x", to=("bytes", before + 1), max_loss=9.0)
    found = compress(tmp_path / "rounded", tmp_path / "small", to=("bytes", "70%"), max_loss=9.0)
    assert found["weights"] == "int8" and found["before"]["bytes"] == before
    assert found["after"]["bytes"] <= 0.7 * before


def test_a_size_in_bytes_that_rounding_does_not_reach(runs, tmp_path):
    run, _ = runs("bytes")
    lines, model = [], load(run).model
    size = int(0.7 * size_of(model, "int8_bytes"))
    found = compress(run, tmp_path / "small", to=("bytes", size), max_loss=9.0, log=lines.append)
    assert found["after"]["bytes"] <= size
    tried = {line: float(line.split("perplexity ")[1].split()[0]) for line in lines if "on the beginning of" in line}
    assert len(tried) > 4 and all(any(word in line for line in tried) for word in ("rank", "without", "zeros"))
    # the best of them was written
    best = min(tried, key=tried.__getitem__).partition(": perplexity")[0]
    assert any(line.startswith(f"{best}, the perplexity on the validation text") for line in lines)
    assert found["cost"]["after"] == pytest.approx(min(tried.values()), rel=0.2)


@pytest.mark.parametrize("zeros", [None, 0.6])
@pytest.mark.parametrize("weights", ["float32", "int8"])
def test_the_size_of_the_header_is_known_before_the_file_is_written(runs, tmp_path, weights, zeros):
    compress(runs("low rank")[0], tmp_path / "small", weights=weights, zeros=zeros, max_loss=9.0, head_rank=2)
    checkpoint = Checkpoint(load(tmp_path / "small").folder)
    file = checkpoint.folder / "model.safetensors"
    beside = file.stat().st_size - sum(tensor.nbytes for tensor in read_tensors(file.read_bytes()).values())
    shapes = checkpoint.shapes("model")
    bound = header_size(shapes, rounded=weights == "int8", without_zeros=zeros is not None)
    # some digits of sizes
    assert beside <= bound <= beside + 30 * len(shapes)


def test_zeros_that_save_nothing_are_refused(runs, tmp_path):
    run, int8 = runs("lstm")
    for kind, share, least in ((int8, 0.2, 23), (run, 0.1, 14)):
        with pytest.raises(
            UserError, match=rf"--zeros {100 * share:g}% would save nothing: .* at least {least}% of it"
        ):
            compress(kind, tmp_path / "x", zeros=share, max_loss=9.0)
    compress(int8, tmp_path / "half", zeros=0.5, max_loss=9.0)
    with pytest.raises(UserError, match="and more than are zero already"):
        compress(tmp_path / "half", tmp_path / "x", zeros=0.3, max_loss=9.0)
    assert [path.name for path in tmp_path.iterdir()] == ["half"]


def test_zeros_of_a_pruned_run_are_not_stored(tiny_corpus, tmp_path):
    settings = ("model.hidden_sizes=[30]", "sparsity.prune.share=0.8", "training.epochs=3")
    train(recipe("zaremba-small", *SMALL, *settings, data=str(tiny_corpus)), tmp_path / "run", progress=QUIET)
    lm = load(tmp_path / "run")
    file = lm.folder / "model.safetensors"
    assert Checkpoint(lm.folder)._entry(file.name).schemes == ("sparse",)
    whole = sum(each.numel() for each in lm.model.parameters())
    assert file.stat().st_size < 0.75 * 4 * whole
    compress(tmp_path / "run", tmp_path / "small", weights="int8", max_loss=9.0)
    assert Checkpoint(load(tmp_path / "small").folder)._entry(file.name).schemes[-1] == "sparse-int8-rows"
    # units that are dead are gone, which changes the order of sums
    assert nats(load(tmp_path / "small")) == pytest.approx(nats(load(tmp_path / "run", weights="int8")), rel=1e-5)


def test_a_tagger(tmp_path):
    corpus = write_tsv(tmp_path / "toy")
    settings = ("model.embedding_size=8", "model.hidden_sizes=[8]", "training.epochs=2", "training.stop_window=none")
    train(recipe("pos-default", *settings, data=str(corpus)), tmp_path / "run", progress=QUIET)
    found = compress_tagger(tmp_path / "run", tmp_path / "small")
    assert found["after"]["bytes"] < 0.7 * found["before"]["bytes"]
    stored, rounded = load(tmp_path / "small"), load(tmp_path / "run", weights="int8")
    sentences = [["the", "dog"], ["a", "b", "c"]]
    assert stored.tag_with_probabilities(sentences) == rounded.tag_with_probabilities(sentences)
    assert stored.weights == "int8"
    with pytest.raises(UserError, match="has int8 weights already"):
        compress_tagger(tmp_path / "small", tmp_path / "x")
    bad = tmp_path / "bad.tsv"
    bad.write_text("the\tDET\ndog\n\n" * 3)
    # there is no option that leaves them out
    with pytest.raises(DataError, match=r"; correct the file$"):
        compress_tagger(tmp_path / "run", tmp_path / "x", data=str(bad))
    compress_tagger(tmp_path / "small", tmp_path / "wide", weights="float32")
    assert load(tmp_path / "wide").weights == "float32"


def test_zeros_of_a_run_that_was_not_pruned(runs, tmp_path):
    run, _ = runs("bytes")
    found = compress(run, tmp_path / "small", zeros=0.6, max_loss=9.0)
    lm = load(tmp_path / "small")
    whole = dict(load(run).model.named_parameters())
    for name, parameter in lm.model.named_parameters():
        if parameter.ndim == 2:
            kept = parameter != 0
            assert (~kept).sum() == math.ceil(0.6 * kept.numel()) and torch.equal(parameter[kept], whole[name][kept])
            assert whole[name][~kept].abs().max() <= whole[name][kept].abs().min()
    assert Checkpoint(lm.folder)._entry("model.safetensors").schemes == ("sparse",)
    assert found["zeros"] == 0.6 and "60% zeros" in (tmp_path / "small" / "README.md").read_text()
    with pytest.raises(UserError, match="--zeros must be between 0% and 100%"):
        compress(run, tmp_path / "x", zeros=1.0)
    with pytest.raises(UserError, match="--zeros cannot take effect with --finetune-epochs"):
        compress(run, tmp_path / "x", zeros=0.5, finetune_epochs=1)


def test_an_export_has_the_weights_of_the_run(runs, tmp_path):
    run, small = runs("lstm")
    for model, wanted in ((run, "float32"), (small, "int8"), (load(small), "int8")):
        assert export(model, tmp_path / "code", format="c", proof=False, force=True)["weights"] == wanted
