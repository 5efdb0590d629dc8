"""Training speed, compared with a loop in plain PyTorch and with the limits of the machine.

T steps in the window, batch B, V words in the vocabulary.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from refrain.assembly import build_model, build_optimizer
from refrain.assembly.choosing import choose_measured, window_shape
from refrain.config import Experiment, Model, Training
from refrain.errors import UserError
from refrain.models import LanguageModel
from refrain.nn.kernels.allocator import keep_freed_memory
from refrain.training import Hooks, train_round

from .limits import limit_rows, limits, precisions, share_of_limit
from .timing import interleaved, rows_against

VOCABULARY = 10_000
ALONE = "cuDNN's LSTM alone"
# settings that the plain loop does not have
MODEL_SETTINGS = (
    "cell", "embedding", "head", "tied", "weight_drop", "weight_norm", "word_dropout", "dropout_mask",
    "embedding_dropout", "between_dropout", "output_dropout",
)  # fmt: skip
UPDATE_SETTINGS = ("optimizer", "weight_decay")


class PlainModel(nn.Module):
    """The model of a tutorial: nn.Embedding, nn.LSTM and nn.Linear. The baseline uses nothing of this library."""

    def __init__(
        self, vocabulary_size: int, embedding_size: int, hidden_size: int, layers: int, dropout: float
    ) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary_size, embedding_size)
        self.dropout = nn.Dropout(dropout)
        self.lstm = nn.LSTM(embedding_size, hidden_size, layers, dropout=dropout if layers > 1 else 0.0)
        self.linear = nn.Linear(hidden_size, vocabulary_size)

    def forward(self, inputs: Tensor, state: tuple[Tensor, Tensor]) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """Map ids (T, B) to logits (T, B, V) and the state."""
        outputs, state = self.lstm(self.dropout(self.embedding(inputs)), state)
        return self.linear(self.dropout(outputs)), state


def plain_round(
    model: PlainModel,
    windows: list[tuple[Tensor, Tensor]],
    state: tuple[Tensor, Tensor],
    optimizer: torch.optim.Optimizer,
    max_norm: float,
) -> tuple[Tensor, Tensor]:
    """Train with the loop of a tutorial; the loss is summed over time."""
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
    """Measure the tokens per second of the plain loop and of this library in each precision, in turns.

    The text is random tokens, drawn by Zipf's law from 10,000 words, and needs no corpus. On a GPU, forward and
    backward passes of cuDNN's LSTM of the same shape, without embedding, head and update, are measured as well.

    Args:
        experiment: its model and training settings; layers of one width, and SGD, so that the plain loop can match it.
        windows: the number of windows that a timed call trains on.
        repeats: the number of timed calls of each candidate.
        device: the device to measure on.

    Returns:
        A row for each candidate and each limit.

    Raises:
        UserError: when the plain loop has no counterpart of a setting.
    """
    shape, settings = experiment.model, experiment.training
    if missing := _without_counterpart(experiment):
        raise UserError(
            f"bench train compares with a plain loop over LSTMs of one width, an untied softmax and SGD, which has no "
            f"{', '.join(missing)}; choose a recipe without, such as zaremba-small"
        )
    torch.manual_seed(settings.seed)
    text = random_windows(windows, settings.window_steps, settings.batch_size, device)
    size = shape.hidden_sizes[0]
    layers = len(shape.hidden_sizes)
    plain = PlainModel(VOCABULARY, shape.embedding_size, size, layers, shape.dropout).to(device)
    plain_optimizer = torch.optim.SGD(plain.parameters(), lr=settings.learning_rate)
    zeros = torch.zeros(layers, settings.batch_size, size, device=device)

    def train_plain() -> None:
        # reset the allocator first, or the plain loop would benefit from the library's settings
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
    """The names of settings of the model and of the update that the plain loop does not have."""
    shape, settings = experiment.model, experiment.training
    missing = [name for name in MODEL_SETTINGS if getattr(shape, name) != Model.model_fields[name].default]
    missing += [name for name in UPDATE_SETTINGS if getattr(settings, name) != Training.model_fields[name].default]
    return missing + ["hidden_sizes of several widths"] * (len(set(shape.hidden_sizes)) > 1)


def trainer(shape: Model, settings: Training, text: list[tuple[Tensor, Tensor]]) -> Callable[[], None]:
    """Build a model and return a call that trains it on the whole text, with the backends that a long run measures.

    Args:
        shape: the model settings.
        settings: the training settings.
        text: inputs and targets, each (T, B), on the device to train on.
    """
    torch.manual_seed(settings.seed)
    model = build_model(shape, VOCABULARY).to(text[0][0].device)
    choose_measured(settings, model, window_shape(settings, shape, VOCABULARY))
    return training_loop(model, text, settings, build_optimizer(settings, model), Hooks())


def training_loop(
    model: LanguageModel,
    text: list[tuple[Tensor, Tensor]],
    settings: Training,
    optimizer: torch.optim.Optimizer,
    hooks: Hooks,
) -> Callable[[], None]:
    """Return a call that trains a model on the whole text.

    Args:
        model: the model; every call continues its training.
        text: inputs and targets of each window, each (T, B).
        settings: the training settings.
        optimizer: an optimiser of the model's parameters.
        hooks: the methods that act on the loop.
    """

    def run() -> None:
        keep_freed_memory(settings.backend != "torch")
        state = model.initial_state(settings.batch_size)
        scale, norm = settings.loss_scale, settings.max_norm
        train_round(model, text, state, optimizer, loss_scale=scale, max_norm=norm, hooks=hooks)

    return run


def random_windows(count: int, steps: int, batch_size: int, device: torch.device) -> list[tuple[Tensor, Tensor]]:
    """Return the inputs and targets (T, B) of windows of random text, drawn by Zipf's law.

    Args:
        count: the number of windows.
        steps: T.
        batch_size: B.
        device: the device of the tensors.
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
    """Count the multiplications and additions forward and backward: three matmuls for each matrix but the embedding."""
    inputs = [embedding_size, *[hidden_size] * (layers - 1)]
    recurrent = sum(4 * hidden_size * (below + hidden_size) for below in inputs)
    return 3 * 2 * (recurrent + hidden_size * vocabulary)
