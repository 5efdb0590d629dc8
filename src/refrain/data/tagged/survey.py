"""Checking a corpus of tagged sentences before training on it."""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from refrain.errors import quantity

from .corpus import TaggedSplit


def survey_tagged(name: str, splits: Mapping[str, TaggedSplit]) -> dict[str, Any]:
    """Figures of a corpus of tagged sentences.

    Args:
        name: the name of the corpus.
        splits: the sentences of each split; bad sentences are left out and listed.

    Returns:
        The number of `sentences`, `words`, `tags` and bad sentences of all splits together, the size of the
        `vocabulary` of `train`, and the same for each split, with its unseen words and new tags.
    """
    train = splits.get("train")
    words = None if train is None else set(train.tokens)
    known = None if train is None else {tuple(sentence.words) for sentence in train.sentences}
    found = {}
    for split_name, split in splits.items():
        others = split_name != "train"
        found[split_name] = {
            "sentences": split.lines,
            "words": len(split.tokens),
            # as in the figures of other corpora
            "lines": split.lines,
            "tokens": len(split.tokens),
            "tags": dict(split.tags.most_common()),
            "unseen": 0 if words is None else sum(word not in words for word in split.tokens),
            "new_tags": {}
            if train is None
            else {tag: count for tag, count in split.tags.most_common() if tag not in train.tags},
            "without_tag": split.missing,
            "underscore_words": split.tokens.count("_"),
            "bad_sentences": len(split.skipped),
            "bad": split.skipped,
            "documents": split.documents,
            "empty_elements": split.empty,
            "longest_sentence": max(len(sentence.words) for sentence in split.sentences),
            "sentences_in_train": sum(tuple(sentence.words) in known for sentence in split.sentences)
            if known is not None and others
            else 0,
            "format": split.format,
            "sha256": split.sha256,
        }
    tags: Counter[str] = Counter()
    for split in splits.values():
        tags.update(split.tags)
    return {
        "corpus": name,
        "unit": "tag",
        "vocabulary": 0 if words is None else len(words),
        "sentences": sum(split.lines for split in splits.values()),
        "words": sum(len(split.tokens) for split in splits.values()),
        "tags": dict(tags.most_common()),
        "bad_sentences": sum(len(split.skipped) for split in splits.values()),
        "splits": found,
    }


def warnings_about_tagged(figures: Mapping[str, Any]) -> list[str]:
    """Warnings about figures that a user should know of before training.

    Args:
        figures: the figures that `survey_tagged` returns.
    """
    splits = figures["splits"]
    lines = [f"there are no {name} sentences, which train needs" for name in ("train", "valid") if name not in splits]
    for name, split in splits.items():
        words = split["words"]
        lines += list(_about(name, split, words))
        if split["sentences_in_train"] > 0.1 * split["sentences"]:
            share = split["sentences_in_train"] / split["sentences"]
            lines.append(f"{name}: {share:.1%} of the sentences also occur in train")
        if words < 1000:
            lines.append(f"{name}: only {quantity(words, 'word')}")
    return lines


def _about(name: str, split: Mapping[str, Any], words: int) -> Iterable[str]:
    if split["bad_sentences"]:
        bad = quantity(split["bad_sentences"], "bad sentence")
        yield f"{name}: has {bad}, at which train stops, unless --skip-bad is given"
    if split["underscore_words"] == words:
        yield f"{name}: every word is _; the text of the treebank is distributed apart from it and has to be merged in"
    elif split["underscore_words"]:
        yield f"{name}: has {quantity(split['underscore_words'], 'word')} spelled _"
    if split["without_tag"] == words:
        yield f"{name}: every word has _ in place of a tag; choose another column"
    elif split["without_tag"]:
        untagged = quantity(split["without_tag"], "word")
        yield f"{name}: has {untagged} with _ in place of a tag; loss and accuracy leave them out"
    if split["new_tags"]:
        count = sum(split["new_tags"].values())
        yield f"{name}: train lacks the tags of {quantity(count, 'word')} ({', '.join(list(split['new_tags'])[:20])})"
