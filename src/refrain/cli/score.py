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
    of tokens, the number of unknown words and the line, separated by tabs.

    Parameters
    ----------
    json
        Print one JSON object for each line.
    """
    from refrain.progress import reporter, untracked

    from .loading import load_language_model
    from .output import print_json
    from .texts import check_files, lines_of

    check_files([file])
    reports = reporter()
    lm = load_language_model(run, reports, device=device, weights=weights)

    from refrain.evaluation import score_lines

    # lines on the terminal are progress enough
    track = untracked if sys.stdout.isatty() else reports.track
    for line in track(score_lines(lm.stepper, lm.vocabulary, lines_of(file, errors)), "scoring lines"):
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
            print(f"{figure.nats:.4f}\t{figure.tokens}\t{line.unknown}\t{line.text}", flush=True)
