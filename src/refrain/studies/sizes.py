"""The size of a trained model in many ways of compression, against its perplexity, without any further training."""

import copy
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from refrain.config import Experiment
from refrain.data import Windows
from refrain.evaluation import evaluate
from refrain.models import LanguageModel
from refrain.nn.kernels.packed_linear import WeightType, round_weights
from refrain.progress import Reporter
from refrain.sparsity import model_size
from refrain.storage.weight_schemes import pack
from refrain.trained import TrainedLanguageModel

from .compress import counts_of, measured_text
from .compressed_run import stored_weights
from .low_rank import Ranks, check_reducible, is_tied, widths_of
from .removal_cost import Request, Validation, beginning_of, open_validation
from .sized_bands import Spectrum, spectra
from .smaller_model import Start, Target, make_smaller, shaped, with_zeros

ZEROS = (0.5, 0.7, 0.8, 0.9)
"""The fractions of the entries of every matrix that magnitude pruning sets to zero."""
UNITS = (0.75, 0.5)
"""The fractions of the parameters that are left when units are removed."""
STEPS = 40
"""How many sizes are tried until a model in bands of words has as many parameters as one with plain ranks."""
RANKS = ((0.5, 0.5), (0.25, 0.5), (0.35, 0.35))
"""The ranks of embedding and head as fractions of their widths."""


def sizes_of(
    models: Mapping[str, TrainedLanguageModel], valid: Validation, test: Windows, reports: Reporter
) -> Iterator[dict[str, Any]]:
    """Measure the bytes of the stored weights and the perplexity of models, in float32 and in int8.

    The first model is compressed by magnitude pruning, by removing units, by lower ranks, and by bands of words with
    ranks of their own, of as many parameters. Dead units are removed from every model. Nothing is trained.

    Args:
        models: trained models by name, all with the same vocabulary.
        valid: the text on which units and ranks are chosen.
        test: the text of the perplexities.
        reports: reports what takes time.

    Yields:
        Rows with `name`, `parameters`, `zeros` in the matrices as a fraction, and for `float32` and `int8` each
        `bytes` and `perplexity`.
    """
    for index, (name, lm) in enumerate(models.items()):
        start = Start(
            lm.model, Experiment.model_validate(lm.config), counts_of(lm.vocabulary, valid), valid, "float32",
            "float32", reports,
        )  # fmt: skip
        yield _row(name, lm.model, test, reports)
        whole = make_smaller(start._replace(weights="int8"), _request(), None, Ranks())
        if whole.removed:
            yield _row(f"{name}, without {sum(whole.removed.values())} dead units", whole.small, test, reports)
        if index == 0:
            for what, model in _compressed(start):
                yield _row(f"{name}, {what}", model, test, reports)


def texts_of(lm: TrainedLanguageModel, data: str | None, log: Callable[[str], None]) -> tuple[Validation, Windows, str]:
    """Open the texts on which models are measured.

    Args:
        lm: a model, whose corpus is read by default.
        data: a folder of splits, or a file.
        log: called with a line of text for each step that takes time.

    Returns:
        The validation text, windows of the test text, and what the latter is called.

    Raises:
        DataError: when a text is missing, invalid or too short.
    """
    experiment = Experiment.model_validate(lm.config)
    valid = open_validation(lm.vocabulary, experiment, data, log)
    test = beginning_of(*measured_text(lm.vocabulary, experiment, data, log))
    return valid, test.windows, test.name


def _request() -> Request:
    return Request(None, None, None)


def _compressed(start: Start) -> Iterator[tuple[str, LanguageModel]]:
    for share in ZEROS:
        yield f"{share:.0%} zeros by magnitude", with_zeros(start.model, share)
    size = model_size("parameters", start.model.axes(), start.model.widths())
    for share in UNITS:
        target = Target("parameters", round(share * size))
        yield f"{share:.0%} of the parameters, by units", make_smaller(start, _request(), target, Ranks()).small
    check_reducible(start.model, embedding=True, head=True)
    assert start.text is not None
    width, last = widths_of(start.model)
    parts = spectra(start.model, start.counts, start.text.windows)
    for shares in dict.fromkeys((share[1], share[1]) if is_tied(start.model) else share for share in RANKS):
        ranks = Ranks(max(1, round(shares[0] * width)), max(1, round(shares[1] * last)))
        small = make_smaller(start, _request(), None, ranks).small
        yield str(ranks), small
        if shares == (0.5, 0.5):
            yield f"{ranks}, 50% zeros by magnitude", with_zeros(small, 0.5)
        yield from _in_bands(start, ranks, parts, zeros=shares == (0.5, 0.5))


def _in_bands(
    start: Start, ranks: Ranks, parts: tuple[Spectrum, Spectrum], *, zeros: bool
) -> Iterator[tuple[str, LanguageModel]]:
    """Models in bands of words whose embedding and head have at most the entries that they have with plain ranks."""
    plain = shaped(start, ranks)
    limit = model_size("parameters", plain.axes(), plain.widths())
    size = [len(start.counts) * rank for rank in (ranks.embedding, ranks.head) if isinstance(rank, int)]
    found = None
    for step in range(STEPS, STEPS // 2, -1):
        bands = Ranks(*(part.bands(step / STEPS * entries) for part, entries in zip(parts, size, strict=True)))
        model = shaped(start, bands)
        if model_size("parameters", model.axes(), model.widths()) <= limit:
            found = bands
            break
    if found is None:
        return
    small = make_smaller(start, _request(), None, found).small
    yield str(found), small
    if zeros:
        yield f"{found}, 50% zeros by magnitude", with_zeros(small, 0.5)


def _row(name: str, model: LanguageModel, test: Windows, reports: Reporter) -> dict[str, Any]:
    matrices = [parameter for parameter in model.parameters() if parameter.ndim >= 2]
    zeros = sum(int((matrix == 0).sum()) for matrix in matrices) / sum(matrix.numel() for matrix in matrices)
    row: dict[str, Any] = {"name": name, "parameters": sum(p.numel() for p in model.parameters()), "zeros": zeros}
    dtypes: tuple[WeightType, ...] = ("float32", "int8")
    for weights in dtypes:
        rounded = copy.deepcopy(model)
        if weights == "int8":
            round_weights(rounded)
        stored, _ = pack(stored_weights(rounded, weights))
        perplexity = evaluate(rounded, test, track=reports.track).perplexity
        row[weights] = {"bytes": sum(tensor.nbytes for tensor in stored.values()), "perplexity": perplexity}
    return row
