"""Training speed against the loop that one would write in plain PyTorch, and against the machine's own limit.

T steps in the window, B sequences, V words in the vocabulary.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from refrain.assembly import build_model, build_optimizer
from refrain.assembly.backend import choose_backends
from refrain.config import Experiment, Model, Training
from refrain.errors import UserError
from refrain.models import LanguageModel
from refrain.nn.kernels.allocator import keep_freed_memory
from refrain.training import Hooks, train_round

from .limits import limit_rows, limits, precisions, share_of_limit
from .timing import interleaved, rows_against

VOCABULARY = 10_000
ALONE = "cuDNN's LSTM alone"


class PlainModel(nn.Module):
    """The model of a tutorial: nn.Embedding, nn.LSTM, nn.Linear. The yardstick, kept free of anything of ours."""

    def __init__(
        self, vocabulary_size: int, embedding_size: int, hidden_size: int, layers: int, dropout: float
    ) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary_size, embedding_size)
        self.dropout = nn.Dropout(dropout)
        self.lstm = nn.LSTM(embedding_size, hidden_size, layers, dropout=dropout if layers > 1 else 0.0)
        self.linear = nn.Linear(hidden_size, vocabulary_size)

    def forward(self, inputs: Tensor, state: tuple[Tensor, Tensor]) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """ids (T, B) -> logits (T, B, V) and the state."""
        outputs, state = self.lstm(self.dropout(self.embedding(inputs)), state)
        return self.linear(self.dropout(outputs)), state


def plain_round(
    model: PlainModel,
    windows: list[tuple[Tensor, Tensor]],
    state: tuple[Tensor, Tensor],
    optimizer: torch.optim.Optimizer,
    max_norm: float,
) -> tuple[Tensor, Tensor]:
    """The loop of a tutorial, with the loss summed over time."""
    for inputs, targets in windows:
        state = (state[0].detach(), state[1].detach())
        logits, state = model(inputs, state)
        loss = nn.functional.cross_entropy(logits.flatten(0, 1), targets.flatten()) * len(inputs)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), max_norm)
        optimizer.step()
        loss.item()
    return state


def bench_train(experiment: Experiment, *, windows: int, repeats: int, device: torch.device) -> list[dict[str, Any]]:
    """Tokens per second of the plain loop and of ours in each precision, in turns, and the machine's limits.

    The text is random tokens drawn by Zipf's law over 10,000 words; nothing of it depends on a corpus. On a GPU,
    cuDNN's LSTM of the same shape stands beside them, forward and backward, without embedding, head and update.

    Args:
        experiment: its model and training settings; layers of one width, and SGD, so that the plain loop can match it.
        windows: how many a timed call trains.
        repeats: how many timed calls of each.
        device: where.

    Raises:
        UserError: when the plain loop has no counterpart.
    """
    shape, settings = experiment.model, experiment.training
    if found := _without_counterpart(experiment):
        raise UserError(
            f"bench train compares with a plain loop over LSTMs of one width, an untied softmax and SGD, which has no "
            f"{', '.join(found)}; choose such a recipe, as zaremba-small"
        )
    torch.manual_seed(settings.seed)
    text = random_windows(windows, settings.window_steps, settings.batch_size, device)
    size, layers = shape.hidden_sizes[0], len(shape.hidden_sizes)
    plain = PlainModel(VOCABULARY, shape.embedding_size, size, layers, shape.dropout).to(device)
    plain_optimizer = torch.optim.SGD(plain.parameters(), lr=settings.learning_rate)
    zeros = torch.zeros(layers, settings.batch_size, size, device=device)

    def train_plain() -> None:
        # as in a process of its own; the state that ours leaves it in is faster
        keep_freed_memory(False)
        plain_round(plain, text, (zeros, zeros), plain_optimizer, settings.max_norm or 1e9)

    ours = {f"refrain, {precision}": precision for precision in precisions(device)}
    candidates = {"plain": train_plain}
    for name, precision in ours.items():
        candidates[name] = trainer(shape, settings.model_copy(update={"precision": precision}), text)
    if device.type == "cuda":
        inputs = torch.randn(settings.window_steps, settings.batch_size, shape.embedding_size, device=device)
        candidates[ALONE] = _lstm_alone(nn.LSTM(shape.embedding_size, size, layers).to(device), inputs, windows)
    seconds = interleaved({**candidates, **limits(device)}, repeats=repeats)
    tokens = windows * settings.window_steps * settings.batch_size
    rows = rows_against("plain", {name: seconds[name] for name in candidates}, tokens, "tokens/s")
    for line in rows:
        vocabulary = 0 if line["name"] == ALONE else VOCABULARY
        flops = tokens * _flops_per_token(shape.embedding_size, size, layers, vocabulary)
        line["of_limit"] = share_of_limit(seconds, line["name"], flops, ours.get(line["name"], "float32"), device)
    return rows + limit_rows(seconds, device)


def _without_counterpart(experiment: Experiment) -> list[str]:
    """Settings of the model and the update that a plain loop does not have."""
    shape, settings = experiment.model, experiment.training
    found = [
        name
        for name in (
            *("cell", "embedding", "head", "tied", "weight_drop", "weight_norm", "word_dropout", "dropout_mask"),
            *("embedding_dropout", "between_dropout", "output_dropout"),
        )
        if getattr(shape, name) != Model.model_fields[name].default
    ]
    update = ("optimizer", "weight_decay")
    found += [name for name in update if getattr(settings, name) != Training.model_fields[name].default]
    return found + ["hidden_sizes of several widths"] * (len(set(shape.hidden_sizes)) > 1)


def trainer(shape: Model, settings: Training, text: list[tuple[Tensor, Tensor]]) -> Callable[[], None]:
    """A call that trains a new model on all of a text.

    Args:
        shape: of the model.
        settings: of the training.
        text: inputs and targets, each (T, B), on the device to train on.
    """
    torch.manual_seed(settings.seed)
    model = build_model(shape, VOCABULARY).to(text[0][0].device)
    choose_backends(settings, model)
    return training_loop(model, text, settings, build_optimizer(settings, model), Hooks())


def training_loop(
    model: LanguageModel,
    text: list[tuple[Tensor, Tensor]],
    settings: Training,
    optimizer: torch.optim.Optimizer,
    hooks: Hooks,
) -> Callable[[], None]:
    """A call that trains on all of a text.

    Args:
        model: is trained on from call to call.
        text: inputs and targets, each (T, B).
        settings: of the training.
        optimizer: over the model's parameters.
        hooks: what acts on the loop.
    """

    def run() -> None:
        keep_freed_memory(settings.backend != "torch")
        state = model.initial_state(settings.batch_size)
        scale, norm = settings.loss_scale, settings.max_norm
        train_round(model, text, state, optimizer, loss_scale=scale, max_norm=norm, hooks=hooks)

    return run


def random_windows(count: int, steps: int, batch_size: int, device: torch.device) -> list[tuple[Tensor, Tensor]]:
    """Inputs and targets (T, B) of a text drawn by Zipf's law.

    Args:
        count: how many windows.
        steps: T.
        batch_size: B.
        device: where.
    """
    weights = 1.0 / torch.arange(1, VOCABULARY + 1, dtype=torch.float64)
    ids = torch.multinomial(weights, count * (steps + 1) * batch_size, replacement=True).to(device)
    return [(block[:-1], block[1:]) for block in ids.view(count, steps + 1, batch_size)]


def _lstm_alone(lstm: nn.LSTM, inputs: Tensor, windows: int) -> Callable[[], None]:
    inputs.requires_grad_()

    def run() -> None:
        for _ in range(windows):
            lstm.zero_grad()
            lstm(inputs)[0].sum().backward()

    return run


def _flops_per_token(embedding_size: int, hidden_size: int, layers: int, vocabulary: int) -> int:
    """Multiplications and additions of forward and backward: three products for each weight but the embedding's."""
    inputs = [embedding_size, *[hidden_size] * (layers - 1)]
    recurrent = sum(4 * hidden_size * (below + hidden_size) for below in inputs)
    return 3 * 2 * (recurrent + hidden_size * vocabulary)
