"""The command `refrain export`."""

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Parameter

from .options import ForceOption, JsonOption, RunArgument


def export(
    run: RunArgument,
    /,
    *,
    out: Path,
    format: str = "onnx",
    weights: Literal["float32", "int8"] | None = None,
    steps: Literal["many", "one"] = "many",
    no_libm: Annotated[bool, Parameter(negative=())] = False,
    tokens: Path | None = None,
    data: str | None = None,
    proof_tokens: int | None = None,
    no_proof: Annotated[bool, Parameter(negative=())] = False,
    force: ForceOption = False,
    json: JsonOption = False,
) -> None:
    """Write a model in another format, checked to compute the same.

    What was exported is run, and its log-probabilities, states and perplexity are compared with those of the run's
    model on random text and on the validation text of the run. If they differ, nothing is written. Prints the largest
    difference, both perplexities, and the milliseconds for one token of both. Of a tagger, these are its accuracies,
    and the milliseconds for one word.

    Parameters
    ----------
    out
        The file to write; with --format c the folder.
    format
        onnx: a file for ONNX Runtime, also of taggers. c: C99 code without dependencies. sherpa-online: a file for
        shallow fusion in the speech recogniser sherpa-onnx. sherpa-offline: one with which it scores whole hypotheses.
    weights
        int8: every matrix rounded to 127ths of the largest entry of each row, for a quarter of the size. The default is
        int8 for a run with int8 weights, otherwise float32.
    steps
        many: the ONNX file reads windows of any length. one: it reads one token at a time.
    no_libm
        Write C code that calls no mathematical functions of the C library.
    tokens
        The tokens.txt of the recogniser, whose ids the file then has; for sherpa-online and sherpa-offline.
    data
        The text to compare on: a folder of splits, whose validation text is read, or a file. The default is the corpus
        of the run.
    proof_tokens
        The number of tokens of this text that are scored, at least 1000, or of its words that are tagged (10000).
    no_proof
        Write the model without running it.
    """
    from refrain.export.formats import Options, check_format, check_out, check_proof, check_tagger_format
    from refrain.progress import reporter
    from refrain.runs.loading import find
    from refrain.runs.own_names import check_given
    from refrain.storage.output_checks import run_files

    from .output import log, log_written, print_json

    options = Options(weights=weights or "float32", steps=steps, libm=not no_libm)
    chosen = check_format(format, options, proof=not no_proof, tokens=tokens is not None)
    check_proof(not no_proof, data, proof_tokens)
    check_out(chosen, out, [*run_files(run), *([] if tokens is None else [tokens])], force=force)
    saved = find(run)
    check_given(saved.document, None, saved.path)
    if weights is None and saved.checkpoint.has_int8_weights:
        options = replace(options, weights="int8")
    if saved.is_tagger:
        check_tagger_format(format, options)
    if data is not None:
        from refrain.assembly import locate

        locate(data, log)

    # imports torch
    from refrain.export.exporting import export as write

    found = write(
        run,
        out,
        format=format,
        options=options,
        tokens=tokens,
        data=data,
        proof=not no_proof,
        proof_tokens=proof_tokens,
        force=force,
        log=log,
        reports=reporter(),
    )
    log_written(out)
    if json:
        print_json({"run": str(run), **found})
    else:
        _print_report(found)


def _print_report(found: dict[str, Any]) -> None:
    from refrain.export.formats import FORMATS

    from .output import print_line

    for name, size in found["files"].items():
        print_line(f"{name}: {size:,} bytes")
    proof = found["proof"]
    if proof is None:
        print_line("not proved: the exported model was not run")
        return
    print_line(f"largest difference of log-probabilities: {proof['max_difference']:.1e}")
    if "accuracy" in proof:
        _print_tagger(proof)
        return
    print_line(
        f"perplexity of {proof['tokens']:,} tokens: {proof['perplexity']:.4f} exported, "
        f"{proof['library_perplexity']:.4f} here in float32"
    )
    how = "whole texts in one call" if FORMATS[found["format"]].whole_texts else "one at a time"
    print_line(
        f"milliseconds per token, {how}: {proof['ms_per_token']:.3f} exported, {proof['library_ms_per_token']:.3f} here"
    )


def _print_tagger(proof: dict[str, Any]) -> None:
    from .output import print_line

    print_line(
        f"accuracy on {proof['words']:,} words: {proof['accuracy']:.4f} exported, {proof['library_accuracy']:.4f} here "
        f"in float32; {proof['other_tags']:,} words with another tag"
    )
    print_line(
        f"milliseconds per word, one sentence at a time: {proof['ms_per_word']:.3f} exported, "
        f"{proof['library_ms_per_word']:.3f} here"
    )
