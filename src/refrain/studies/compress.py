"""Compression: write a smaller run without dead units, and check that it computes the same."""

import copy
import statistics
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from torch import Tensor

from refrain.assembly.corpus import build_text, locate
from refrain.assembly.model import build_model
from refrain.assembly.widths import resized
from refrain.bench.timing import interleaved
from refrain.config import Experiment
from refrain.data import Corpus
from refrain.errors import CheckpointError, UserError
from refrain.evaluation import evaluate, protocol_windows
from refrain.models import LanguageModel, Stepper
from refrain.progress import Reporter, timing_reports
from refrain.runs.checks import check_apart
from refrain.runs.loading import config_document, load_language_model
from refrain.runs.manifest import manifest
from refrain.runs.training import train
from refrain.sparsity import clear_units, multiply_adds, select_units, unit_axes
from refrain.storage.output_checks import check_folder, run_parts
from refrain.storage.run_folder import RunFolder
from refrain.trained.language_model import TrainedLanguageModel

from .smaller import units_to_remove

TOLERANCE = 1e-5
REPEATS, STEPS = 7, 50
# the number of tokens of real text that the proof reads, and its batch size
PROOF_TOKENS, PROOF_BATCH = 2000, 10


def compress(
    run: str | Path,
    out: str | Path,
    *,
    threshold: float | None = None,
    to: tuple[str, int] | None = None,
    finetune_epochs: int = 0,
    data: str | None = None,
    force: bool = False,
    log: Callable[[str], None] = lambda line: None,
    reports: Reporter | None = None,
) -> dict[str, Any]:
    """Write a new run with the weights of another one without its dead units. The other run is not changed.

    Args:
        run: the run folder, whose best checkpoint is read.
        out: the new run folder, which must be new or empty.
        threshold: also remove units all of whose weights have an absolute value below this.
        to: `parameters`, `multiply_adds` or `bytes` and the largest value allowed; the weakest units are removed until
            the model is small enough.
        finetune_epochs: the number of epochs to train the smaller model with the run's training settings.
        data: the text for the comparison and the measurements; None is the run's own test text.
        force: replace an existing run at `out`.
        log: called with a line of text for each step that takes time.
        reports: reports these steps while they run; None reports nothing.

    Returns:
        `removed`, the number of removed units by width; `before`, `after` and, after finetuning, `finetuned`, each with
        widths, parameters, bytes, multiply_adds, perplexity, ms_per_token and tokens_per_second; the largest difference
        of log-probabilities from those of the masked model, `max_abs_difference` in float64 and `float32_difference`.

    Raises:
        UserError: when no unit or a whole layer would be removed, or a target cannot be reached.
        DataError: when the text is missing or invalid.
        CheckpointError: when the run cannot be read, `out` exists, or the smaller model does not compute the same.
    """
    if threshold is not None and not threshold > 0:
        raise UserError(f"--threshold must be greater than 0 (got {threshold})")
    reports = reports or Reporter(None)
    out = Path(out)
    check_apart(Path(run), out, force=force)
    check_folder("--out", out, run_parts(out), [data])
    with reports.step(f"loading {run}"):
        lm = load_language_model(run)
    experiment = Experiment.model_validate(lm.config)
    check_folder("--out", out, run_parts(out), [experiment.data.corpus])
    finetuning = _with_epochs(experiment, finetune_epochs) if finetune_epochs else None
    dead = units_to_remove(lm.model, threshold=threshold, to=to)
    kept = {width: (~which).nonzero().flatten() for width, which in dead.items()}
    settings = resized(experiment, lm.model, kept)
    masked, small = _masked_and_small(lm, dead, kept, settings)
    with reports.step("reading the text"):
        corpus, split = _text(lm, experiment, data, log)
    ids = corpus.splits[split].tokens.read(0, min(PROOF_TOKENS, len(corpus.splits[split].tokens)))
    with reports.step("comparing the models"):
        differences = prove(masked, small, torch.from_numpy(ids.astype("int64")))
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".tmp-{out.name[:40]}-") as temporary:
        start = Path(temporary) / "start"
        models = [(lm.model, _bytes(lm.folder)), (small, _bytes(_write(start, settings, lm, small, corpus)))]
        if finetuning is not None:
            further = resized(finetuning, lm.model, kept)
            train(further, out, start_from=start, force=force, command=f"finetuning of {run}, compressed")
            best = load_language_model(out)
            models.append((best.model, _bytes(best.folder)))
        log("measuring, in turns")
        removed = {width: int(which.sum()) for width, which in dead.items() if which.any()}
        report: dict[str, Any] = {"run": str(run), "out": str(out), "removed": removed}
        report |= {"max_abs_difference": differences[torch.float64], "float32_difference": differences[torch.float32]}
        report |= _figures(models, corpus, split, reports)
        if finetuning is None:
            _complete(start, out, report, _card(experiment.name, report, corpus.name), force=force)
    return report


def _with_epochs(experiment: Experiment, epochs: int) -> Experiment:
    settings = experiment.model_dump()
    settings["training"]["epochs"] = epochs
    try:
        return Experiment.model_validate(settings)
    except ValidationError as error:
        raise UserError(f"--finetune-epochs {epochs}: {error.errors()[0]['ctx']['error']}") from None


