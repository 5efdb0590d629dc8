"""What is said of a language model's run: before it and at its end."""

from typing import Any

import torch
from torch import nn

from refrain.config import Experiment
from refrain.data import Corpus
from refrain.evaluation import evaluate, protocol_windows
from refrain.evaluation.perplexity import Protocol
from refrain.models.network_check import class_name
from refrain.storage.run_folder import RunFolder
from refrain.training import Position

from .layout import sparse_plans
from .outline import load_best, summary_of


def describe(
    experiment: Experiment, corpus: Corpus, model: nn.Module, run: RunFolder, *, own: bool = False
) -> list[str]:
    """What is about to happen, in a few lines.

    Args:
        experiment: the settings.
        corpus: with its splits.
        model: that is trained.
        run: its folder.
        own: the model is a network of the user's own, which the settings do not describe.
    """
    splits = "  ".join(f"{name} {len(split.tokens):,}" for name, split in corpus.splits.items())
    unseen = ", ".join(f"{name} {split.unseen:,}" for name, split in corpus.splits.items() if split.unseen)
    sizes = "-".join(str(size) for size in experiment.model.hidden_sizes)
    shape = class_name(model) if own else f"{experiment.model.cell.kind} {experiment.model.embedding_size}-{sizes}"
    return [
        machine_line(model),
        f"data   {corpus.name}: {splits} tokens, vocabulary {len(corpus.vocabulary):,}"
        + (f"; words read as <unk>: {unseen}" if unseen else ""),
        *model_lines(shape, model),
        f"run    {run.path}",
    ]


def machine_line(model: nn.Module) -> str:
    """Versions, device and threads."""
    import refrain

    device = next(model.parameters()).device
    count = torch.get_num_threads()
    threads = f"{count} thread{'s' * (count > 1)}"
    return f"refrain {refrain.__version__}  torch {torch.__version__}  {device}  {threads}"


def model_lines(shape: str, model: nn.Module) -> list[str]:
    """The shape and the size of a model, and what its sparse layers are smaller than.

    Args:
        shape: in words.
        model: that is trained.
    """
    count = sum(parameter.numel() for parameter in model.parameters())
    lines = [f"model  {shape}, {count:,} parameters ({4 * count / 1e6:.1f} MB)"]
    for name, plan in sparse_plans(model).items():
        first = str(plan).splitlines()[0]
        short = (
            f"; asked for {plan.requested_parameters:,}, out of reach as every block sees all inputs"
            if plan.capped
            else ""
        )
        lines.append(f"sparse {name}: {first}{short}")
    return lines


def summarise(
    experiment: Experiment, corpus: Corpus, model: Any, run: RunFolder, position: Position, *, own: bool = False
) -> dict[str, Any]:
    """The final figures, with the weights of the best checkpoint. Changes the model's weights to those.

    Args:
        experiment: the settings.
        corpus: with its splits.
        model: that was trained.
        run: its folder.
        position: the end of the run.
        own: the model is a network of the user's own; the summary then names its class.
    """
    load_best(model, run, position)
    protocol = experiment.training.validation
    figures: dict[str, Any] = {}
    exact: dict[str, Any] = {}
    for split in ("valid", "test"):
        if split not in corpus.splits:
            figures[split] = exact[split] = None
            continue

        def measured(kind: Protocol, split: str = split) -> dict[str, Any]:
            tokens, steps = corpus.splits[split].tokens, experiment.training.window_steps
            windows = protocol_windows(
                tokens, kind, split=split, window_steps=steps, name=f"{corpus.name}, split {split!r}"
            )
            return {"protocol": kind, **evaluate(model, windows).document(corpus.vocabulary.bytes_per_token)}

        exact[split] = measured("exact")
        # on test every protocol is exact, and a pass over many bytes takes minutes
        same = split == "test" or protocol == "exact"
        figures[split] = {**exact[split], "protocol": protocol} if same else measured(protocol)
    network = {"network": class_name(model)} if own else {}
    about = {"run": str(run.path), "recipe": experiment.name, "corpus": corpus.name, **network}
    return summary_of(about, {**figures, "exact": exact}, model, position)
