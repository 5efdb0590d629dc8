"""Builds training tasks from settings: optimiser, schedule, windows and methods."""

from collections.abc import Mapping
from functools import lru_cache, partial
from typing import Literal

import torch
from torch import nn

from refrain import optim
from refrain.config import (
    NTASGD,
    SGD,
    Experiment,
    ExponentialSchedule,
    PlateauSchedule,
    RandomWindows,
    TaggerTraining,
    Training,
)
from refrain.config import Schedule as ScheduleSettings
from refrain.data import Corpus, Windows, random_lengths
from refrain.evaluation import evaluate, protocol_windows
from refrain.generation import Sampler, generate
from refrain.models import LanguageModel
from refrain.nn.precision import HALF
from refrain.optim.eager import EagerAdam, EagerSGD
from refrain.parallel import Ranks
from refrain.progress import Track
from refrain.training import LossTerm, Methods, Task, Validation
from refrain.training.accuracy import TrainingAccuracy
from refrain.training.regularisers import activation_penalty, temporal_penalty

from .backend import trains_natively
from .sparsity import build_sparsifier


def build_optimizer(settings: Training | TaggerTraining, model: nn.Module) -> torch.optim.Optimizer:
    """Build the optimiser for all parameters of a model. ASGD and NT-ASGD are SGD with `build_averaging`.

    It uses native kernels if a part of the model does, so call it after `choose_backends`.
    """
    rate, decay = settings.learning_rate, settings.weight_decay
    if settings.optimizer.kind == "adam":
        return EagerAdam(model.parameters(), lr=rate, weight_decay=decay, fused=True)
    if isinstance(settings.optimizer, SGD) and settings.optimizer.momentum:
        momentum = settings.optimizer.momentum
        # see `optim.SGD` about parameters of half precision
        fused = not any(parameter.dtype in HALF for parameter in model.parameters())
        return EagerSGD(model.parameters(), lr=rate, momentum=momentum, weight_decay=decay, fused=fused)
    return optim.SGD(model.parameters(), lr=rate, weight_decay=decay, native=trains_natively(model))


def build_averaging(settings: Training, model: nn.Module) -> optim.TriggeredAveraging | None:
    """Build the weight averaging of ASGD or NT-ASGD, or return None for other optimisers."""
    if isinstance(settings.optimizer, NTASGD):
        window = settings.optimizer.trigger_window
        return optim.TriggeredAveraging(model.parameters(), trigger_window=window, started=False)
    if settings.optimizer.kind == "asgd":
        return optim.TriggeredAveraging(model.parameters(), trigger_window=0, started=True)
    return None


def build_windows(settings: Training, corpus: Corpus, epoch: int) -> Windows:
    """Build the windows of an epoch, counted from 0. Random lengths depend on the seed and the epoch only.

    Raises:
        DataError: when the training text is too short.
    """
    lengths = None
    tail: Literal["drop", "keep"] = "keep"
    if isinstance(settings.windows, RandomWindows):
        # a separate generator, so that the windows of an epoch are the same after a restart
        generator = torch.Generator().manual_seed((settings.seed * 1_000_003 + epoch) % 2**63)
        lengths = random_lengths(settings.window_steps, settings.windows.cap or settings.window_steps + 20, generator)
    else:
        tail = settings.windows.tail
    return Windows(
        corpus.splits["train"].tokens,
        batch_size=settings.batch_size,
        window_steps=settings.window_steps,
        tail=tail,
        lengths=lengths,
        name=f"{corpus.name}, split 'train'",
    )


