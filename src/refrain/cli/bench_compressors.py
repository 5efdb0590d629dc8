"""The bench `compressors`: trained models of bytes beside xz, bzip2 and zstd."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .output import log, print_json

if TYPE_CHECKING:
    from refrain.config import AnyExperiment, Data
    from refrain.data import Corpus
    from refrain.progress import Reporter
    from refrain.runs import SavedModel

    from .options import Device

# a compressor holds the whole text in memory, and takes minutes for this much
LARGEST_BYTES = 1_000_000_000
COLUMNS = ["", "bits per byte", "ratio", "without the training text", "seconds"]


def bench_compressors(
    experiment: "AnyExperiment", models: Sequence[Path], corpus: str | None, device: "Device", *, json: bool
) -> None:
    """Measure the test text of a corpus with models and with compressors, and print a row for each.

    Args:
        experiment: the settings that read the corpus if there is no model.
        models: run folders or checkpoints of models of bytes.
        corpus: the corpus; None is that of the first model, and without models that of the experiment.
        device: where the models compute.
        json: whether one JSON object is printed instead of the table.

    Raises:
        UserError: when a model or the corpus is not one of bytes.
        DataError: when the corpus has no test text or is too large.
    """
    from refrain import assembly, runs
    from refrain import bench as benches
    from refrain.progress import reporter

    saved = {str(path): runs.find(path) for path in models}
    settings = [_byte_data(name, each.experiment) for name, each in saved.items()]
    data = settings[0] if settings else _byte_data(experiment.name, experiment)
    text = assembly.build_corpus(data if corpus is None else data.model_copy(update={"corpus": corpus}), log)
    train, test = _bytes_of(text, "train"), _bytes_of(text, "test")
    reports = reporter()
    figures = {
        row: (bits, _train_seconds(each.path))
        for name, each in saved.items()
        for row, bits in _bits(name, each, text, device, reports).items()
    }
    about = {"bench": "compressors", "corpus": text.name, "train_bytes": len(train), "test_bytes": len(test)}
    rows = benches.bench_compressors(train, test, figures, log=log)
    if json:
        print_json({**about, "rows": rows})
        return
    log(f"{text.name}: {len(test):,} bytes of test text after {len(train):,} bytes of training text")
    print(_table(rows))


def _byte_data(name: str, experiment: "AnyExperiment") -> "Data":
    from refrain.config import Experiment
    from refrain.errors import UserError

    if not isinstance(experiment, Experiment) or experiment.data.unit != "byte":
        raise UserError(
            f"bench compressors: {name} is not a model of bytes, and only these compare with a compressor; "
            "choose one such as mlstm-bytes"
        )
    return experiment.data


def _bytes_of(corpus: "Corpus", split: str) -> bytes:
    from refrain.errors import DataError

    if split not in corpus.splits:
        raise DataError(f"{corpus.name}: has no {split} text; give one, or another data.split")
    tokens = corpus.splits[split].tokens
    if len(tokens) > LARGEST_BYTES:
        raise DataError(
            f"{corpus.name}: the {split} text has {len(tokens):,} bytes, and bench compressors takes at most "
            f"{LARGEST_BYTES:,}; give a shorter text"
        )
    return bytes(tokens.read(0, len(tokens)))


def _bits(name: str, saved: "SavedModel", corpus: "Corpus", device: "Device", reports: "Reporter") -> dict[str, float]:
    """The bits that a model needs for a byte of the test text, all bytes but the first, alone and with matches.

    Like a compressor, the model with matches copies from the training text and from the part of the test text that it
    has read. The weights of the matches are chosen on the validation text; without one, the model is measured alone.
    """
    from refrain.evaluation import Match
    from refrain.evaluation.measure import fit_matches, measure
    from refrain.evaluation.methods import Method

    from .loading import load_language_model

    lm = load_language_model(saved, reports, device=device)
    texts = {split: part.tokens for split, part in corpus.splits.items()}
    given: Any = {"name": corpus.name, "track": reports.track}
    found = {name: measure(lm.model, texts["test"], Method(), None, **given).bits_per_token}
    if "valid" in texts:
        method = Method("match", match=Match())
        matches = fit_matches(lm.model, texts["train"], texts["valid"], method, None, track=reports.track)
        figure = measure(lm.model, texts["test"], method, None, matches=matches, **given)
        found[f"{name}, match"] = figure.bits_per_token
    return found


def _train_seconds(run: Path) -> float | None:
    """How long a run was trained; None where it is not recorded, as beside a single checkpoint."""
    from refrain.storage.run_folder import RunFolder

    summary = RunFolder(run).read_json("summary.json") if (run / "summary.json").exists() else {}
    return summary.get("train_seconds") if isinstance(summary, dict) else None


def _table(rows: list[dict[str, Any]]) -> str:
    from .output import table

    lines = [COLUMNS]
    for row in rows:
        alone = "" if row["alone"] is None else f"{row['alone']:.3f}"
        seconds = "" if row["seconds"] is None else f"{row['seconds']:,.1f}"
        lines.append([row["name"], f"{row['median']:.3f}", f"{row['ratio']:.2f}", alone, seconds])
    return table(lines)
