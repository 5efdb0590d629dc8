"""Model and training settings -> network, optimiser, schedule, task."""

from functools import partial

import torch
from torch import nn

from refrain import optim
from refrain.config import Experiment, Model, Training
from refrain.config import Schedule as ScheduleSettings
from refrain.data import Corpus, Windows
from refrain.errors import UserError
from refrain.evaluation import evaluate, protocol_windows
from refrain.generation import Sampler, generate
from refrain.models import LanguageModel
from refrain.nn import LSTM, Embedding, RecurrentStack, SoftmaxHead
from refrain.training import Task


def build_model(settings: Model, vocabulary_size: int) -> LanguageModel:
    """The network, freshly initialised from the global generator.

    Args:
        settings: its shape.
        vocabulary_size: V.
    """
    embedding = Embedding(vocabulary_size, settings.embedding_size)
    inputs = (settings.embedding_size, *settings.hidden_sizes)
    layers = [LSTM(below, width) for below, width in zip(inputs, settings.hidden_sizes, strict=False)]
    head = SoftmaxHead(settings.hidden_sizes[-1], vocabulary_size, weight=embedding.weight if settings.tied else None)
    model = LanguageModel(
        embedding,
        RecurrentStack(layers, between=_dropout(settings.between_dropout, settings.dropout)),
        head,
        embedding_dropout=_dropout(settings.embedding_dropout, settings.dropout),
        output_dropout=_dropout(settings.output_dropout, settings.dropout),
    )
    if settings.init_scale is not None:
        model.init_uniform(settings.init_scale)
    return model


def _dropout(rate: float | None, default: float) -> nn.Module | None:
    rate = default if rate is None else rate
    return nn.Dropout(rate) if rate else None


def build_device(name: str) -> torch.device:
    """The device of a setting: `auto` takes a CUDA device where there is one.

    Raises:
        UserError: when CUDA was asked for and is not there.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda" and not torch.cuda.is_available():
        raise UserError("training.device: no CUDA device is available; use 'cpu' or 'auto'")
    return torch.device(name)


def build_optimizer(settings: Training, model: nn.Module) -> torch.optim.Optimizer:
    """The update rule over all parameters of a model."""
    if settings.optimizer == "sgd":
        return torch.optim.SGD(
            model.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay, fused=True
        )
    return torch.optim.Adam(
        model.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay, fused=True
    )


def build_schedule(settings: ScheduleSettings) -> optim.Schedule:
    """The schedule of the learning rate."""
    if settings.kind == "plateau":
        return optim.Plateau(settings.decay)
    if settings.kind == "exponential":
        return optim.Fixed(
            lambda epoch, progress: optim.exponential(epoch, hold_epochs=settings.hold_epochs, decay=settings.decay)
        )
    return optim.Fixed({"constant": optim.constant, "linear": optim.linear, "cosine": optim.cosine}[settings.kind])


def build_task(experiment: Experiment, corpus: Corpus, model: LanguageModel) -> Task:
    """All that a run trains with.

    Args:
        experiment: the settings.
        corpus: with the splits `train` and `valid`.
        model: on its device.

    Raises:
        DataError: when a split is too short for its windows.
    """
    settings = experiment.training
    windows = Windows(
        corpus.splits["train"].tokens,
        batch_size=settings.batch_size,
        window_steps=settings.window_steps,
        tail=settings.tail,
        name=f"{corpus.name}, split 'train'",
    )
    valid = protocol_windows(
        corpus.splits["valid"].tokens,
        settings.validation,
        split="valid",
        window_steps=settings.window_steps,
        name=f"{corpus.name}, split 'valid'",
    )

    def validate() -> tuple[float, int]:
        figure = evaluate(model, valid)
        return figure.nats, figure.tokens

    schedule = build_schedule(settings.schedule)
    return Task(
        model=model,
        optimizer=build_optimizer(settings, model),
        windows=windows,
        schedule=schedule,
        learning_rate=settings.learning_rate,
        epochs=settings.epochs,
        loss_scale=settings.loss_scale,
        max_norm=settings.max_norm,
        validate=validate,
        sample=partial(_sample, model, corpus, settings) if settings.sample_tokens else None,
        stateful={"schedule": schedule},
        log_windows=settings.log_windows,
        checkpoint_minutes=settings.checkpoint_minutes,
    )


def _sample(model: LanguageModel, corpus: Corpus, settings: Training, step: int) -> str:
    # a generator of its own, so that samples leave the run's random numbers alone
    generator = torch.Generator().manual_seed(settings.seed + step)
    drawn = generate(model, [corpus.vocabulary.line_end], Sampler(), tokens=settings.sample_tokens, generator=generator)
    return corpus.vocabulary.decode([ids[0] for ids in drawn if ids[0] is not None])
