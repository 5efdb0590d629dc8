"""The files of a compressed run."""

import contextlib
import math
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from refrain.config import AnyExperiment
from refrain.data import Corpus, TaggedCorpus
from refrain.errors import UnwritableError, UserError
from refrain.nn.kernels.packed_linear import WeightType, quantised
from refrain.runs.config_document import config_document
from refrain.runs.manifest import manifest
from refrain.storage.replacing import holds_run, move_run
from refrain.storage.run_folder import RunFolder
from refrain.storage.weight_schemes import WORTHWHILE, Int8Rows, pack
from refrain.trained.language_model import TrainedLanguageModel
from refrain.trained.tagger import TrainedTagger

from .rank_bands import named_rank


@contextlib.contextmanager
def fresh_folder(out: Path) -> Iterator[Path]:
    """Yield the path of a new run folder beside `out`, which is removed at the end."""
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".tmp-{out.name[:40]}-") as temporary:
        yield Path(temporary) / "start"


def write_run(
    out: Path,
    experiment: AnyExperiment,
    given: TrainedLanguageModel | TrainedTagger,
    model: nn.Module,
    corpus: Corpus | TaggedCorpus,
    *,
    weights: WeightType,
    start_of: str | None = None,
) -> int:
    """Write the run folder of a model, and return the size of its weights on disk.

    Args:
        out: the new folder.
        experiment: the settings of the model.
        given: the model that it was made of.
        model: the model.
        corpus: the text on which it was compared.
        weights: dtype of the matrices on disk; those of int8 are rounded already, or are rounded now.
        start_of: the run that was compressed, which a finetuning records as its start in place of this folder.
    """
    folder = RunFolder(out)
    folder.create()
    with folder.locked():
        config = config_document(experiment)
        folder.write_json("config.json", config)
        folder.write_json("manifest.json", manifest(experiment, corpus, model, ""))
        training = {"position": {"step": 1}, "compressed_from": str(given.folder)}
        documents = {
            "config": config,
            "vocabulary": given.vocabulary.document(),
            "training": training if start_of is None else {**training, "start_of": start_of},
        }
        folder.save(1, {"model": stored_weights(model, weights)}, documents, best=1)
    return weight_bytes(folder.checkpoint(1).folder)


def stored_weights(model: nn.Module, weights: WeightType) -> dict[str, Tensor | Int8Rows]:
    """The weights of a model as a checkpoint has them.

    Args:
        model: the model.
        weights: dtype of the matrices.
    """
    plain = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    if weights == "float32":
        return dict(plain)
    return {name: Int8Rows(*quantised(each)) if each.ndim >= 2 else each for name, each in plain.items()}


def check_zeros(small: nn.Module, final: nn.Module, zeros: float, weights: WeightType) -> None:
    """Check that a model takes less space with zeros than before.

    Args:
        small: the model before it was rounded and got zeros.
        final: the model after that.
        zeros: the fraction of the entries of each matrix that were made zero.
        weights: dtype of the weights on disk.

    Raises:
        UserError: when it does not.
    """
    size, entry = {}, 1 if weights == "int8" else 4
    for name, model in (("before", small), ("after", final)):
        stored, _ = pack(stored_weights(model, weights))
        size[name] = sum(tensor.nbytes for tensor in stored.values())
    if size["after"] >= size["before"]:
        least = 1 - WORTHWHILE + 1 / (8 * entry)
        raise UserError(
            f"--zeros {100 * zeros:g}% would save nothing: a matrix in {weights} is stored without its zeros if at "
            f"least {math.ceil(100 * least)}% of it are zero; ask for more than that, and more than are zero already"
        )


def complete_run(start: Path, out: Path, report: dict[str, Any], card: str, *, force: bool) -> None:
    """Add the report to a run folder, and move its parts to `out`, in place of a run that exists there."""
    fresh = RunFolder(start)
    fresh.write_json("summary.json", report)
    fresh.write_text("README.md", card)
    folder = RunFolder(out)
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UnwritableError(f"{out}: cannot be written ({error.strerror}); choose another --out") from None
    with folder.locked() as lock:
        holds_run(folder, force=force)
        lock.check()
        move_run(start, out)


def card_of(name: str, report: dict[str, Any], corpus: str) -> str:
    """Return the text of the README of a compressed run."""
    before = report["before"]
    after = report["after"]
    removed = sum(report["removed"].values())
    widths = dict.fromkeys([*before["widths"], *after["widths"]])
    exact, rounded = report["max_abs_difference"], report["float32_difference"]
    rows = [
        ("parameters", ","),
        ("bytes", ","),
        ("multiply_adds", ","),
        ("layer_multiply_adds", ","),
        ("perplexity", ",.2f"),
    ]
    lines = [
        f"# {name}, compressed",
        "",
        f"The model of {report['run']} without {removed:,} of its units{_changes(report)}. Its log-probabilities"
        f"{' before rounding' if report['weights'] == 'int8' else ''} are those of the masked",
        f"model to {exact:.1e} in float64 and to {rounded:.1e} in float32, on random and on real text. Perplexities by",
        f"the protocol `exact` on {corpus}; `summary.json` has more.",
        "",
        "| | before | after |",
        "|---|---|---|",
        *(f"| width {width} | {_width(before, width)} | {_width(after, width)} |" for width in widths),
        *(f"| {key.replace('_', '-')} | {before[key]:{form}} | {after[key]:{form}} |" for key, form in rows),
    ]
    return "\n".join(lines) + "\n"


def _width(figures: dict[str, Any], width: str) -> str:
    """The size of a width, which only the other model may have."""
    size = figures["widths"].get(width)
    return "" if size is None else f"{size:,}"


def _changes(report: dict[str, Any]) -> str:
    """What else was done to a model, for its card."""
    ranks = [named_rank(name, rank) for name, rank in report["ranks"].items() if rank is not None]
    parts = [f"with {' and '.join(ranks)}"] if ranks else []
    parts += [f"with {report['zeros']:.0%} zeros"] if report["zeros"] is not None else []
    parts += ["with matrices in int8"] if report["weights"] == "int8" else []
    return "".join(f", {part}" for part in parts)


def weight_bytes(folder: Path) -> int:
    """Return the size of a checkpoint's weights on disk."""
    return sum(file.stat().st_size for file in folder.glob("model*.safetensors"))
