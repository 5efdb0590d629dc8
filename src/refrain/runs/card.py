"""The card of a run: what it is, what was measured, how to use it."""

from typing import Any

from refrain.config import Experiment
from refrain.training.progress import duration


def card(summary: dict[str, Any], experiment: Experiment, manifest: dict[str, Any]) -> str:
    """A README for the run folder, with measured numbers only."""
    rows = []
    for split in ("valid", "test"):
        seen = set()
        for figure in (summary[split], summary["exact"][split]):
            if figure is not None and figure["protocol"] not in seen:
                seen.add(figure["protocol"])
                bits = f"{figure['bits_per_byte']:.4f}" if "bits_per_byte" in figure else ""
                rows.append(
                    f"| {split} | {figure['protocol']} | {figure['tokens']:,} | {figure['nats_per_token']:.4f} "
                    f"| {figure['perplexity']:.2f} | {bits} |"
                )
    model = experiment.model
    sizes = "-".join(str(size) for size in (model.embedding_size, *model.hidden_sizes))
    own = summary.get("network")
    shape = f"{model.cell.kind} {sizes}" if own is None else f"the network `{own}`"
    data = manifest["data"]
    lines = [
        f"# {summary['recipe']} on {summary['corpus']}",
        "",
        f"A language model over {data['unit']}s: {shape}, {summary['parameters']:,} parameters,",
        f"vocabulary {data['vocabulary']:,}. Trained for {summary['epochs']} epoch(s) in "
        f"{duration(summary['train_seconds'])}; the figures",
        f"are those of the best on validation, epoch {summary['best_epoch']}.",
        *([f"Methods besides the settings: {', '.join(summary['methods'])}."] if "methods" in summary else []),
        "",
        "| split | protocol | tokens | nats per token | perplexity | bits per byte |",
        "|---|---|---|---|---|---|",
        *rows,
        "",
        f"Measured with refrain {manifest['refrain']}, torch {manifest['torch']}, Python {manifest['python']} on "
        f"{manifest['machine']},",
        f"{manifest['threads']} thread(s), seed {manifest['seed']}. `config.json` holds every setting, `manifest.json`",
        "the sha256 of the text.",
        "",
        *(_commands(summary["run"]) if own is None else _calls(summary["run"], own)),
    ]
    return "\n".join(lines) + "\n"


def _commands(run: str) -> list[str]:
    return [
        "```sh",
        f"refrain evaluate {run}",
        f"refrain generate {run} --tokens 50",
        "```",
        "",
        "`best/` holds settings, weights and vocabulary; copy it anywhere and give it to the same commands.",
    ]


def _calls(run: str, own: str) -> list[str]:
    return [
        f"The `model` settings in `config.json` do not describe it. Load it with `network`, an instance of `{own}`",
        "or a function of the vocabulary that makes one:",
        "",
        "```python",
        f"lm = refrain.load({run!r}, model=network)",
        "print(lm.generate(tokens=50)[0])",
        "```",
        "",
        "`best/` holds settings, weights and vocabulary; copy it anywhere and load it in the same way.",
    ]
