"""What `refrain train` prints when it is done."""

import shlex
from pathlib import Path
from typing import Any

from refrain.progress import perplexity_text

SPAN_SCORES = (("precision", "precision"), ("recall", "recall"), ("F1", "f1"))


def report_training(summary: dict[str, Any], json: bool, quiet: bool) -> None:
    """Print the figures of a run, or of a series of runs, and what can be done next.

    Args:
        summary: the summary of the run or the series.
        json: whether one JSON object is printed.
        quiet: whether the folder is not reported.
    """
    from refrain.data.unknown import is_about_unknown
    from refrain.runs.outline import evaluate_command
    from refrain.storage.run_layout import REPORT

    from .evaluate_report import protocol_in_words
    from .output import log, log_written, print_json, print_line, print_next

    if not quiet:
        log_written(Path(str(summary["run"])))
    if json:
        print_json(summary)
        return
    run = shlex.quote(str(summary["run"]))
    if "runs" in summary:
        _report_series(summary)
        return
    tagger = summary.get("task") == "tagger"
    for split in ("valid", "test"):
        figure = summary[split]
        if isinstance(figure, dict) and tagger:
            low, high = figure["interval"]
            print(f"{split:5}  accuracy {100 * figure['accuracy']:.2f} %  ({100 * low:.2f} to {100 * high:.2f})")
            if "spans" in figure:
                scores = (f"{name} {100 * figure['spans'][key]:.2f} %" for name, key in SPAN_SCORES)
                print(f"{'':5}  spans {', '.join(scores)}")
        elif isinstance(figure, dict):
            bits = f", {figure['bits_per_byte']:.4f} bits per byte" if "bits_per_byte" in figure else ""
            others = figure.get("perplexity_without_unknown") if figure.get("unknown") else None
            bits += f", {perplexity_text(others)} without unknown" if others else ""
            protocol = protocol_in_words(figure["protocol"], split)
            print(f"{split:5}  perplexity {perplexity_text(figure['perplexity'])}{bits}  (protocol {protocol})")
    concerns: Any = summary.get("warnings", [])
    for line in concerns:
        # those about unknown words were logged before training
        if quiet or not is_about_unknown(line):
            log(f"note: {line}")
    following = [
        evaluate_command(summary),
        f"refrain tag {run} FILE" if tagger else f"refrain generate {run} --tokens 50",
    ]
    if isinstance(sparsity := summary.get("sparsity"), dict):
        following.append(f"refrain sparsity {run}")
        if any(sparsity["dead_units"].values()):
            following.append(f"refrain compress {run} --out SMALL")
    print()
    print_next(*following, f"cat {run}/README.md")
    if (page := Path(str(summary["run"])) / REPORT).exists():
        print_line(f"page:  {page}")


def _report_series(summary: dict[str, Any]) -> None:
    """Print a line for each seed or fold, then the mean and the standard deviation, and what is pooled."""
    from refrain.runs.outline import evaluate_command

    from .output import print_next

    what = "fold" if "folds" in summary else "seed"
    names = ["accuracy"] if summary.get("task") == "tagger" else ["perplexity"]
    names += [name for name in ("bits_per_byte", "span_f1") if name in summary["valid"] | summary["test"]]
    columns = [(split, name) for name in names for split in ("valid", "test")]
    print("  ".join([f"{what:>9}", *(f"{split + ' ' + name:>20}" for split, name in columns)]))
    for run in summary["runs"]:
        cells = [_figure(name, run[split].get(name)) for split, name in columns]
        print("  ".join([f"{run[what]:>9}", *(f"{cell:>20}" for cell in cells)]))
    for statistic in ("mean", "std"):
        cells = [_figure(name, summary[split].get(name, {}).get(statistic)) for split, name in columns]
        print("  ".join([f"{statistic:>9}", *(f"{cell:>20}" for cell in cells)]))
    if "pooled" in summary:
        pooled = summary["pooled"]
        low, high = pooled["interval"]
        accuracy = f"{100 * pooled['accuracy']:.2f} %  ({100 * low:.2f} to {100 * high:.2f})"
        done = len(summary["folds"])
        failed = len(summary.get("failed", ()))
        which = f"all {pooled['words']:,} words"
        if failed:
            which = f"{pooled['words']:,} words of {done} of {done + failed} folds"
        print(f"\n{which}, each tested once: accuracy {accuracy}")
        if "spans" in pooled:
            print(f"all {pooled['spans']['spans']:,} spans: F1 {100 * pooled['spans']['f1']:.2f} %")
    print()
    print_next(evaluate_command(summary["runs"][0]))


def _figure(name: str, value: float | None) -> str:
    if value is None:
        return "-"
    return (
        f"{100 * value:.2f} %"
        if name in ("accuracy", "span_f1")
        else f"{value:,.4f}"
        if name == "bits_per_byte"
        else perplexity_text(value)
    )
