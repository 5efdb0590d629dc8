"""The description of a language model's run before training, and its summary after training."""

from functools import partial
from typing import Any

import torch
from torch import nn

from refrain.assembly.widths import removable_widths
from refrain.config import Experiment
from refrain.data import Corpus, text_size
from refrain.data.unknown import unknown_concerns
from refrain.evaluation import evaluate, protocol_windows
from refrain.evaluation.perplexity import Protocol, guessing_concerns
from refrain.models.network_check import class_name
from refrain.parallel import ALONE, Ranks, present
from refrain.progress import Track, untracked
from refrain.sparsity import dead_by_width, model_size
from refrain.sparsity.report import report
from refrain.storage.run_folder import RunFolder
from refrain.training import Position

from .layout import sparse_plans
from .outline import load_best, summary_of


def describe(
    experiment: Experiment, corpus: Corpus, model: nn.Module, run: RunFolder, *, own: bool = False
) -> list[str]:
    """Describe a run in a few lines of text, before training.

    Args:
        experiment: the settings of the run.
        corpus: the corpus.
        model: the model to train.
        run: the run folder.
        own: whether the model is given by the user, so that the settings do not describe it.
    """
    splits = "  ".join(f"{name} {len(split.tokens):,}" for name, split in corpus.splits.items())
    unseen = ", ".join(f"{name} {split.unseen:,}" for name, split in corpus.splits.items() if split.unseen)
    sizes = "-".join(str(size) for size in experiment.model.hidden_sizes)
    shape = class_name(model) if own else f"{experiment.model.cell.kind} {experiment.model.embedding_size}-{sizes}"
    return [
        machine_line(model),
        f"data   {corpus.name}: {splits} tokens, vocabulary {len(corpus.vocabulary):,}"
        + (f"; {corpus.vocabulary.unit}s read as {_unknown(corpus)}: {unseen}" if unseen else ""),
        *(f"note: {line}" for line in _concerns(experiment, corpus)),
        *model_lines(shape, model),
        f"run    {run.path}",
    ]


def _unknown(corpus: Corpus) -> str:
    unknown = corpus.vocabulary.unknown
    return "" if unknown is None else corpus.vocabulary.token(unknown)


def _concerns(experiment: Experiment, corpus: Corpus) -> list[str]:
    measured = {name: split for name, split in corpus.splits.items() if name != "train"}
    texts = {name: (split.unseen, len(split.tokens)) for name, split in measured.items()}
    return unknown_concerns(corpus.vocabulary, texts, in_training=True, min_count=experiment.data.min_count)


def machine_line(model: nn.Module) -> str:
    """A line of text with versions, device and threads."""
    import refrain

    device = next(model.parameters()).device
    count = torch.get_num_threads()
    threads = f"{count} thread{'s' * (count > 1)}"
    if (size := present().size) > 1:
        threads = f"{size} processes of {threads}"
    return f"refrain {refrain.__version__}  torch {torch.__version__}  {device}  {threads}"


def model_lines(shape: str, model: nn.Module) -> list[str]:
    """Describe the shape and the size of a model and its sparse layers in lines of text.

    Args:
        shape: the shape of the model as text.
        model: the model to train.
    """
    count = sum(parameter.numel() for parameter in model.parameters())
    lines = [f"model  {shape}, {count:,} parameters ({4 * count / 1e6:.1f} MB)"]
    for name, plan in sparse_plans(model).items():
        first = str(plan).splitlines()[0]
        shortfall = (
            f"; {plan.requested_parameters:,} requested, but every block already reads all inputs"
            if plan.capped
            else ""
        )
        lines.append(f"sparse {name}: {first}{shortfall}")
    return lines


