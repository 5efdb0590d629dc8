"""The speed of scoring lines and n-best lists on one thread, in tokens per second of the processor.

The baselines are a loop in plain PyTorch over batches of 64 lines that are sorted by length, and one line at a time.
"""

import random
import time
from collections.abc import Callable, Sequence
from itertools import islice, product
from typing import Any

import torch
from torch import Tensor, nn

from refrain.assembly import build_model
from refrain.assembly.choosing import choose_measured, window_shape
from refrain.config import Experiment, Model
from refrain.data import WordVocabulary
from refrain.errors import UserError
from refrain.evaluation import score_lines, score_prefix_tree
from refrain.models import LanguageModel, Stepper
from refrain.nn.kernels.packed_linear import WeightType

from .limits import precisions
from .timing import interleaved, one_thread, rows_against
from .train import VOCABULARY, PlainModel, random_windows

LINE_WORDS, HYPOTHESES, PLAIN_BATCH = 20, 100, 64
PLAIN = f"plain PyTorch, {PLAIN_BATCH} lines sorted by length"
ONE, MANY, TREE = "line by line", "lines together", "tree of prefixes"
FORWARD = "forward passes"
WEIGHTS: tuple[WeightType, ...] = ("float32", "int8")
UNIT = "tokens/CPU s"
# words of an utterance that a recogniser is unsure of, and what it may have heard in the place of each
UNSURE, ALTERNATIVES = 7, 2