def build_methods(
    experiment: Experiment, model: LanguageModel, steps: int, own: Mapping[str, object] | None = None
) -> Methods:
    """Build the methods of a run, in the order in which they act.

    Args:
        experiment: the settings of the run.
        model: the model with its initial weights.
        steps: the number of training steps of the whole run.
        own: methods given by the user, by name.
    """
    settings = experiment.training
    first: dict[str, object] = {}
    last: dict[str, object] = {}
    if settings.activation_penalty:
        first["activation_penalty"] = LossTerm(activation_penalty(settings.activation_penalty))
    if settings.temporal_penalty:
        first["temporal_penalty"] = LossTerm(temporal_penalty(settings.temporal_penalty))
    sparsifier = build_sparsifier(experiment, model, steps)
    if sparsifier is not None:
        first["sparsifier"] = sparsifier
    if settings.train_accuracy:
        first["accuracy"] = TrainingAccuracy(settings.stop_accuracy)
    averaging = build_averaging(settings, model)
    if averaging is not None:
        last["averaging"] = averaging
    if settings.stop_window:
        last["early_stop"] = optim.EarlyStop(settings.stop_window, min_epochs=settings.stop_min_epochs)
    return Methods(first, own, last)


def build_schedule(settings: ScheduleSettings) -> optim.Schedule:
    """Build the schedule of the learning rate."""
    if isinstance(settings, PlateauSchedule):
        return optim.Plateau(settings.decay)
    if isinstance(settings, ExponentialSchedule):
        return optim.Fixed(
            lambda epoch, progress: optim.exponential(
                epoch, hold_epochs=settings.hold_epochs, decay=settings.decay, step_epochs=settings.step_epochs
            )
        )
    return optim.Fixed({"constant": optim.constant, "linear": optim.linear, "cosine": optim.cosine}[settings.kind])


def build_task(
    experiment: Experiment, corpus: Corpus, model: LanguageModel, methods: Mapping[str, object] | None = None
) -> Task:
    """Build the training task of a language model.

    Args:
        experiment: the settings of the run.
        corpus: a corpus with the splits `train` and `valid`.
        model: the model on its device.
        methods: methods given by the user, by name.

    Raises:
        DataError: when a split is too short for its windows.
    """
    settings = experiment.training
    windows = lru_cache(maxsize=1)(partial(build_windows, settings, corpus))
    # raises for a text that is too short, before anything is written
    windows(0)
    name = f"{corpus.name}, split 'valid'"
    tokens = corpus.splits["valid"].tokens
    valid = protocol_windows(tokens, settings.validation, split="valid", window_steps=settings.window_steps, name=name)

    def validate(track: Track, ranks: Ranks) -> Validation:
        figure = evaluate(model, valid, track=track, what="measuring the validation text", ranks=ranks)
        return Validation(figure.nats, figure.tokens)

    return Task(
        model=model,
        optimizer=build_optimizer(settings, model),
        windows=windows,
        batch_size=settings.batch_size,
        schedule=build_schedule(settings.schedule),
        learning_rate=settings.learning_rate,
        epochs=settings.epochs,
        loss_scale=settings.loss_scale,
        max_norm=settings.max_norm,
        validate=validate,
        sample=partial(_sample, model, corpus, settings) if settings.sample_tokens else None,
        methods=build_methods(experiment, model, _count_steps(experiment, corpus), methods),
        log_windows=settings.log_windows,
        validation_windows=settings.validation_windows,
        sample_windows=settings.sample_windows,
        carry_state=settings.state == "carry",
        checkpoint_minutes=settings.checkpoint_minutes,
        accumulate=settings.accumulate_windows,
        max_minutes=settings.max_minutes,
    )


def _count_steps(experiment: Experiment, corpus: Corpus) -> int:
    """The number of updates of the whole run."""
    settings = experiment.training
    # each epoch draws other windows, which takes seconds for many epochs and matters for courses over the run alone
    drawn = isinstance(settings.windows, RandomWindows) and (experiment.sparsity.target or experiment.sparsity.prune)
    epochs = range(settings.epochs if drawn else 1)
    updates = [-(-len(build_windows(settings, corpus, epoch)) // settings.accumulate_windows) for epoch in epochs]
    return sum(updates) if drawn else updates[0] * settings.epochs


def _sample(model: LanguageModel, corpus: Corpus, settings: Training, step: int) -> str:
    # a separate generator, so that sampling does not change the random numbers of the run
    generator = torch.Generator().manual_seed((settings.seed + step) % 2**63)
    drawn = generate(model, [corpus.vocabulary.line_end], Sampler(), tokens=settings.sample_tokens, generator=generator)
    return corpus.vocabulary.decode([ids[0] for ids in drawn if ids[0] is not None])
