"""What compression costs: the perplexity of a text with and without it."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple, get_args

from refrain.arguments import check_choice, described, real_of, whole_of
from refrain.assembly.corpus import build_text, locate
from refrain.config import Experiment
from refrain.data import UNITS, Corpus, TokenSource, Vocabulary, Windows
from refrain.data.text.token_file import Tokens
from refrain.errors import MissingSplitError, UserError
from refrain.evaluation import evaluate
from refrain.models import LanguageModel
from refrain.nn.kernels.packed_linear import WeightType
from refrain.progress import Track, perplexity_text, untracked

from .rank_bands import Asked, written

MAX_LOSS = 0.2
"""The largest growth of the perplexity that is allowed by default, as a fraction."""
# batch size and window of the text, and the number of its tokens that are read
BATCH, STEPS, TOKENS = 20, 35, 200_000
BEGINNING = 20_000
"""The number of tokens that are read for each of several candidates."""
TARGETS = ("parameters", "multiply_adds", "layer_multiply_adds", "bytes")
"""What a target size is measured in."""


class Request(NamedTuple):
    """The options of a compression that change what a model computes.

    Attributes:
        threshold: see `compress`.
        to: see `compress`.
        max_loss: see `compress`.
        weights: see `compress`.
        embedding: see `compress`.
        head: see `compress`.
        finetune_epochs: see `compress`.
        zeros: see `compress`.
    """

    threshold: float | None
    to: tuple[str, int | str] | None
    max_loss: float | None
    weights: WeightType | None = None
    embedding: Asked = None
    head: Asked = None
    finetune_epochs: int = 0
    zeros: float | None = None

    @property
    def is_lossy(self) -> bool:
        """Whether the smaller model computes something else."""
        return bool(str(self)) and str(self) != "--weights float32"

    def __str__(self) -> str:
        """The options that ask for a smaller model."""
        options = [] if self.threshold is None else [f"--threshold {self.threshold:g}"]
        options += [] if self.to is None else [f"--to {self.to[0]}={self.to[1]}"]
        ranks = {"--embedding": self.embedding, "--head": self.head}
        options += [] if self.zeros is None else [f"--zeros {100 * self.zeros:g}%"]
        options += [f"{option} {written(rank)}" for option, rank in ranks.items() if rank is not None]
        return " ".join(options if self.weights is None else [*options, f"--weights {self.weights}"])


def checked_request(request: Request) -> Request:
    """Check the options of a compression.

    Returns:
        The options, with plain numbers.

    Raises:
        UserError: when a value is out of range, of another type or cannot take effect.
    """
    _check_target(request.to)
    request = request._replace(
        threshold=None if request.threshold is None else real_of(request.threshold, "threshold"),
        max_loss=None if request.max_loss is None else real_of(request.max_loss, "max_loss"),
        zeros=None if request.zeros is None else real_of(request.zeros, "zeros"),
        finetune_epochs=whole_of(request.finetune_epochs, "finetune_epochs"),
    )
    threshold, max_loss = request.threshold, request.max_loss
    if threshold is not None and not threshold > 0:
        raise UserError(f"--threshold must be greater than 0 (got {threshold})")
    if max_loss is not None and not request.is_lossy:
        raise UserError(
            "--max-loss cannot take effect without --to or --threshold, a lower rank or --weights int8; leave it out"
        )
    if max_loss is not None and request.finetune_epochs:
        raise UserError(
            "--max-loss cannot take effect with --finetune-epochs, before which any loss is accepted; leave it out"
        )
    if request.finetune_epochs and request.weights == "int8":
        raise UserError(
            "--weights int8 cannot take effect with --finetune-epochs, which trains in float32; compress the finetuned "
            "run once more, with --weights int8"
        )
    if request.weights not in (None, *get_args(WeightType)):
        raise UserError(f"--weights must be one of {', '.join(get_args(WeightType))} (got {request.weights!r})")
    if request.zeros is not None and not 0 < request.zeros < 1:
        raise UserError(f"--zeros must be between 0% and 100% (got {request.zeros:.0%})")
    if request.zeros is not None and request.finetune_epochs:
        raise UserError(
            "--zeros cannot take effect with --finetune-epochs, which trains all weights; train with sparsity.prune"
        )
    if max_loss is not None and not max_loss >= 0:
        raise UserError(f"--max-loss must be at least 0% (got {max_loss:.0%})")
    return request


def _check_target(to: Any) -> None:
    """Check that a target is a measure and a size; how large it may be depends on the model."""
    if to is None:
        return
    if not (isinstance(to, tuple | list) and len(to) == 2):
        raise UserError(f"to: must be a measure and a size, such as ('parameters', '50%') (got {described(to)})")
    check_choice("to: the measure", to[0], TARGETS)
    if not isinstance(to[1], str):
        real_of(to[1], "to: the size")


class Validation(NamedTuple):
    """The text on which units and ranks are chosen.

    Attributes:
        windows: its windows.
        beginning: the first of them.
        name: what it is called in messages.
    """

    windows: Windows
    beginning: Windows
    name: str


class Cost(NamedTuple):
    """The perplexity of a text by a model and by the smaller one.

    Attributes:
        before: the perplexity of the whole model.
        after: the perplexity of the smaller model.
        text: what the text is called in messages.
    """

    before: float
    after: float
    text: str

    @property
    def growth(self) -> float:
        """The growth of the perplexity as a fraction; negative if it became smaller."""
        return self.after / self.before - 1

    def __str__(self) -> str:
        """The cost in words."""
        change = f" ({abs(self.growth):.1%} {'more' if self.growth > 0 else 'less'})"
        change = change if math.isfinite(self.growth) else ""
        before, after = perplexity_text(self.before), perplexity_text(self.after)
        return f"the perplexity on {self.text} becomes {after}, from {before}{change}"

    def document(self) -> dict[str, Any]:
        """The cost as plain data."""
        return {"text": self.text, "before": self.before, "after": self.after, "growth": self.growth}


class _First:
    """The first tokens of a source.

    Args:
        source: the tokens.
        count: the number of tokens to keep.
    """

    def __init__(self, source: TokenSource, count: int) -> None:
        self.source = source
        self.count = min(count, len(source))

    def __len__(self) -> int:
        return self.count

    def read(self, start: int, stop: int) -> Tokens:
        """The ids from `start` up to `stop`."""
        return self.source.read(start, min(stop, self.count))

    def release(self) -> None:
        """Free what was read so far."""
        self.source.release()


def open_validation(
    vocabulary: Vocabulary, experiment: Experiment, data: str | None, log: Callable[[str], None]
) -> Validation:
    """Open the text on which units are chosen: the validation split of a corpus.

    Args:
        vocabulary: the vocabulary of the trained model.
        experiment: its settings.
        data: a folder of splits, or a file, which is read as a whole; None is the corpus of the run. A folder without
            a validation split is read for its test split, which is logged.
        log: called with a line of text for each step that takes time.

    Raises:
        DataError: when the text is missing, invalid or too short.
    """
    path = locate(data or experiment.data.corpus, log)
    split = None if data is not None and not UNITS[experiment.data.unit].names_splits(path) else "valid"
    try:
        corpus, split = build_text(experiment.data, path, split, vocabulary, log)
    except MissingSplitError:
        if data is None:
            raise
        corpus, split = build_text(experiment.data, path, "test", vocabulary, log)
        log(f"{data} has no validation text, so that units are chosen on the text that the figures are of")
    return beginning_of(corpus, split)


def beginning_of(corpus: Corpus, split: str) -> Validation:
    """Windows of the beginning of a split, twenty streams side by side."""
    whole, beginning = (_windows(corpus, split, count) for count in (TOKENS, BEGINNING))
    return Validation(whole, beginning, _name(corpus, split, whole.batch_size))


def _name(corpus: Corpus, split: str, streams: int) -> str:
    """What the text is called in messages, and how it is read, on which its perplexity depends."""
    name = {"valid": "the validation text", "all": "the text"}.get(split, f"the {split} text")
    beginning = f"the first {TOKENS:,} tokens of " if len(corpus.splits[split].tokens) > TOKENS else ""
    return f"{beginning}{name} of {corpus.name} ({'one stream' if streams == 1 else f'{streams} streams side by side'})"


def _windows(corpus: Corpus, split: str, count: int) -> Windows:
    """Windows of the first tokens of a split."""
    tokens = _First(corpus.splits[split].tokens, count)
    batch_size = max(1, min(BATCH, len(tokens) // (STEPS + 1)))
    return Windows(tokens, batch_size=batch_size, window_steps=STEPS, tail="keep", name=corpus.name)


def cost_of(model: LanguageModel, small: LanguageModel, text: Validation, track: Track = untracked) -> Cost:
    """Measure the perplexity of two models on a text.

    Args:
        model: the whole model.
        small: the smaller model.
        text: the text.
        track: reports the loops over the windows.
    """
    before, after = (evaluate(each, text.windows, track=track).perplexity for each in (model, small))
    return Cost(before, after, text.name)


def accepted(cost: Cost, request: Request, *, whatever: bool = False) -> Cost:
    """Refuse a compression that costs too much.

    Args:
        cost: the measured cost, which is returned.
        request: the options that asked for it.
        whatever: whether any cost is accepted, if the request names no limit.

    Raises:
        UserError: when the perplexity grows by more than is allowed, or is infinite already.
    """
    whatever &= request.max_loss is None
    if not whatever and math.isinf(cost.before):
        raise UserError(
            f"the perplexity on {cost.text} is infinite before anything is compressed, as the training has diverged; "
            f"compress a run that was trained with a lower training.learning_rate, or {_all_the_same(request)}"
        )
    allowed = MAX_LOSS if request.max_loss is None else request.max_loss
    # a perplexity that is not a number is refused as well
    if not whatever and not cost.growth <= allowed:
        more = "" if request.max_loss is not None else "train it with --finetune-epochs, "
        raise UserError(
            f"{request}: {cost}, but --max-loss allows {100 * allowed:.3g}% more; nothing was written; ask for a "
            f"larger model, {more}or {_all_the_same(request)}"
        )
    return cost


def _all_the_same(request: Request) -> str:
    """How a model is written whatever it costs."""
    if request.max_loss is None:
        return "write it all the same with --force"
    return "raise --max-loss, or leave it out and give --force or --finetune-epochs"
