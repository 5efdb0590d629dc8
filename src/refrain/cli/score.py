"""The command `refrain score`."""

import sys
from typing import TYPE_CHECKING

from .options import (
    DeviceOption,
    Errors,
    ErrorsOption,
    Flag,
    LowercaseOption,
    MixOption,
    MixWeightOption,
    RunArgument,
    TextArgument,
    TokeniseOption,
    WeightsOption,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from refrain.data import Vocabulary
    from refrain.evaluation.score import LineScore
    from refrain.models.scorer import AnyStepper
    from refrain.progress import Reporter


def score(
    run: RunArgument,
    file: TextArgument = "-",
    /,
    *,
    nbest: Flag = False,
    lm_scale: float | None = None,
    tune: str | None = None,
    costs: str | None = None,
    mix: MixOption = None,
    mix_weight: MixWeightOption = None,
    lowercase: LowercaseOption = False,
    tokenise: TokeniseOption = False,
    errors: ErrorsOption = "strict",
    device: DeviceOption = "auto",
    weights: WeightsOption = None,
    json: Flag = False,
) -> None:
    """Score lines of text in nats, or choose from n-best lists.

    Each line is scored independently, after a line end, and its own line end is scored too. Prints the nats, the number
    of tokens, the number of unknown words and the line, separated by tabs; a tab in the line is written as \\t, and a
    backslash as \\\\. Each line of standard input or of a pipe is answered before the next is waited for.

    With --nbest, the lines are hypotheses: an utterance's id, a score and the words, separated by tabs or as a JSON
    object with id, score and hypothesis; or as in Kaldi, utt-1 and the words. Prints for each utterance the id, the
    largest sum of score and --lm-scale times log-likelihood, and the hypothesis.

    Parameters
    ----------
    nbest
        The file holds n-best lists of a recogniser.
    lm_scale
        The factor of the log-likelihood of the language model, 0.5 if not given.
    tune
        A file with the reference of each utterance: its id and its words. Chooses the scale with the fewest word
        errors and reports it.
    costs
        A file with the costs of the hypotheses of Kaldi, such as ac_cost; their negatives are the scores.
    json
        Print one JSON object for each line, or for each utterance.
    """
    from refrain.progress import reporter

    from .loading import load_language_model
    from .mixing import mixing_of
    from .nbest import Options, print_best, read_lists
    from .texts import check_files, log_unknown

    options = Options(lm_scale, tune, costs)
    options.check(nbest)
    mixing = mixing_of(mix, mix_weight)
    check_files([file, *options.files], texts=not nbest)

    from refrain import runs

    reports = reporter()
    saved = runs.find_language_model(run)
    if mixing is not None:
        mixing.check_unit(saved)
    lists = read_lists(file, options, errors) if nbest else None
    lm = load_language_model(saved, reports, device=device, weights=weights, lowercase=lowercase, tokenise=tokenise)
    stepper = lm.stepper if mixing is None else mixing.stepper(lm, saved, reports)
    if lists is not None:
        unknown, tokens = print_best(stepper, lm.vocabulary, lists, options, reports, as_json=json)
    else:
        unknown, tokens = _print_lines(stepper, lm.vocabulary, file, errors, reports, as_json=json)

    log_unknown(lm.vocabulary, {"the text": {"unknown": unknown, "tokens": tokens}})


def _print_lines(
    stepper: "AnyStepper", vocabulary: "Vocabulary", file: str, errors: Errors, reports: "Reporter", *, as_json: bool
) -> tuple[int, int]:
    """Print the score of each line, and return the number of unknown words and that of tokens."""
    from refrain.evaluation.score import CHUNK_LINES, score_lines
    from refrain.progress import untracked
    from refrain.storage.plain_json import dumps
    from refrain.storage.plain_text import tsv_cell

    from .output import for_output
    from .texts import large_batches_of

    # whoever looks at a terminal sees the first scores soon
    count = 1 if sys.stdout.isatty() else CHUNK_LINES

    def scored() -> "Iterator[LineScore]":
        for batch in large_batches_of(file, errors, count):
            yield from score_lines(stepper, vocabulary, batch)
            # the lines that have come are answered before more are waited for
            sys.stdout.flush()

    unknown = tokens = 0
    # lines on the terminal are progress enough
    track = untracked if sys.stdout.isatty() else reports.track
    for line in track(scored(), "scoring lines"):
        figure = line.figure
        unknown += line.unknown
        tokens += figure.tokens
        if as_json:
            row = {
                "nats": figure.nats,
                "tokens": figure.tokens,
                "nats_per_token": figure.nats_per_token,
                "perplexity": figure.perplexity,
                "unknown": line.unknown,
                "text": line.text,
            }
            print(dumps(row))
        else:
            cells = [f"{figure.nats:.4f}", str(figure.tokens), str(line.unknown), tsv_cell(line.text)]
            print(for_output("\t".join(cells)))
    return unknown, tokens
