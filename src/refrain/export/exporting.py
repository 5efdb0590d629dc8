"""Exports a trained model: translates it, compares the result with the model, and writes it."""

import importlib
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from refrain.arguments import path_of
from refrain.assembly.corpus import build_text, locate
from refrain.config import Experiment
from refrain.data import UNITS, TokenSource
from refrain.errors import CheckpointError, DataError
from refrain.evaluation import evaluate, protocol_windows
from refrain.evaluation.perplexity import has_diverged
from refrain.models.step_graph import check_describable, step_graph
from refrain.nn.step_graph import StepGraph
from refrain.progress import Reporter, perplexity_text
from refrain.runs.loading import load
from refrain.storage.output_checks import run_files
from refrain.storage.output_files import write_files
from refrain.trained import TrainedLanguageModel, TrainedTagger

from .exporting_tagger import proved_tagger
from .finite import check_finite
from .formats import (
    FORMATS,
    Exported,
    ExportedScorer,
    Options,
    check_format,
    check_out,
    check_proof,
    check_tagger_format,
)
from .metadata import common_metadata, joined
from .printed_tokens import printed_tokens
from .proof import FLOAT32_TOLERANCE, Proof, compare
from .proof_of_scores import compare_scores
from .proof_of_tags import TaggerProof
from .recogniser_tokens import token_ids


def export(
    model: str | Path | TrainedLanguageModel | TrainedTagger,
    out: str | Path,
    *,
    format: str = "onnx",
    options: Options | None = None,
    tokens: str | Path | None = None,
    data: str | None = None,
    proof: bool = True,
    proof_tokens: int | None = None,
    force: bool = False,
    log: Callable[[str], None] = lambda line: None,
    reports: Reporter | None = None,
) -> dict[str, Any]:
    """Write a trained model in another format, after a comparison of what both compute.

    Args:
        model: the run folder, or a loaded model.
        out: the file, or the folder of a format with several files.
        format: a key of `FORMATS`.
        options: what is written; None for the weights that the model has, and windows of any length.
        tokens: the table of the tokens of a speech recogniser, for the formats for one.
        data: the text of the comparison: a folder of splits, or a file; None is the validation text of the run.
        proof: run what was exported, and write it only if it agrees with the model.
        proof_tokens: how many tokens of the text are scored for the comparison, or words of it tagged, at least 1000;
            None is 10,000.
        force: replace files that exist.
        log: called with a line of text for each step that takes time.
        reports: reports these steps while they run; None reports nothing.

    Returns:
        `format`, `out`, `files` with the bytes of each, `weights`, `states` with the size of each that the exported
        model is called with, and `proof`, the figures of `Proof`, of a tagger those of `TaggerProof`, or None.

    Raises:
        UserError: when the format cannot express the model, something that it needs is missing, `data` or
            `proof_tokens` is given without a proof, an argument or an option is of another type or another word, or an
            option has no effect.
        DataError: when the text is missing, or the tokens of the recogniser are not the model's.
        CheckpointError: when the run cannot be read, a weight is not finite, or the exported model does not compute the
            same.
    """
    is_loaded = isinstance(model, TrainedLanguageModel | TrainedTagger)
    run = None if is_loaded else path_of(model, "model", "a run folder, or a model that refrain.load has returned")
    weights_of_model = options is None
    options = Options() if options is None else options
    chosen = check_format(format, options, proof=proof, tokens=tokens is not None)
    compared = check_proof(proof, data, proof_tokens)
    out = path_of(out, "out")
    reports = reports or Reporter(None)
    read = [] if run is None else [*run_files(run)]
    read += [] if tokens is None else [Path(tokens)]
    check_out(chosen, out, read, force=force)
    if not isinstance(model, TrainedLanguageModel | TrainedTagger):
        with reports.step(f"loading {model}"):
            model = load(model)
    if weights_of_model:
        options = replace(options, weights=model.weights)
    if isinstance(model, TrainedTagger):
        check_tagger_format(format, options)
        write = importlib.import_module(f"{__package__}.{chosen.tagger_module}").export
        files, found = proved_tagger(model, write, options, data, compared, log, reports)
        made = _Made(files, {}, found)
    else:
        made = _proved_language_model(model, format, options, tokens, data, compared, log, reports)
    written = {out / name if name else out: content for name, content in made.files.items()}
    if chosen.files:
        out.mkdir(parents=True, exist_ok=True)
    write_files(written.items(), force=force)
    return {
        "format": format,
        "out": str(out),
        "files": {path.name: len(content) for path, content in written.items()},
        "weights": options.weights,
        "states": made.states,
        "proof": None if made.proof is None else made.proof.document(),
    }


