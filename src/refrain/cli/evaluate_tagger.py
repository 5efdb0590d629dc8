"""`refrain evaluate` of a tagger's run."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from .output import print_json, say, table

if TYPE_CHECKING:
    from refrain.trained.tagger import TrainedTagger


def refuse(given: Mapping[str, Any], where: str) -> None:
    """Stop at the first option that was given and cannot take effect.

    Args:
        given: option -> whether it was given.
        where: of what it cannot, as in `with a tagger`.

    Raises:
        UserError: naming the option.
    """
    from refrain.errors import UserError

    for option, value in given.items():
        # a number that was given may be 0
        if value is not None and value is not False:
            raise UserError(f"{option}: cannot take effect {where}; leave it out")


def evaluate_tagger(
    run: Path,
    tagger: "TrainedTagger",
    data: Path | None,
    split: str | None,
    errors: Literal["strict", "replace"],
    confusion: Path | None,
    *,
    skip_bad: bool,
    json: bool,
) -> None:
    """Measure a tagger and print what was found.

    Args:
        run: its folder.
        tagger: loaded from there.
        data: other sentences than the run's own.
        split: which part of the corpus.
        errors: what invalid UTF-8 does.
        confusion: where to draw a picture, or None.
        skip_bad: leave out bad sentences.
        json: print one JSON object.
    """
    from refrain import assembly
    from refrain.assembly.tagger import build_tagged_text, tell_skipped
    from refrain.config import TaggedData

    from .texts import refuse_to_overwrite

    if confusion is not None:
        refuse_to_overwrite([confusion], force=True, option="--confusion")
    settings = TaggedData.model_validate(tagger.config["data"])
    changed = {"errors": errors, "skip_bad": skip_bad or (settings.skip_bad and data is None)}
    path = assembly.locate(settings.corpus if data is None else str(data), say)
    corpus = build_tagged_text(
        settings.model_copy(update=changed), path, (split or "test") if data is None else split, tagger.vocabulary
    )
    ((name, sentences),) = corpus.splits.items()
    tell_skipped(name, sentences, say)
    figure = tagger.evaluate(sentences.sentences)
    tags, per_tag = tagger.vocabulary.tags, figure.per_tag(tagger.vocabulary.tags)
    if confusion is not None:
        from refrain.pictures.confusion import confusion_picture

        title = (
            f"{corpus.name}, {name}: {100 * (figure.words.accuracy or 0):.2f} % of {figure.words.total:,} words right"
        )
        confusion.write_bytes(confusion_picture(figure.confusion, tags, title))
    place = {"run": str(run), "checkpoint": tagger.folder.name, "corpus": corpus.name, "split": name}
    if json:
        matrix = {"tags": tags, "confusion": figure.confusion.tolist()}
        print_json(place | figure.document() | {"per_tag": per_tag, **matrix, "skipped": sentences.skipped})
        return
    for key, value in place.items():
        print(f"{key:10}  {value}")
    print(f"nats/word   {figure.nats / figure.words.total:.4f}\n")
    rows = [["", "words", "accuracy", "interval of 95 %"]]
    shares = {"all words": figure.words, "words that training had": figure.seen, "other words": figure.unseen}
    for what, share in (shares | {"whole sentences": figure.sentences}).items():
        if share.total:
            low, high = share.interval or (0.0, 0.0)
            accuracy = f"{100 * share.right / share.total:.2f} %"
            rows.append([what, f"{share.total:,}", accuracy, f"{100 * low:.2f} to {100 * high:.2f}"])
    print(table(rows), end="\n\n")
    rows = [["tag", "words", "precision", "recall", "F1"]]
    for tag, row in per_tag.items():
        rows.append([tag, f"{row['words']:,}", *(f"{100 * row[key]:.2f}" for key in ("precision", "recall", "f1"))])
    print(table(rows))
