"""Compression: write a smaller run without dead units, and check that it computes the same."""

import copy
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
from refrain.config import Experiment
from refrain.data import Corpus, TokenSource
from refrain.errors import CheckpointError, UserError
from refrain.models import LanguageModel
from refrain.progress import Reporter
from refrain.runs.checks import check_apart
from refrain.runs.loading import load_language_model
from refrain.runs.training import train
from refrain.sparsity import clear_units, select_units, unit_axes
from refrain.storage.output_checks import check_folder, run_parts
from refrain.trained.language_model import TrainedLanguageModel

from .compress_figures import figures_of
from .compressed_run import card_of, complete_run, weight_bytes, write_run
from .reconstruction import reconstructed
from .removal_cost import Request, Validation, accepted, checked_request, cost_of, open_validation
from .smaller import units_to_remove

TOLERANCE = 1e-5
# the number of tokens of real text that the proof reads, and its batch size
PROOF_TOKENS, PROOF_BATCH = 2000, 10


def compress(
    run: str | Path,
    out: str | Path,
    *,
    threshold: float | None = None,
    to: tuple[str, int | str] | None = None,
    max_loss: float | None = None,
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
        to: `parameters`, `multiply_adds` or `bytes` and the largest value allowed, which is a number, `7M` or `50%` of
            the model's; units are removed until the model is small enough, those first that cost the least loss on the
            validation text for the size that they save.
        max_loss: the largest growth of the perplexity on the validation text, as a fraction, for which a model with a
            threshold or a size is written; None is 0.2. With `force` or before finetuning, the growth is only logged.
        finetune_epochs: the number of epochs to train the smaller model with the run's training settings.
        data: the text for the comparison and the measurements; None is the run's own test text. A folder is read for
            its validation text as well, and a file is used for both.
        force: replace an existing run at `out`, and write a model that is worse than `max_loss` allows.
        log: called with a line of text for each step that takes time.
        reports: reports these steps while they run; None reports nothing.

    Returns:
        `removed`, the number of removed units by width; `before`, `after` and, after finetuning, `finetuned`, each with
        widths, parameters, bytes, multiply_adds, perplexity, ms_per_token and tokens_per_second; the largest difference
        of log-probabilities from those of the masked model, `max_abs_difference` in float64 and `float32_difference`;
        and with a threshold or a target, `cost`, the perplexity of the validation text `before` and `after`.

    Raises:
        UserError: when no unit or a whole layer would be removed, a target cannot be reached, or the smaller model is
            worse than `max_loss` allows.
        DataError: when the text is missing or invalid.
        CheckpointError: when the run cannot be read, `out` exists, or the smaller model does not compute the same.
    """
    request = checked_request(threshold, to, max_loss)
    reports = reports or Reporter(None)
    out = Path(out)
    check_apart(Path(run), out, force=force)
    check_folder("--out", out, run_parts(out), [data])
    with reports.step(f"loading {run}"):
        lm = load_language_model(run)
    experiment = Experiment.model_validate(lm.config)
    check_folder("--out", out, run_parts(out), [experiment.data.corpus])
    finetuning = _with_epochs(experiment, finetune_epochs) if finetune_epochs else None
    text = open_validation(lm, experiment, data, log) if request.is_lossy else None
    dead, whole = _chosen(lm.model, text, request, reports)
    kept = {width: (~which).nonzero().flatten() for width, which in dead.items()}
    settings = resized(experiment, lm.model, kept)
    masked, small = _masked_and_small(lm, whole, dead, kept, settings)
    removed = {width: int(which.sum()) for width, which in dead.items() if which.any()}
    report: dict[str, Any] = {"run": str(run), "out": str(out), "removed": removed}
    if text is not None:
        cost = cost_of(lm.model, small, text, reports.track)
        report["cost"] = accepted(cost, request, whatever=force or finetuning is not None).document()
        log(f"without {sum(removed.values()):,} of its {sum(map(len, dead.values())):,} units, {cost}")
    with reports.step("reading the text"):
        corpus, split = _text(lm, experiment, data, log)
    with reports.step("comparing the models"):
        report |= _differences(masked, small, corpus.splits[split].tokens)
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".tmp-{out.name[:40]}-") as temporary:
        start = Path(temporary) / "start"
        models = [(lm.model, weight_bytes(lm.folder)), (small, write_run(start, settings, lm, small, corpus))]
        if finetuning is not None:
            best = _finetuned(resized(finetuning, lm.model, kept), out, start, run, force=force)
            models.append((best.model, weight_bytes(best.folder)))
        log("measuring, in turns")
        report |= figures_of(models, corpus, split, reports)
        if finetuning is None:
            complete_run(start, out, report, card_of(experiment.name, report, corpus.name), force=force)
    return report


def _chosen(
    model: LanguageModel, text: Validation | None, request: Request, reports: Reporter
) -> tuple[dict[str, Tensor], LanguageModel]:
    """Return the units to remove, and the model in which the other units have taken over from them for a size."""
    windows = None if text is None else text.windows
    dead = units_to_remove(model, threshold=request.threshold, to=request.to, text=windows, track=reports.track)
    if request.to is None or windows is None:
        return dead, model
    return dead, reconstructed(model, windows, dead, reports.track)


def _finetuned(experiment: Experiment, out: Path, start: Path, run: str | Path, *, force: bool) -> TrainedLanguageModel:
    """Train a smaller model further, in its new run folder, and load the best checkpoint."""
    train(experiment, out, start_from=start, force=force, command=f"finetuning of {run}, compressed")
    return load_language_model(out)


def _with_epochs(experiment: Experiment, epochs: int) -> Experiment:
    settings = experiment.model_dump()
    settings["training"]["epochs"] = epochs
    try:
        return Experiment.model_validate(settings)
    except ValidationError as error:
        raise UserError(f"--finetune-epochs {epochs}: {error.errors()[0]['ctx']['error']}") from None


def _masked_and_small(
    lm: TrainedLanguageModel,
    whole: LanguageModel,
    dead: dict[str, Tensor],
    kept: dict[str, Tensor],
    experiment: Experiment,
) -> tuple[LanguageModel, LanguageModel]:
    """Return the model with its dead units set to zero, and the model without them."""
    masked = copy.deepcopy(whole)
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


def _differences(masked: LanguageModel, small: LanguageModel, tokens: TokenSource) -> dict[str, float]:
    """Return the differences that `prove` finds on the beginning of a text, by their names in the report."""
    ids = tokens.read(0, min(PROOF_TOKENS, len(tokens)))
    found = prove(masked, small, torch.from_numpy(ids.astype("int64")))
    return {"max_abs_difference": found[torch.float64], "float32_difference": found[torch.float32]}


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