class _Made(NamedTuple):
    """What is written, the sizes of the states, and the figures of the comparison if there was one."""

    files: Mapping[str, bytes]
    states: dict[str, int]
    proof: Proof | TaggerProof | None


def _proved_language_model(
    lm: TrainedLanguageModel,
    format: str,
    options: Options,
    tokens: str | Path | None,
    data: str | None,
    proof_tokens: int,
    log: Callable[[str], None],
    reports: Reporter,
) -> _Made:
    """Translate a language model, and compare it on so many tokens; 0 for no comparison."""
    chosen = FORMATS[format]
    check_describable(lm.model)
    graph = step_graph(lm.model)
    check_finite(graph)
    if chosen.recogniser:
        options = replace(options, ids=token_ids(lm.vocabulary, None if tokens is None else Path(tokens), log))
    text = _text(lm, data, log) if proof_tokens else None
    with reports.step(f"writing the model as {format}"):
        metadata = joined(options.metadata, _metadata(lm, graph, options))
        options = replace(
            options, metadata=metadata, tokens=printed_tokens(lm.vocabulary), start=lm.vocabulary.line_end
        )
        exported: Exported | ExportedScorer = importlib.import_module(f"{__package__}.{chosen.module}").export(
            graph, options
        )
    found = None if text is None else _proved(exported, lm, graph, text, options, proof_tokens, reports)
    return _Made(exported.files, {state.name: state.size for state in graph.states}, found)


def _proved(
    exported: Exported | ExportedScorer,
    lm: TrainedLanguageModel,
    graph: StepGraph,
    text: TokenSource,
    options: Options,
    tokens: int,
    reports: Reporter,
) -> Proof:
    compared: dict[str, Any] = {
        "weights": options.weights,
        # where inputs are rounded too, the perplexity alone is compared
        "tolerance": None if options.weights == "int8" and exported.rounds_inputs else FLOAT32_TOLERANCE,
        "tokens": tokens,
        "ids": options.ids,
        "track": reports.track,
    }
    try:
        if isinstance(exported, ExportedScorer):
            return compare_scores(exported.scorer(), lm.model, graph, text, **compared)
        return compare(exported.runner(), lm.model, graph, text, **compared)
    except CheckpointError:
        _check_converged(lm, text)
        raise


def _check_converged(lm: TrainedLanguageModel, text: TokenSource) -> None:
    """Check that the training of a model has not diverged, since rounding decides what such a model computes.

    Raises:
        CheckpointError: when it has.
    """
    windows = protocol_windows(text, "exact", split="all", window_steps=0, name="the text")
    found = evaluate(lm.model, windows).perplexity
    if has_diverged(found, len(lm.vocabulary)):
        raise CheckpointError(
            f"the perplexity of the model is {'infinite' if math.isinf(found) else perplexity_text(found)}, as its "
            "training has diverged, and rounding decides what it computes; nothing was written; export a run that was "
            "trained with a lower training.learning_rate"
        ) from None


def _text(lm: TrainedLanguageModel, data: str | None, log: Callable[[str], None]) -> TokenSource:
    """The text of the comparison: the validation text of the run, or the text that is given."""
    settings = Experiment.model_validate(lm.config).data
    try:
        path = locate(data or settings.corpus, log)
        whole = data is not None and not UNITS[settings.unit].names_splits(path)
        corpus, split = build_text(settings, path, None if whole else "valid", lm.vocabulary, log)
    except DataError as error:
        if data is not None:
            raise
        raise DataError(
            f"{error}; the exported model is compared with the run's on that text: give another one with --data, or "
            "write it without proof: --no-proof"
        ) from None
    tokens: TokenSource = corpus.splits[split].tokens
    return tokens


def _metadata(lm: TrainedLanguageModel, graph: StepGraph, options: Options) -> dict[str, str]:
    """What a user of the file needs to know, as texts."""
    states = {
        state.name: {"size": state.size, "initial": "zeros" if not state.initial.any() else state.initial.tolist()}
        for state in graph.states
    }
    return {
        **common_metadata(lm.vocabulary, lm.config, lm.folder, options.weights),
        "line_end": json.dumps(lm.vocabulary.line_end),
        "unknown": json.dumps(lm.vocabulary.unknown),
        "states": json.dumps(states),
    }
