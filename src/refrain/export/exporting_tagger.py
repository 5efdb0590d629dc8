"""Translates a trained tagger, and compares the result with it."""

from collections.abc import Callable, Mapping
from dataclasses import replace

from refrain.assembly.corpus import locate
from refrain.assembly.tagged_corpus import build_tagged_text
from refrain.config import TaggerExperiment
from refrain.data.tagged.buckets import Encoded, encode_sentences
from refrain.errors import DataError
from refrain.models.tagger_graph import check_tagger, tagger_graph
from refrain.progress import Reporter
from refrain.trained import TrainedTagger

from .finite import check_finite
from .formats import ExportTagger, Options
from .metadata import common_metadata, joined
from .proof import FLOAT32_TOLERANCE
from .proof_of_tags import TaggerProof, compare_tags


def proved_tagger(
    tagger: TrainedTagger,
    export: ExportTagger,
    options: Options,
    data: str | None,
    words: int,
    log: Callable[[str], None],
    reports: Reporter,
) -> tuple[Mapping[str, bytes], TaggerProof | None]:
    """Translate a tagger into a format, and compare it with the tagger on random and on real sentences.

    Args:
        tagger: the tagger.
        export: translates a tagger into the format.
        options: what is written.
        data: the sentences of the comparison: a folder of splits, or a file; None is the validation split of the run.
        words: how many words are tagged at most; 0 for no comparison.
        log: called with a line of text for each step that takes time.
        reports: reports these steps while they run.

    Returns:
        The files, and the figures of the comparison or None.

    Raises:
        UserError: when a part of the tagger cannot be exported.
        DataError: when the sentences are missing.
        CheckpointError: when a weight is not finite, or the two do not agree.
    """
    check_tagger(tagger.model)
    graph = tagger_graph(tagger.model, len(tagger.vocabulary.kinds.of("x")))
    check_finite(graph)
    sentences = _sentences(tagger, data, log) if words else []
    with reports.step("translating the tagger"):
        own = common_metadata(tagger.vocabulary, tagger.config, tagger.folder, options.weights)
        exported = export(graph, replace(options, metadata=joined(options.metadata, own)))
    if not words:
        return exported.files, None
    found = compare_tags(
        exported.runner(),
        tagger.model,
        graph,
        sentences,
        weights=options.weights,
        # where inputs are rounded too, the accuracy alone is compared
        tolerance=None if options.weights == "int8" else FLOAT32_TOLERANCE,
        words=words,
        track=reports.track,
    )
    return exported.files, found


def _sentences(tagger: TrainedTagger, data: str | None, log: Callable[[str], None]) -> list[Encoded]:
    """The sentences of the comparison."""
    settings = TaggerExperiment.model_validate(tagger.config).data
    try:
        path = locate(data or settings.corpus, log)
        whole = data is not None and not path.is_dir()
        if data is not None:
            # other sentences are not dealt to the folds of a cross-validation
            settings = settings.model_copy(update={"folds": None, "fold": 1, "fold_seed": None})
        name = None if whole else "valid"
        text = build_tagged_text(settings, path, name, tagger.vocabulary, can_skip=False)
        (split,) = text.splits.values()
    except DataError as error:
        if data is not None:
            raise
        raise DataError(
            f"{error}; the exported tagger is compared with the run's on these sentences: give others with --data, or "
            "write it without proof: --no-proof"
        ) from None
    return encode_sentences(split.sentences, tagger.vocabulary)