def bench_score(experiment: Experiment, *, lines: int, repeats: int) -> list[dict[str, Any]]:
    """Measure the scoring of lines of 20 words, and of lists of 100 hypotheses, in turns.

    Words and weights are random, which does not change the speed. Scores of lines include reading their words. They are
    also compared with the forward passes of training.

    Args:
        experiment: its model settings and its seed are used.
        lines: the number of lines in a timed call; there is a list of hypotheses for every 100.
        repeats: the number of timed calls of each candidate.

    Returns:
        A row for each candidate: tokens per second of the processor, compared with the first row of its group.

    Raises:
        UserError: when the plain loop has not what the model has.
    """
    _check(experiment.model)
    vocabulary = WordVocabulary(["<eos>", "<unk>", *(f"word{index}" for index in range(VOCABULARY - 2))])
    draw = random.Random(experiment.training.seed)
    texts = [_line(draw) for _ in range(lines)]
    lists = [each for _ in range(max(1, lines // HYPOTHESES)) for each in hypotheses(draw)]
    with one_thread():
        torch.manual_seed(experiment.training.seed)
        model = build_model(experiment.model, VOCABULARY).eval()
        steppers = {weights: Stepper(model, weights=weights) for weights in WEIGHTS}
        rows = _rows("", _line_candidates(model, steppers, vocabulary, texts), _tokens(texts), repeats)
        candidates = _forward_candidates(experiment, _tokens(texts))
        candidates |= {f"{MANY}, {weights}": _scoring(steppers[weights], vocabulary, texts) for weights in WEIGHTS}
        rows += _rows("beside training: ", candidates, _tokens(texts), repeats)
        for weights, stepper in steppers.items():
            candidates = _list_candidates(stepper, vocabulary, lists)
            rows += _rows(f"100-best lists, {weights}: ", candidates, _tokens(lists), repeats)
    return rows


def _check(model: Model) -> None:
    plain = model.cell.kind == "lstm" and model.head.kind == "softmax" and not model.tied
    if not plain or model.embedding.kind != "dense" or len(set(model.hidden_sizes)) != 1:
        raise UserError(
            "bench score: the plain loop has LSTM layers of one width, a dense embedding and a softmax of its own; "
            "choose a recipe like zaremba-small"
        )


def _line(draw: random.Random) -> str:
    return " ".join(f"word{draw.randrange(VOCABULARY - 2)}" for _ in range(LINE_WORDS))


def hypotheses(draw: random.Random) -> list[str]:
    """The 100 best hypotheses of an utterance of 20 words, some of which have alternatives of random costs.

    Args:
        draw: the random generator.
    """
    words = _line(draw).split()
    unsure = sorted(draw.sample(range(LINE_WORDS), UNSURE))
    # the word itself costs nothing
    heard = [[(0.0, words[at]), *((draw.expovariate(1.0), word) for word in _others(draw))] for at in unsure]
    ranked = sorted(product(*heard), key=lambda choice: sum(cost for cost, _ in choice))
    found = []
    for choice in islice(ranked, HYPOTHESES):
        for at, (_, word) in zip(unsure, choice, strict=True):
            words[at] = word
        found.append(" ".join(words))
    return found


def _others(draw: random.Random) -> list[str]:
    return [f"word{draw.randrange(VOCABULARY - 2)}" for _ in range(ALTERNATIVES)]


def _tokens(texts: Sequence[str]) -> int:
    """The words of lines, and their ends."""
    return sum(text.count(" ") + 2 for text in texts)


def _line_candidates(
    model: LanguageModel, steppers: dict[WeightType, Stepper], vocabulary: WordVocabulary, texts: Sequence[str]
) -> dict[str, Callable[[], Any]]:
    plain = plain_model(model)
    found: dict[str, Callable[[], Any]] = {
        f"{ONE}, float32": _scoring(steppers["float32"], vocabulary, texts, 1),
        PLAIN: lambda: plain_scores(plain, vocabulary, texts),
        f"{MANY}, float32": _scoring(steppers["float32"], vocabulary, texts),
        f"{ONE}, int8": _scoring(steppers["int8"], vocabulary, texts, 1),
        f"{MANY}, int8": _scoring(steppers["int8"], vocabulary, texts),
    }
    return found


def _forward_candidates(experiment: Experiment, tokens: int) -> dict[str, Callable[[], Any]]:
    """Forward passes of training, in which native heads form their gradient, over as many tokens in whole windows."""
    settings = experiment.training
    size = settings.window_steps * settings.batch_size
    text = random_windows(max(1, tokens // size), settings.window_steps, settings.batch_size, torch.device("cpu"))
    return {
        f"{FORWARD}, {precision}": forward_passes(experiment, precision, text)
        for precision in precisions(torch.device("cpu"))
    }


def forward_passes(experiment: Experiment, precision: str, text: list[tuple[Tensor, Tensor]]) -> Callable[[], None]:
    """Return a call that runs a model in training mode over a text, with the backends that a run measures.

    Args:
        experiment: its model and training settings.
        precision: float32 or bf16.
        text: inputs and targets of each window, each (T, B).
    """
    model = build_model(experiment.model, VOCABULARY).train()
    settings = experiment.training
    settings = settings.model_copy(update={"precision": precision, "backend": "auto"})
    choose_measured(settings, model, window_shape(settings, experiment.model, VOCABULARY))
    state = model.initial_state(settings.batch_size)

    def run() -> None:
        for inputs, targets in text:
            model(inputs, targets, state)

    return run


def _list_candidates(
    stepper: Stepper, vocabulary: WordVocabulary, lists: Sequence[str]
) -> dict[str, Callable[[], Any]]:
    return {
        ONE: _scoring(stepper, vocabulary, lists, 1),
        MANY: _scoring(stepper, vocabulary, lists),
        TREE: lambda: score_prefix_tree(stepper, vocabulary, lists),
    }


def _scoring(
    stepper: Stepper, vocabulary: WordVocabulary, texts: Sequence[str], batch_size: int | None = None
) -> Callable[[], Any]:
    return lambda: list(score_lines(stepper, vocabulary, texts, batch_size=batch_size))


def _rows(prefix: str, candidates: dict[str, Callable[[], Any]], tokens: int, repeats: int) -> list[dict[str, Any]]:
    seconds = interleaved(candidates, repeats=repeats, clock=time.process_time)
    return rows_against(next(iter(candidates)), seconds, tokens, UNIT, prefix=prefix)


def plain_model(model: LanguageModel) -> PlainModel:
    """The model of a tutorial with the weights of a language model of LSTM layers.

    Args:
        model: the language model.
    """
    layers: list[Any] = list(model.stack.layers)
    embedding: Any = model.embedding
    words, width = embedding.weight.shape
    plain = PlainModel(words, width, layers[0].hidden_size, len(layers), 0.0).eval()
    with torch.no_grad():
        plain.embedding.weight.copy_(embedding.weight)
        plain.linear.weight.copy_(model.head.weight)  # type: ignore[arg-type]
        plain.linear.bias.copy_(model.head.bias)  # type: ignore[arg-type]
        for index, layer in enumerate(layers):
            getattr(plain.lstm, f"weight_ih_l{index}").copy_(layer.weight_ih)
            getattr(plain.lstm, f"weight_hh_l{index}").copy_(layer.weight_hh)
            getattr(plain.lstm, f"bias_ih_l{index}").copy_(layer.bias)
            getattr(plain.lstm, f"bias_hh_l{index}").zero_()
    return plain


@torch.no_grad()
def plain_scores(model: PlainModel, vocabulary: WordVocabulary, texts: Sequence[str]) -> list[float]:
    """The nats of each line by a loop of PyTorch, as one writes it: batches of 64 lines that are sorted by length.

    Args:
        model: the model.
        vocabulary: its vocabulary.
        texts: the lines.
    """
    end = vocabulary.line_end
    encoded = [torch.tensor([end, *vocabulary.encode(text), end]) for text in texts]
    order = sorted(range(len(texts)), key=lambda index: len(encoded[index]))
    nats = [0.0] * len(texts)
    for start in range(0, len(order), PLAIN_BATCH):
        batch = order[start : start + PLAIN_BATCH]
        ids: Tensor = nn.utils.rnn.pad_sequence([encoded[index] for index in batch], padding_value=-1)
        inputs, targets = ids[:-1].clamp(min=0), ids[1:]
        state = torch.zeros(2, model.lstm.num_layers, len(batch), model.lstm.hidden_size)
        logits, _ = model(inputs, (state[0], state[1]))
        found = nn.functional.cross_entropy(
            logits.flatten(0, 1), targets.flatten(), ignore_index=-1, reduction="none"
        ).view(targets.shape)
        for index, total in zip(batch, found.sum(0).tolist(), strict=True):
            nats[index] = total
    return nats