def _masked_and_small(
    lm: TrainedLanguageModel, dead: dict[str, Tensor], kept: dict[str, Tensor], experiment: Experiment
) -> tuple[LanguageModel, LanguageModel]:
    """Return the model with its dead units set to zero, and the model without them."""
    masked = copy.deepcopy(lm.model)
    table = masked.axes()
    parameters = dict(masked.named_parameters())
    for width, which in dead.items():
        clear_units(parameters, unit_axes(table)[width], which)
    small = build_model(experiment.model, len(lm.vocabulary)).eval()
    small.reset_before = masked.reset_before
    selected = select_units(parameters, table, kept)
    with torch.no_grad():
        for name, parameter in small.named_parameters():
            parameter.copy_(selected[name])
    return masked, small


@torch.no_grad()
def prove(masked: LanguageModel, small: LanguageModel, text: Tensor) -> dict[torch.dtype, float]:
    """Compare the log-probabilities of two models on random and on real text.

    Args:
        masked: the model with its dead units set to zero.
        small: the model without them.
        text: ids of real text (N,).

    Returns:
        The largest difference of log-probabilities in float32, where the order of a sum matters, and in float64.

    Raises:
        CheckpointError: when the difference in float64 is larger than 1e-5.
    """
    vocabulary = masked.widths()["vocabulary"]
    random = torch.randint(vocabulary, (50, PROOF_BATCH), generator=torch.Generator().manual_seed(1))
    batch_size = min(PROOF_BATCH, len(text))
    real = text[: len(text) // batch_size * batch_size].view(batch_size, -1).T
    found = {}
    for dtype in (torch.float32, torch.float64):
        one, other = (copy.deepcopy(model).to(dtype).eval() for model in (masked, small))
        found[dtype] = max(_difference(one, other, ids) for ids in (random, real))
    if not found[torch.float64] <= TOLERANCE:
        raise CheckpointError(
            f"the smaller model does not compute the same as the masked one (off by {found[torch.float64]:.2g}); "
            "nothing was written; please report this"
        )
    return found


def _difference(one: LanguageModel, other: LanguageModel, ids: Tensor) -> float:
    """Return the largest difference of two models' log-probabilities after each of the ids (T, B)."""
    hidden = [model.hidden(ids, model.initial_state(ids.shape[1]))[0].dropped for model in (one, other)]
    chunks = zip(hidden[0].split(8), hidden[1].split(8), strict=True)
    return max(float((one.head.log_probabilities(a) - other.head.log_probabilities(b)).abs().max()) for a, b in chunks)


def _text(
    lm: TrainedLanguageModel, experiment: Experiment, data: str | None, log: Callable[[str], None]
) -> tuple[Corpus, str]:
    if data is None:
        return build_text(experiment.data, locate(experiment.data.corpus, log), "test", lm.vocabulary, log)
    return build_text(experiment.data, locate(data, log), None, lm.vocabulary, log)


def _write(out: Path, experiment: Experiment, lm: TrainedLanguageModel, small: LanguageModel, corpus: Corpus) -> Path:
    """Write the run folder of a model, and return the folder of its only checkpoint."""
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
    return folder.checkpoint(1).folder


def _complete(start: Path, out: Path, report: dict[str, Any], card: str, *, force: bool) -> None:
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


def _card(name: str, report: dict[str, Any], corpus: str) -> str:
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


def _bytes(folder: Path) -> int:
    """Return the size of a checkpoint's weights on disk."""
    return sum(file.stat().st_size for file in folder.glob("model*.safetensors"))


def _figures(
    models: list[tuple[LanguageModel, int]], corpus: Corpus, split: str, reports: Reporter
) -> dict[str, dict[str, Any]]:
    """Return the sizes, perplexity and speed of each model, which are timed in turns: before, after, finetuned."""
    found: list[dict[str, Any]] = []
    for model, size in models:
        widths = model.widths()
        windows = protocol_windows(corpus.splits[split].tokens, "exact", split=split, window_steps=0, name=corpus.name)
        found.append(
            {
                "widths": widths,
                "parameters": sum(parameter.numel() for parameter in model.parameters()),
                "bytes": size,
                "multiply_adds": multiply_adds(model.axes(), widths),
                "perplexity": evaluate(model, windows, track=reports.track).perplexity,
            }
        )
    steppers = [Stepper(model) for model, _ in models]
    with timing_reports(reports).step("timing the models"):
        step = interleaved({str(i): _steps(stepper) for i, stepper in enumerate(steppers)}, repeats=REPEATS)
        window = interleaved({str(i): _window(stepper) for i, stepper in enumerate(steppers)}, repeats=REPEATS)
    for index, figures in enumerate(found):
        figures["ms_per_token"] = 1000 * statistics.median(step[str(index)]) / STEPS
        figures["tokens_per_second"] = 20 * 35 / statistics.median(window[str(index)])
    return dict(zip(("before", "after", "finetuned"), found, strict=False))


def _steps(stepper: Stepper) -> Callable[[], None]:
    ids = torch.zeros(1, dtype=torch.int64)

    def run() -> None:
        state = stepper.initial_state(1)
        for _ in range(STEPS):
            _, state = stepper.step(ids, state)

    return run


def _window(stepper: Stepper) -> Callable[[], None]:
    ids = torch.zeros(35, 20, dtype=torch.int64)
    return lambda: stepper.token_nats(ids, ids, stepper.initial_state(20)) and None
