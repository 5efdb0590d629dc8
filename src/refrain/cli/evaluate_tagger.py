"""The command `refrain evaluate` for the run of a tagger."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .corpus import corpus_inputs
from .options import Device, Errors, Weights
from .output import log, log_written, print_json, print_line, table

if TYPE_CHECKING:
    from refrain.evaluation.tagging import TaggingFigure
    from refrain.runs import SavedModel


def refuse(given: Mapping[str, Any], where: str) -> None:
    """Refuse options that cannot take effect.

    Args:
        given: option -> its value; None or False if it is not given.
        where: the circumstance, for the message, such as `with a tagger`.

    Raises:
        UserError: when an option is given; the message names the first one.
    """
    from refrain.errors import UserError

    for option, value in given.items():
        # the number 0 is a value that is given
        if value is not None and value is not False:
            raise UserError(f"{option}: cannot take effect {where}; leave it out")


def evaluate_tagger(
    saved: "SavedModel",
    data: Path | None,
    split: str | None,
    errors: Errors,
    confusion: Path | None,
    *,
    force: bool,
    skip_bad: bool,
    device: Device,
    weights: Weights | None,
    json: bool,
) -> None:
    """Measure a tagger and print the results.

    Args:
        saved: the tagger.
        data: sentences to measure on; None for the corpus of the run.
        split: the part of the corpus.
        errors: what to do at invalid UTF-8.
        confusion: a file for the picture of the confusion matrix, or None.
        force: whether the picture is replaced if it exists.
        skip_bad: whether bad sentences are left out.
        device: the device to compute on.
        weights: whether matrices are rounded; None for what the run has.
        json: whether one JSON object is printed.
    """
    from refrain import assembly
    from refrain.assembly.tagged_corpus import build_tagged_text, log_notes
    from refrain.config import TaggedData
    from refrain.data.tagged.vocabulary import tag_vocabulary_from
    from refrain.progress import reporter
    from refrain.storage.output_checks import check_outputs
    from refrain.storage.output_files import write_files

    from .loading import load_tagger

    reports = reporter()
    settings = saved.experiment.data
    assert isinstance(settings, TaggedData)
    if confusion is not None and data is None:
        # the corpus of a run is known only now
        check_outputs([("--confusion", confusion)], corpus_inputs(settings.corpus), force=force)
    changed: dict[str, Any] = {"errors": errors, "skip_bad": skip_bad or (settings.skip_bad and data is None)}
    # other sentences are not dealt to the folds of a cross-validation
    changed |= {} if data is None else {"folds": None, "fold": 1, "fold_seed": None}
    path = assembly.locate(settings.corpus if data is None else str(data), log)
    with reports.step("reading the sentences"):
        vocabulary = tag_vocabulary_from(saved.checkpoint.document("vocabulary"))
        corpus = build_tagged_text(
            settings.model_copy(update=changed), path, (split or "test") if data is None else split, vocabulary
        )
    ((name, sentences),) = corpus.splits.items()
    log_notes(name, sentences, log)
    tagger = load_tagger(saved, reports, device=device, weights=weights)
    figure = tagger.evaluate(sentences.sentences, track=reports.track)
    tags = tagger.vocabulary.tags
    per_tag = figure.per_tag(tags)
    if confusion is not None:
        from refrain.pictures.confusion import confusion_picture

        title = (
            f"{corpus.name}, {name}: {100 * (figure.words.accuracy or 0):.2f} % of {figure.words.total:,} words correct"
        )
        write_files([(confusion, confusion_picture(figure.confusion, [*tags, *figure.new_tags], title))], force=force)
        log_written(confusion)
    about = {"run": str(saved.path), "checkpoint": tagger.folder.name, "corpus": corpus.name, "split": name}
    if json:
        matrix = {"tags": [*tags, *figure.new_tags], "confusion": figure.confusion.tolist()}
        print_json(about | figure.document() | {"per_tag": per_tag, **matrix, "skipped": sentences.skipped})
        return
    for key, value in about.items():
        print_line(f"{key:10}  {value}")
    _print(figure, per_tag)


def _print(figure: "TaggingFigure", per_tag: Mapping[str, Mapping[str, Any]]) -> None:
    print(f"nats/word   {figure.nats_per_token:.4f}\n")
    rows = [["", "words", "accuracy", "95 % interval"]]
    shares = {"all words": figure.words, "words seen in training": figure.seen, "unseen words": figure.unseen}
    for what, share in (shares | {"whole sentences": figure.sentences}).items():
        if share.total:
            low, high = share.interval or (0.0, 0.0)
            accuracy = f"{100 * share.right / share.total:.2f} %"
            rows.append([what, f"{share.total:,}", accuracy, f"{100 * low:.2f} to {100 * high:.2f}"])
    print(table(rows), end="\n\n")
    if figure.spans is not None:
        rows = [["spans", "number", "precision", "recall", "F1"]]
        for name, counts in {"all spans": figure.spans.all, **figure.spans.types}.items():
            document = counts.document()
            shown = (f"{100 * document[key]:.2f}" for key in ("precision", "recall", "f1"))
            rows.append([name, f"{counts.true:,}", *shown])
        print(table(rows), end="\n\n")
    rows = [["tag", "words", "precision", "recall", "F1"]]
    for tag, row in per_tag.items():
        rows.append([tag, f"{row['words']:,}", *(f"{100 * row[key]:.2f}" for key in ("precision", "recall", "f1"))])
    print(table(rows))
