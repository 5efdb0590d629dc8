"""The command `refrain score`."""

import sys

from .options import DeviceOption, ErrorsOption, Flag, RunArgument, TextArgument, WeightsOption


def score(
    run: RunArgument,
    file: TextArgument = "-",
    /,
    *,
    errors: ErrorsOption = "strict",
    device: DeviceOption = "auto",
    weights: WeightsOption = "float32",
    json: Flag = False,
) -> None:
    """Score lines of a file or of standard input in nats.

    Each line is scored independently, after a line end, and its own line end is scored too. Prints the nats, the number
    of tokens, the number of unknown words and the line, separated by tabs; a tab in the line is written as \\t, and a
    backslash as \\\\. Each line of standard input or of a pipe is answered before the next is waited for.

    Parameters
    ----------
    json
        Print one JSON object for each line.
    """
    from refrain.progress import reporter, untracked

    from .loading import load_language_model
    from .output import for_output, print_json
    from .texts import batches_of, check_files

    check_files([file])
    reports = reporter()
    lm = load_language_model(run, reports, device=device, weights=weights)

    from refrain.evaluation import score_lines
    from refrain.storage.plain_text import tsv_cell

    # the lines that have come are scored, and the output is flushed, before more are waited for
    batches = batches_of(file, errors)
    stepper = lm.stepper
    lines = (line for batch in batches for line in score_lines(stepper, lm.vocabulary, batch))
    # lines on the terminal are progress enough
    track = untracked if sys.stdout.isatty() else reports.track
    for line in track(lines, "scoring lines"):
        figure = line.figure
        if json:
            print_json(
                {
                    "nats": figure.nats,
                    "tokens": figure.tokens,
                    "nats_per_token": figure.nats_per_token,
                    "perplexity": figure.perplexity,
                    "unknown": line.unknown,
                    "text": line.text,
                }
            )
        else:
            cells = [f"{figure.nats:.4f}", str(figure.tokens), str(line.unknown), tsv_cell(line.text)]
            print(for_output("\t".join(cells)), flush=True)
