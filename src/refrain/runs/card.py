"""The card of a language model's run: a README with the model, the measured figures and the usage."""

from typing import Any

from refrain.config import Experiment

from .outline import card_of, commands


def card(summary: dict[str, Any], experiment: Experiment, manifest: dict[str, Any]) -> str:
    """The README of the run folder, with measured figures only."""
    rows = []
    for split in ("valid", "test"):
        seen = set()
        for figure in (summary[split], summary["exact"][split]):
            if figure is not None and figure["protocol"] not in seen:
                seen.add(figure["protocol"])
                # words have no such figure, and the table no empty column
                bits = f" {figure['bits_per_byte']:.4f} |" if "bits_per_byte" in figure else ""
                rows.append(
                    f"| {split} | {figure['protocol']} | {figure['tokens']:,} | {figure['nats_per_token']:.4f} "
                    f"| {figure['perplexity']:.2f} |{bits}"
                )
    per_byte = any(figure is not None and "bits_per_byte" in figure for figure in (summary["valid"], summary["test"]))
    model = experiment.model
    sizes = "-".join(str(size) for size in (model.embedding_size, *model.hidden_sizes))
    own = summary.get("network")
    shape = f"{model.cell.kind} {sizes}" if own is None else f"the network `{own}`"
    run = summary["run"]
    return card_of(
        f"A language model over {manifest['data']['unit']}s: {shape}",
        [],
        [
            f"| split | protocol | tokens | nats per token | perplexity |{' bits per byte |' * per_byte}",
            f"|---|---|---|---|---|{'---|' * per_byte}",
            *rows,
        ],
        _usage(run, own),
        summary,
        manifest,
    )


def _usage(run: str, own: str | None) -> list[str]:
    if own is None:
        return commands(f"refrain evaluate {run}", f"refrain generate {run} --tokens 50")
    return [
        f"The `model` settings in `config.json` do not describe it. Load it with `network`, an instance of `{own}`",
        "or a function that maps the vocabulary to one:",
        "",
        "```python",
        f"lm = refrain.load({run!r}, model=network)",
        "print(lm.generate(tokens=50)[0])",
        "```",
        "",
        "`best/` contains settings, weights and vocabulary; it can be copied anywhere and loaded in the same way.",
    ]
