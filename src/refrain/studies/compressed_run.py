"""The files of a compressed run."""

from pathlib import Path
from typing import Any

from refrain.config import Experiment
from refrain.data import Corpus
from refrain.models import LanguageModel
from refrain.runs.config_document import config_document
from refrain.runs.manifest import manifest
from refrain.storage.output_checks import run_parts
from refrain.storage.run_folder import RunFolder
from refrain.trained.language_model import TrainedLanguageModel


def write_run(out: Path, experiment: Experiment, lm: TrainedLanguageModel, small: LanguageModel, corpus: Corpus) -> int:
    """Write the run folder of a model, and return the size of its weights on disk."""
    folder = RunFolder(out)
    folder.create()
    with folder.locked():
        config = config_document(experiment)
        folder.write_json("config.json", config)
        folder.write_json("manifest.json", manifest(experiment, corpus, small, ""))
        weights = {name: parameter.detach().clone() for name, parameter in small.named_parameters()}
        documents = {
            "config": config,
            "vocabulary": lm.vocabulary.document(),
            "training": {"position": {"step": 1}, "compressed_from": str(lm.folder)},
        }
        folder.save(1, {"model": weights}, documents, best=1)
    return weight_bytes(folder.checkpoint(1).folder)


def complete_run(start: Path, out: Path, report: dict[str, Any], card: str, *, force: bool) -> None:
    """Add the report to a run folder, and move its parts to `out`, in place of a run that exists there."""
    fresh = RunFolder(start)
    fresh.write_json("summary.json", report)
    fresh.write_text("README.md", card)
    folder = RunFolder(out)
    folder.create(force=force)
    with folder.locked():
        for part in run_parts(start):
            target = out / part.name
            if part.name != ".lock" and (part.exists() or part.is_symlink()):
                if target.is_dir():
                    # made by `create`, and empty
                    target.rmdir()
                part.rename(target)


def card_of(name: str, report: dict[str, Any], corpus: str) -> str:
    """Return the text of the README of a compressed run."""
    before = report["before"]
    after = report["after"]
    removed = sum(report["removed"].values())
    exact, rounded = report["max_abs_difference"], report["float32_difference"]
    rows = [("parameters", ","), ("bytes", ","), ("multiply_adds", ","), ("perplexity", ",.2f")]
    lines = [
        f"# {name}, compressed",
        "",
        f"The model of {report['run']} without {removed:,} of its units. Its log-probabilities are those of the masked",
        f"model to {exact:.1e} in float64 and to {rounded:.1e} in float32, on random and on real text. Perplexities by",
        f"the protocol `exact` on {corpus}; `summary.json` has more.",
        "",
        "| | before | after |",
        "|---|---|---|",
        *(f"| width {width} | {size:,} | {after['widths'][width]:,} |" for width, size in before["widths"].items()),
        *(f"| {key.replace('_', '-')} | {before[key]:{form}} | {after[key]:{form}} |" for key, form in rows),
    ]
    return "\n".join(lines) + "\n"


def weight_bytes(folder: Path) -> int:
    """Return the size of a checkpoint's weights on disk."""
    return sum(file.stat().st_size for file in folder.glob("model*.safetensors"))
