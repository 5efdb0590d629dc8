"""How `refrain compare` tests models on a text: each is measured line by line, and compared with one of them."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from .evaluate_several import check_alike, is_same_text, note_concerns
from .evaluate_tagger import refuse_for
from .evaluate_texts import TextOptions, Texts
from .options import Device, Weights
from .output import log

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from refrain.evaluation.line_figures import LineFigures
    from refrain.progress import Reporter
    from refrain.runs import SavedModel
    from refrain.runs.groups import Group


FEW_LINES = 30
"""A text of fewer lines has a note."""


class Comparison(NamedTuple):
    """What is compared, and how.

    Attributes:
        text: the text.
        context: whether the state is carried from line to line.
        against: a run of the row that the others are compared with; None for the best.
        resamples: the number of resamples of the bootstrap.
        seed: the seed of the bootstrap.
    """

    text: TextOptions
    context: Literal["document", "sentence"]
    against: Path | None
    resamples: int
    seed: int


class Measured(NamedTuple):
    """What the models of a group have on a text: the mean over them for each line (N,), and the size of each line."""

    values: "NDArray[np.float64]"
    sizes: "NDArray[np.float64]"
    unknown: int


def compare_on_text(
    groups: "Sequence[Group]", comparison: Comparison, *, device: Device, weights: Weights | None
) -> dict[int, dict[str, Any]]:
    """Measure the models of each group, one in memory at a time, and compare the groups with one of them.

    Args:
        groups: the groups.
        comparison: the text and the test.
        device: the device to compute on.
        weights: whether matrices are rounded; None for what a run has.

    Returns:
        For each group its figure on the text and, except for that of the reference, the test.

    Raises:
        UserError: when there are language models and taggers, an option cannot take effect with them, or `against` is
            in no group.
        DataError: when the models read different texts, or the text has too few lines.
    """
    from refrain import runs
    from refrain.progress import reporter
    from refrain.runs.own_names import check_given

    saved = [[runs.find(run.entry.path) for run in group.runs] for group in groups]
    every = [one for each in saved for one in each]
    check_alike(every)
    of_text = {"--context": comparison.context != "document"} | comparison.text.of_language_models()
    refuse_for(every[0], of_text, comparison.text.of_taggers())
    for one in every:
        check_given(one.document, None, one.path)
    given = None if comparison.against is None else _place(groups, comparison.against)
    reports, texts = reporter(), Texts(comparison.text)
    reader = _Reader(texts, comparison.context, reports, device, weights)
    measured = [_mean([reader.measure(one) for one in each]) for each in saved]
    note_concerns(reader.rows)
    figures = [float(each.values.sum() / each.sizes.sum()) for each in measured]
    tagger = every[0].is_tagger
    # models whose tokens differ are compared by the nats of the whole text
    ranks = [-figure if tagger else float(each.values.sum()) for figure, each in zip(figures, measured, strict=True)]
    reference = ranks.index(min(ranks)) if given is None else given
    if not tagger:
        _note_vocabularies(groups, measured, reference)
    if len(measured) > 1 and (lines := len(measured[0].values)) < FEW_LINES:
        log(
            f"note: intervals and p-values of {lines} lines do not tell how far other texts would differ; give a text "
            f"of at least {FEW_LINES} lines"
        )
    return {
        place: {"rank": ranks[place], **_figure(figures[place], each, tagger=tagger)}
        | (
            {}
            if place == reference
            else _test(each, measured[reference], groups[place].name, comparison, tagger=tagger)
        )
        for place, each in enumerate(measured)
    }


def _note_vocabularies(groups: "Sequence[Group]", measured: "Sequence[Measured]", reference: int) -> None:
    """Log what differences between models with other vocabularies mean."""
    if len({(each.sizes.sum(), each.unknown) for each in measured}) > 1:
        log(f"note: the vocabularies differ; differences are in nats per token of {groups[reference].name}")
    numbers = [each.unknown for each in measured]
    least, most = numbers.index(min(numbers)), numbers.index(max(numbers))
    if numbers[least] < numbers[most]:
        log(
            f"note: {groups[most].name} reads {numbers[most]:,} words as unknown and {groups[least].name} "
            f"{numbers[least]:,}, which favours {groups[most].name}, as one unknown word stands for many; "
            "compare models of one vocabulary, or of bytes"
        )


class _Reader:
    """Measures models on a text that is the same for all of them.

    Attributes:
        rows: for each model that was measured its `run`, and the `warnings` about its text.
    """

    def __init__(
        self, texts: Texts, context: Any, reports: "Reporter", device: Device, weights: Weights | None
    ) -> None:
        self._texts, self._context, self._reports = texts, context, reports
        self._device: Device = device
        self._weights = weights
        self._first: tuple[Any, Path] | None = None
        self.rows: list[dict[str, Any]] = []

    def measure(self, saved: "SavedModel") -> "LineFigures":
        """The figures of each line by a language model, or of each sentence by a tagger."""
        return self._sentences(saved) if saved.is_tagger else self._lines(saved)

    def _lines(self, saved: "SavedModel") -> "LineFigures":
        from refrain.data.unknown import unknown_concerns

        with self._reports.step("reading the text"):
            corpus, split = self._texts.of(saved)
        self._check_same(corpus.splits[split], saved.path)
        self._keep_concerns(saved, corpus.splits[split], split)
        part = corpus.splits[split]
        self.rows[-1]["warnings"] += unknown_concerns(
            corpus.vocabulary, {"the text": (part.unseen, len(part.tokens))}, own=not self._texts.are_given
        )

        # imports torch, which a mistake in the path need not wait for
        from refrain.evaluation.line_figures import line_nats

        from .loading import load_language_model

        lm = load_language_model(saved, self._reports, device=self._device, weights=self._weights, packed=False)
        return line_nats(lm.model, corpus, split, context=self._context, track=self._reports.track)

    def _sentences(self, saved: "SavedModel") -> "LineFigures":
        with self._reports.step("reading the sentences"):
            corpus, split = self._texts.tagged(saved)
        self._check_same(corpus.splits[split], saved.path)
        self._keep_concerns(saved, corpus.splits[split], split)

        from refrain.evaluation.line_figures import sentence_hits

        from .loading import load_tagger

        tagger = load_tagger(saved, self._reports, device=self._device, weights=self._weights)
        return sentence_hits(tagger.packed, tagger.vocabulary, corpus.splits[split].sentences)

    def _keep_concerns(self, saved: "SavedModel", part: Any, split: str) -> None:
        self.rows.append({"run": str(saved.path), "warnings": self._texts.concerns(saved, part, split)})

    def _check_same(self, part: Any, path: Path) -> None:
        """Check that a model reads the text that the others read."""
        from refrain.errors import DataError

        if self._first is None:
            self._first = (part, path)
        first, place = self._first
        if not is_same_text(first, part):
            raise DataError(f"{path}: has another text than {place}; name one text for all models with --data")


def _place(groups: "Sequence[Group]", path: Path) -> int:
    """The group that has a run."""
    from refrain.errors import UserError

    wanted = path.resolve()
    for place, group in enumerate(groups):
        if any(run.entry.path.resolve() == wanted for run in group.runs):
            return place
    raise UserError(f"--against: {path} is not one of the runs that are compared; give one of them")


def _mean(figures: "Sequence[LineFigures]") -> Measured:
    import numpy as np

    values = np.mean([each.values for each in figures], axis=0)
    return Measured(values, figures[0].sizes, figures[0].unknown)


def _figure(figure: float, measured: Measured, *, tagger: bool) -> dict[str, Any]:
    from refrain.models.perplexity import perplexity

    own = {"accuracy": figure} if tagger else {"nats_per_token": figure, "perplexity": perplexity(figure)}
    return own | {"unknown": measured.unknown, "tokens": int(measured.sizes.sum())}


def _test(one: Measured, reference: Measured, name: str, comparison: Comparison, *, tagger: bool) -> dict[str, Any]:
    import numpy as np

    from refrain.errors import DataError
    from refrain.evaluation.paired import paired_bootstrap

    if tagger and not np.array_equal(one.sizes, reference.sizes):
        raise DataError(
            f"{name}: counts other words than the tagger that it is compared with, since their tags are of different "
            "columns, of which some are empty; name a column whose tags both know with --column, or compare them apart"
        )
    if len(one.values) != len(reference.values):
        raise DataError(
            f"{name}: reads {len(one.values):,} lines, and the model that it is compared with reads "
            f"{len(reference.values):,}; compare models that read the same lines"
        )
    more: Any = {"resamples": comparison.resamples, "seed": comparison.seed}
    return paired_bootstrap(one.values, reference.values, reference.sizes, **more).document()
