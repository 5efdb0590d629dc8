"""The command `refrain score`."""

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
    from refrain import runs
    from refrain.evaluation import score_lines

    from .output import print_json
    from .texts import lines_of

    lm = runs.load_language_model(run, device=device, weights=weights)
    for line in score_lines(lm.stepper, lm.vocabulary, lines_of(file, errors)):
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