def summarise(
    experiment: Experiment,
    corpus: Corpus,
    model: Any,
    run: RunFolder,
    position: Position,
    track: Track = untracked,
    ranks: Ranks = ALONE,
    *,
    own: bool = False,
) -> dict[str, Any]:
    """Measure the best checkpoint and summarise the run. The model gets the weights of the checkpoint.

    Args:
        experiment: the settings of the run.
        corpus: the corpus.
        model: the trained model.
        run: the run folder.
        position: the position at the end of the run.
        track: reports the loops over the texts.
        ranks: the processes that have trained the model, each of which measures something.
        own: whether the model is given by the user, so that the summary names its class.
    """
    load_best(model, run, position)
    protocol = experiment.training.validation

    def measured(split: str, name: Protocol) -> dict[str, Any]:
        tokens = corpus.splits[split].tokens
        steps = experiment.training.window_steps
        windows = protocol_windows(
            tokens, name, split=split, window_steps=steps, name=f"{corpus.name}, split {split!r}"
        )
        what = f"measuring the {split} text, protocol {name}"
        figure = evaluate(model, windows, corpus.vocabulary, track=track, what=what)
        return {"protocol": name, **figure.document(text_size(corpus, split))}

    splits = [split for split in ("valid", "test") if split in corpus.splits]
    # every protocol is exact on the test split, and another pass over many bytes would take minutes
    passes: list[tuple[str, Protocol]] = [(split, "exact") for split in splits]
    if "valid" in splits and protocol != "exact":
        passes.append(("valid", protocol))
    documents = ranks.deal([partial(measured, *each) for each in passes])
    found = dict(zip(passes, documents, strict=True))
    exact = {split: found.get((split, "exact")) for split in ("valid", "test")}
    figures: dict[str, Any] = {"valid": None, "test": None}
    for split in splits:
        figures[split] = found.get((split, protocol)) or {**found[split, "exact"], "protocol": protocol}
    network = {"network": class_name(model)} if own else {}
    sparsity: dict[str, Any] = {}
    lost: list[str] = []
    if experiment.sparsity.active():
        sparsity["sparsity"], lost = _sparsity(experiment, model)
    named = {f"the {split} text": figures[split] for split in splits}
    concerns = _concerns(experiment, corpus) + guessing_concerns(named, len(corpus.vocabulary)) + lost
    about = {"run": str(run.path), "recipe": experiment.name, "corpus": corpus.name, **network}
    figures |= {"exact": exact, **sparsity, "warnings": concerns}
    return summary_of(about, figures, model, position, experiment.training.epochs)


def _sparsity(experiment: Experiment, model: Any) -> tuple[dict[str, Any], list[str]]:
    """The zeros, the dead units and the size without them; and warnings about layers that have lost their units."""
    found = report(dict(model.named_parameters()), model.axes(), model.widths(), removable_widths(model))
    rows = found["widths"]
    dead = {width: row["dead"] for width, row in rows.items()}
    figures = {"zeros": found["zeros"], "dead_units": dead, "compact_parameters": found["compact_parameters"]}
    sparsity = experiment.sparsity
    ways = ["a larger target"] * (sparsity.target is not None) + ["a lower strength"] * sparsity.penalised()
    ways += ["a smaller sparsity.prune.share"] * (sparsity.prune is not None)
    if sparsity.group_lasso is not None and sparsity.group_lasso.scaling == "none":
        ways.append("sparsity.group_lasso.scaling=sqrt-size, by which widths of other sizes are penalised alike")
    remedy = f"train again with {' or '.join(ways)}" if ways else "start from another run"
    lost = [
        f"{width}: {row['left']} of {row['units']:,} units {'is' if row['left'] == 1 else 'are'} left, so that almost "
        f"nothing passes through it; {remedy}"
        for width, row in rows.items()
        if row["left"] <= 1 < row["units"]
    ]
    return figures, _missed(experiment, model) + lost


def _missed(experiment: Experiment, model: Any) -> list[str]:
    """A warning about a target size that the best model does not have."""
    measure, target = (None, None) if experiment.sparsity.target is None else experiment.sparsity.target.chosen()
    if measure is None or not isinstance(target, int):
        return []
    table = model.axes()
    dead = dead_by_width(dict(model.named_parameters()), table, removable_widths(model))
    size = model_size(measure, table, model.widths(), dead)
    if size <= target:
        return []
    left = f"the target of {target:,} {measure} is not reached, as {size:,} are left"
    return [f"{left}; train for longer, or with a larger one"]
