"""An adapter for lm-eval, the evaluation harness: its three requests, answered with the state carried all the way.

A recurrent model has no longest context. So a document is never cut into windows that forget each other: its first
token follows a line end, and every later one all that was read before it.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import torch

from refrain.errors import UserError
from refrain.models import evaluating
from refrain.models.protocol import token_nats
from refrain.nn.kernels.packed_linear import WeightType
from refrain.runs.loading import load_language_model
from refrain.trained import TrainedLanguageModel

WINDOW_TOKENS = 512
"""Tokens that are read at once, which bounds the memory for their scores."""
MOST_TOKENS = 256
"""Tokens that are generated where a task does not say how many."""


class Answers:
    """The answers of a language model to the requests of lm-eval, whatever its unit of tokens.

    Args:
        lm: the model.
    """

    def __init__(self, lm: TrainedLanguageModel) -> None:
        self.lm = lm
        self._device = next(lm.model.parameters()).device
        self._read: tuple[list[int], Any] | None = None

    def document_nats(self, text: str) -> float:
        """The nats of all tokens of a document.

        Args:
            text: the document, with as many lines as it has; a newline is scored in its place.
        """
        ids = [self.lm.vocabulary.line_end, *self.lm.vocabulary.encode(text)]
        return self._nats(ids, self.lm.model.initial_state(1))[0]

    def continuation_nats(self, context: str, continuation: str) -> tuple[float, bool]:
        """The nats of a continuation, and whether each of its tokens is the most probable one.

        Where a token spans both texts, it counts as a part of the continuation. Contexts that follow one another and
        are the same, as those of the choices of a question, are read once.

        Args:
            context: what is read before; the empty text is a line end.
            continuation: what is scored.
        """
        encode = self.lm.vocabulary.encode
        before, whole = encode(context), encode(context + continuation)
        shared = next((at for at, (a, b) in enumerate(zip(before, whole, strict=False)) if a != b), len(before))
        log_probabilities, state = self._after([self.lm.vocabulary.line_end, *whole[:shared]])
        nats, greedy = 0.0, True
        for index in whole[shared:]:
            nats -= float(log_probabilities[0, index])
            greedy = greedy and int(log_probabilities[0].argmax()) == index
            log_probabilities, state = self.lm.step(torch.tensor([index], device=self._device), state)
        return nats, greedy

    def continued(self, context: str, options: dict[str, Any]) -> str:
        """Text that follows a context, up to one of the texts in `until`.

        Args:
            context: what is read before.
            options: those of lm-eval: `until`, `max_gen_toks`, `do_sample`, `temperature`, `top_p`, `top_k`, `seed`.
        """
        until = options.get("until") or []
        stops = [stop for stop in ([until] if isinstance(until, str) else until) if stop]
        temperature = float(options.get("temperature") or 0) if options.get("do_sample", True) else 0.0
        drawn = self.lm.stream(
            context,
            tokens=int(options.get("max_gen_toks") or MOST_TOKENS),
            temperature=temperature,
            seed=options.get("seed", 0),
            top_k=(options.get("top_k") or None) if temperature else None,
            top_p=(options.get("top_p") or None) if temperature else None,
        )
        text = ""
        for piece in self.lm.vocabulary.continuation(context, (index for (index,) in drawn if index is not None)):
            text += piece
            if ends := [at for stop in stops if (at := text.find(stop)) >= 0]:
                return text[: min(ends)]
        return text

    def _after(self, ids: list[int]) -> tuple[torch.Tensor, Any]:
        """The log-probabilities of the next token after some, and the state."""
        if self._read is None or self._read[0] != ids:
            state = self._nats(ids, self.lm.model.initial_state(1))[1]
            self._read = (ids, self.lm.step(torch.tensor(ids[-1:], device=self._device), state))
        found: tuple[torch.Tensor, Any] = self._read[1]
        return found

    def _nats(self, ids: Sequence[int], state: Any) -> tuple[float, Any]:
        """The nats of all ids but the first, and the state before the last is read."""
        total = 0.0
        for start in range(0, len(ids) - 1, WINDOW_TOKENS):
            window = torch.tensor(ids[start : start + WINDOW_TOKENS + 1], device=self._device)[:, None]
            with torch.no_grad(), evaluating(self.lm.model):
                nats, state = token_nats(self.lm.model, window[:-1], window[1:], state)
            total += float(nats.double().sum())
        return total, state


def harness_model(run: str | Path, *, device: str = "cpu", weights: WeightType | None = None) -> Any:
    """A language model as lm-eval takes it, as in `lm_eval.simple_evaluate(model=harness_model("runs/small"))`.

    Args:
        run: the run folder, or the name of a run.
        device: `cpu`, `cuda` or `auto`.
        weights: `float32`, `int8`, or None for what the run has.

    Raises:
        UserError: when lm-eval is not installed.
        CheckpointError: as in `refrain.load`.
    """
    try:
        from lm_eval.api.model import LM
    except ImportError:
        raise UserError("the evaluation harness needs lm-eval: pip install 'refrain-lm[harness]'") from None
    answers = Answers(load_language_model(run, device=device, weights=weights))

    class HarnessModel(LM):  # type: ignore[misc]
        """Requests of lm-eval, in the order in which they come."""

        answers: Answers

        def loglikelihood(self, requests: Iterable[Any], disable_tqdm: bool = False) -> list[tuple[float, bool]]:
            scored = [self.answers.continuation_nats(*request.args) for request in requests]
            return [(-nats, greedy) for nats, greedy in scored]

        def loglikelihood_rolling(self, requests: Iterable[Any], disable_tqdm: bool = False) -> list[float]:
            return [-self.answers.document_nats(*request.args) for request in requests]

        def generate_until(self, requests: Iterable[Any], disable_tqdm: bool = False) -> list[str]:
            return [self.answers.continued(*request.args) for request in requests]

    model = HarnessModel()
    model.answers = answers
    return model
