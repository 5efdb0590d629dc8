"""The command `refrain evaluate` for the run of a tagger."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .corpus import corpus_inputs
from .evaluate_texts import TextOptions, Texts
from .options import Device, Weights
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


def refuse_for(saved: "SavedModel", of_text: Mapping[str, Any], of_tags: Mapping[str, Any]) -> None:
    """Refuse options that cannot take effect with the kind of a model.

    Args:
        saved: the model.
        of_text: the options for language models.
        of_tags: the options for taggers.

    Raises:
        UserError: when an option is given for the other kind.
        CheckpointError: when the network of the run is the user's own.
    """
    if saved.is_tagger:
        refuse(of_text, "with a tagger")
        return
    from refrain.runs.own_names import check_given

    check_given(saved.document, None, saved.path)
    refuse(of_tags, "with a language model")


def evaluate_tagger(
    saved: "SavedModel",
    options: TextOptions,
    confusion: Path | None,
    *,
    force: bool,
    device: Device,
    weights: Weights | None,
    json: bool,
) -> None:
    """Measure a tagger and print the results.

    Args:
        saved: the tagger.
        options: the sentences to measure on.
        confusion: a file for the picture of the confusion matrix, or None.
        force: whether the picture is replaced if it exists.
        device: the device to compute on.
        weights: whether matrices are rounded; None for what the run has.
        json: whether one JSON object is printed.
    """
    from refrain.progress import reporter
    from refrain.storage.output_checks import check_outputs
    from refrain.storage.output_files import write_files

    from .loading import load_tagger

    reports = reporter()
    if confusion is not None and options.data is None:
        # the corpus of a run is known only now
        check_outputs([("--confusion", confusion)], corpus_inputs(saved.experiment.data.corpus), force=force)
    with reports.step("reading the sentences"):
        texts = Texts(options)
        corpus, name = texts.tagged(saved)
    sentences = corpus.splits[name]
    concerns = texts.concerns(saved, sentences, name)
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
    for concern in concerns:
        log(f"note: {concern}")
    if json:
        matrix = {"tags": [*tags, *figure.new_tags], "confusion": figure.confusion.tolist()}
        more = {"per_tag": per_tag, **matrix, "skipped": sentences.skipped, "warnings": concerns}
        print_json(about | figure.document() | more)
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
