"""A trained model as a server has it, with what is computed once for all requests.

V tokens in the vocabulary.
"""

import bisect
import functools
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from refrain.data import Vocabulary
from refrain.data.units.protocol import PreparesText
from refrain.errors import shown
from refrain.models import Network
from refrain.trained import TrainedLanguageModel, TrainedTagger

from .ranking import most_probable
from .refused import Refused
from .slots import Slot, Slots

MOST_SEQUENCES = 64
"""The sequences of a batch."""
FEW_SEQUENCES = 8
FREQUENT_TOKENS = 4096
"""Tokens whose text is kept."""
SIZE_STEP = 16
"""Batches of more than `FEW_SEQUENCES` have a multiple of `SIZE_STEP` sequences."""


class Candidate(NamedTuple):
    """A token that may come next.

    Attributes:
        token_id: its id.
        log_probability: the natural logarithm of its probability.
    """

    token_id: int
    log_probability: float


class ServedModel:
    """A language model of a server.

    Args:
        name: the name by which requests choose it.
        trained: the model.

    Attributes:
        name: the name.
        trained: the model.
        vocabulary: its vocabulary.
        stepper: its packed weights.
        states: the states of sequences.
    """

    kind = "language-model"

    def __init__(self, name: str, trained: TrainedLanguageModel) -> None:
        self.name = name
        self.trained = trained
        self.vocabulary: Vocabulary = trained.vocabulary
        self.stepper = trained.stepper
        self.states = Slots(self.stepper)
        # packs what is packed at the first step of a size, and compiles kernels that are not in the cache yet
        for count in (1, FEW_SEQUENCES, *range(SIZE_STEP, MOST_SEQUENCES + 1, SIZE_STEP)):
            self.step([self.vocabulary.line_end] * count, [self.states.zero] * count)
        self._spelled: tuple[list[str], list[int]] | None = None
        self._text_after = functools.lru_cache(FREQUENT_TOKENS)(self._spell_after)

    def document(self) -> dict[str, Any]:
        """What a client may know of the model."""
        return {
            "name": self.name,
            "kind": self.kind,
            "unit": self.vocabulary.unit,
            "vocabulary": len(self.vocabulary),
            "parameters": sum(each.numel() for each in self.trained.model.parameters()),
            "hidden_sizes": _hidden_sizes(self.trained.model),
            "weights": self.trained.weights,
            "tags": None,
        }

    def step(self, ids: list[int], states: list[Slot], hold: Callable[[Any], Any] | None = None) -> tuple[Tensor, Any]:
        """Read a token after each of some states.

        A larger batch is filled up to one of a few sizes. Libraries keep code for each size that they have met, so that
        every size would take some time and memory once.

        Args:
            ids: the id of each sequence.
            states: the state before it.
            hold: maps the state of the batch to the one that is used.

        Returns:
            The log-probabilities (B, V) of the next tokens, and the state of a batch that begins with the B sequences.
        """
        count = len(ids)
        size = count if count <= FEW_SEQUENCES else -(-count // SIZE_STEP) * SIZE_STEP
        more = size - count
        state = self.states.gather(states + states[:1] * more)
        inputs = torch.tensor(ids + ids[:1] * more, device=self.stepper.device)
        rows, state = self.stepper.step(inputs, state if hold is None else hold(state))
        return rows[:count], state

    def best(self, rows: Tensor, counts: Sequence[int]) -> list[list[Candidate]]:
        """The most probable tokens of the sequences of a batch, which are found together.

        Args:
            rows: the log-probabilities (B, V) of the next tokens.
            counts: the number of tokens for each sequence; there are fewer where the vocabulary has fewer.
        """
        asking = [index for index, count in enumerate(counts) if count]
        found: list[list[Candidate]] = [[] for _ in counts]
        if asking:
            some = rows if len(asking) == len(rows) else rows[asking]
            values, ids = most_probable(some, max(counts))
            for index, row_ids, row_values in zip(asking, ids.tolist(), values.tolist(), strict=True):
                pairs = zip(row_ids[: counts[index]], row_values, strict=False)
                found[index] = [Candidate(*each) for each in pairs]
        return found

    def candidates(
        self, row: Tensor, count: int, *, beginning: str = "", allow_unknown: bool = True
    ) -> list[Candidate]:
        """The most probable tokens.

        Args:
            row: the log-probabilities (V,) of the next token.
            count: the number of candidates; there are fewer where the vocabulary has fewer.
            beginning: the letters that a candidate begins with.
            allow_unknown: whether the unknown token may be one of them.
        """
        if not count:
            return []
        unknown = None if allow_unknown else self.vocabulary.unknown
        ids = self._beginning_with(beginning) if beginning else None
        among = row if ids is None else row[ids]
        (values,), (places,) = most_probable(among[None], count + (unknown is not None))
        found = zip((places if ids is None else ids[places]).tolist(), values.tolist(), strict=True)
        return [Candidate(*each) for each in found if each[0] != unknown][:count]

    def _beginning_with(self, letters: str) -> Tensor:
        """The ids, in order, of the tokens whose text begins with some letters, which are prepared as texts are."""
        if isinstance(self.vocabulary, PreparesText):
            letters = self.vocabulary.preparation._replace(tokenise=False)(letters)
        if self._spelled is None:
            tokens = [self._spell_after("", index) for index in range(len(self.vocabulary))]
            order = sorted(range(len(tokens)), key=tokens.__getitem__)
            self._spelled = [tokens[index] for index in order], order
        tokens, order = self._spelled
        start = bisect.bisect_left(tokens, letters)
        stop = bisect.bisect_right(tokens, letters, lo=start, key=lambda token: token[: len(letters)])
        return torch.tensor(sorted(order[start:stop]), dtype=torch.int64)

    def _spell_after(self, prompt: str, index: int) -> str:
        """The text that a token adds to another."""
        return next(self.vocabulary.continuation(prompt, iter([index])))

    def shown(self, prompt: str, candidates: Sequence[Candidate]) -> list[dict[str, Any]]:
        """Candidates as plain data.

        Args:
            prompt: the end of the text that they follow.
            candidates: the candidates.
        """
        return [
            {
                "token": self.vocabulary.token(index),
                "text": self._text_after(prompt, index),
                "id": index,
                "probability": math.exp(value),
                "log_probability": value,
            }
            for index, value in candidates
        ]


class ServedTagger:
    """A tagger of a server.

    Args:
        name: the name by which requests choose it.
        trained: the tagger.

    Attributes:
        name: the name.
        trained: the tagger.
    """

    kind = "tagger"

    def __init__(self, name: str, trained: TrainedTagger) -> None:
        self.name = name
        self.trained = trained
        trained.tag([["a"]])

    def document(self) -> dict[str, Any]:
        """What a client may know of the tagger."""
        return {
            "name": self.name,
            "kind": self.kind,
            "unit": "word",
            "vocabulary": len(self.trained.vocabulary.words),
            "parameters": sum(each.numel() for each in self.trained.model.parameters()),
            "hidden_sizes": None,
            "weights": self.trained.weights,
            "tags": list(self.trained.vocabulary.tags),
        }


def _hidden_sizes(network: Network) -> list[int] | None:
    """The width of each layer; None for a network without a stack of layers."""
    layers = getattr(getattr(network, "stack", None), "layers", None)
    return None if layers is None else [int(each.hidden_size) for each in layers]


def serve_model(name: str, trained: TrainedLanguageModel | TrainedTagger) -> ServedModel | ServedTagger:
    """Prepare a trained model for a server.

    Args:
        name: the name by which requests choose it.
        trained: the model.

    Raises:
        UserError: when the states of its sequences cannot be joined.
    """
    return ServedTagger(name, trained) if isinstance(trained, TrainedTagger) else ServedModel(name, trained)


class Models:
    """The models of a server by their names.

    Args:
        served: the models; the first of each kind is the default.
    """

    def __init__(self, served: Sequence[ServedModel | ServedTagger]) -> None:
        self._by_name = {each.name: each for each in served}

    def names(self, kind: str | None = None) -> list[str]:
        """The names of the models of a kind, or of all."""
        return [name for name, each in self._by_name.items() if kind in (None, each.kind)]

    def documents(self) -> list[dict[str, Any]]:
        """What a client may know of each model."""
        return [each.document() for each in self._by_name.values()]

    def language_model(self, name: str | None) -> ServedModel:
        """The language model of a name; None is the default.

        Raises:
            Refused: when there is none.
        """
        found = self._find(name, "language-model")
        assert isinstance(found, ServedModel)
        return found

    def tagger(self, name: str | None) -> ServedTagger:
        """The tagger of a name; None is the default.

        Raises:
            Refused: when there is none.
        """
        found = self._find(name, "tagger")
        assert isinstance(found, ServedTagger)
        return found

    def _find(self, name: str | None, kind: str) -> ServedModel | ServedTagger:
        words = kind.replace("-", " ")
        fitting = self.names(kind)
        if not fitting:
            have = "taggers" if kind == "language-model" else "language models"
            raise Refused(
                422,
                f"this needs a {words}, but the server has {have} only; start refrain serve with the run of a {words}",
                code="wrong_kind",
                field="model",
            )
        if name is None:
            return self._by_name[fitting[0]]
        if name not in self._by_name:
            raise Refused(
                404,
                f"model: unknown model {shown(name)}; known: {', '.join(self.names())}",
                code="model_not_found",
                field="model",
            )
        if name not in fitting:
            raise Refused(
                422,
                f"model: {name!r} is not a {words}; choose one of {', '.join(fitting)}",
                code="wrong_kind",
                field="model",
            )
        return self._by_name[name]
