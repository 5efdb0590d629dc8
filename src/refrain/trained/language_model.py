"""A trained language model with its vocabulary: what `refrain.load` returns."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from refrain.data import Vocabulary, clean_review
from refrain.data.text.cleaning import Cleaning
from refrain.evaluation import Figure, score_lines
from refrain.generation import Features, Part, Sampler, features, generate, hold_units
from refrain.models import NetworkStepper, Stepper, stepper_of
from refrain.nn.kernels.packed_linear import WeightType, round_weights


@dataclass(frozen=True)
class Score:
    """What a text costs.

    Attributes:
        nats: summed over its tokens.
        tokens: how many were scored, line ends among them.
        unknown: how many words are not in the vocabulary; they were scored as `<unk>`.
    """

    nats: float
    tokens: int
    unknown: int

    @property
    def perplexity(self) -> float:
        """exp of the nats per token."""
        return Figure(self.nats, self.tokens).perplexity


class Count(NamedTuple):
    """How much text there is: texts, their tokens, and how many of these stand for words that the model lacks."""

    texts: int
    tokens: int
    unknown: int


class TrainedLanguageModel:
    """A model that reads and writes text.

    Args:
        model: a `LanguageModel`, or a network of one's own that keeps the protocol `Network`; in evaluation mode from
            here on.
        vocabulary: its tokens.
        config: the settings it was trained with, as plain data.
        folder: where it was loaded from.
        weights: `int8` rounds every matrix of the model, in place, to 127ths of the largest entry of each row, so that
            a token reads a quarter of the memory; all figures are then those of the rounded model.
        own: the class of a network of one's own, which the settings do not describe.
    """

    def __init__(
        self,
        model: nn.Module,
        vocabulary: Vocabulary,
        config: dict[str, Any],
        folder: Path,
        *,
        weights: WeightType = "float32",
        own: str | None = None,
    ) -> None:
        if weights == "int8":
            round_weights(model)
        self.model: Any = model.eval()
        self.weights = weights
        self._stepper: Stepper | NetworkStepper | None = None
        self.vocabulary = vocabulary
        self.config = config
        self.folder = folder
        self._own = own

    def __repr__(self) -> str:
        settings = self.config["model"]
        shape = self._own or f"{settings['cell']['kind']} {'-'.join(str(size) for size in settings['hidden_sizes'])}"
        return f"TrainedLanguageModel({str(self.folder)!r}, {shape}, vocabulary {len(self.vocabulary):,})"

    def score(self, text: str) -> Score:
        """The cost of a text: each line on its own, as if another line had ended before it, its end included.

        Args:
            text: words separated by blanks for a word model, any text for a byte model.
        """
        lines = text.removesuffix("\n").split("\n")
        scores = list(score_lines(self.stepper, self.vocabulary, lines))
        return Score(
            nats=sum(score.figure.nats for score in scores),
            tokens=sum(score.figure.tokens for score in scores),
            unknown=sum(score.unknown for score in scores),
        )

    def features(
        self,
        texts: Sequence[str],
        *,
        layer: int | None = None,
        units: Sequence[int] = (),
        which: Part | None = None,
        cleaning: Cleaning | None = None,
        batch_size: int = 64,
    ) -> Features:
        """What a layer holds after each text, read from the zero state and a line end on.

        Args:
            texts: of any length; an empty one leaves the state after the line end.
            layer: which layer, counting from 0 at the bottom; None is the last.
            units: units of that layer to follow over time: their values after each token of the prepared text.
            which: what of these units is followed; None is the cell state, or the hidden state where there is no other.
            cleaning: see `prepare`.
            batch_size: how many texts are read side by side; decides speed and memory, not the result.

        Raises:
            UserError: when there is no such layer, unit or part.
        """
        # the line end that comes first is read and not told
        encoded = [
            [self.vocabulary.line_end, *self.vocabulary.encode(self.prepare(text, cleaning=cleaning))] for text in texts
        ]
        found = features(self.stepper, encoded, layer=layer, units=units, which=which, batch_size=batch_size)
        return found._replace(traces=[trace[1:] for trace in found.traces])

    def prepare(self, text: str, *, cleaning: Cleaning | None = None) -> str:
        """A text that stands by itself, as those that come after the end of a line.

        Args:
            text: any.
            cleaning: `none` takes it as it is. `reviews` does to it what Radford et al. (2017) did to each review: HTML
                entities are resolved, newlines become blanks, and one blank stands before and after it. None is what
                the model was trained with.
        """
        cleaning = cleaning or self.config["data"].get("cleaning", "none")
        if cleaning == "reviews":
            # without the line end that it begins with, which every text is read after
            return clean_review(text).decode("utf-8", "replace").removeprefix("\n")
        return text

    def count(self, texts: Sequence[str], *, cleaning: Cleaning | None = None) -> Count:
        """How long texts are for the model, and how much of them it does not know; cleaning as in `prepare`."""
        tokens = unknown = 0
        for text in texts:
            ids = self.vocabulary.encode(self.prepare(text, cleaning=cleaning))
            tokens += len(ids)
            unknown += 0 if self.vocabulary.unknown is None else ids.count(self.vocabulary.unknown)
        return Count(len(texts), tokens, unknown)

    @property
    def stepper(self) -> Stepper | NetworkStepper:
        """The model made ready to be read and written; made anew after its weights have changed."""
        if self._stepper is None or not self._stepper.is_current:
            self._stepper = stepper_of(self.model, weights=self.weights)
        return self._stepper

    def initial_state(self, batch_size: int = 1) -> Any:
        """The state before the first token of `batch_size` sequences."""
        return self.model.initial_state(batch_size)

    def step(self, ids: Tensor, state: Any) -> tuple[Tensor, Any]:
        """One token of each sequence: ids (B,) int64 -> natural log-probabilities of the next (B, V), and the state."""
        return self.stepper.step(ids, state)

    def generate(
        self,
        prompt: str = "",
        *,
        tokens: int = 100,
        samples: int = 1,
        temperature: float = 1.0,
        top_k: int | None = None,
        top_p: float | None = None,
        seed: int | None = None,
        stop_at_line_end: bool = False,
        allow_unknown: bool = True,
        clamp: Mapping[int | tuple[int, int], float] | None = None,
    ) -> list[str]:
        """Texts that begin with the prompt. Arguments as in `stream`."""
        columns: list[list[int]] = [[] for _ in range(samples)]
        for drawn in self.stream(
            prompt,
            tokens=tokens,
            samples=samples,
            temperature=temperature,
            top_k=top_k,
            top_p=top_p,
            seed=seed,
            stop_at_line_end=stop_at_line_end,
            allow_unknown=allow_unknown,
            clamp=clamp,
        ):
            for column, index in zip(columns, drawn, strict=True):
                if index is not None:
                    column.append(index)
        start = self.vocabulary.encode(prompt)
        return [self.vocabulary.decode([*start, *column]) for column in columns]

    def stream(
        self,
        prompt: str = "",
        *,
        tokens: int = 100,
        samples: int = 1,
        temperature: float = 1.0,
        top_k: int | None = None,
        top_p: float | None = None,
        seed: int | None = None,
        stop_at_line_end: bool = False,
        allow_unknown: bool = True,
        clamp: Mapping[int | tuple[int, int], float] | None = None,
    ) -> Iterator[Sequence[int | None]]:
        """Draw tokens that follow a line end and the prompt.

        Args:
            prompt: text to continue; words that are not in the vocabulary are read as `<unk>`.
            tokens: how many to draw at most.
            samples: how many texts at once.
            temperature: 0 takes the most probable token; below 1 plays safe, above 1 dares.
            top_k: draw from the k most probable tokens.
            top_p: draw from the fewest tokens that together hold this probability.
            seed: the same seed, model and arguments give the same text; None draws anew each time.
            stop_at_line_end: a text ends where `<eos>` is drawn, or the newline of a byte model, which is left out.
            allow_unknown: `<unk>` may be drawn.
            clamp: units whose cell state (hidden state, where there is no other) is set to a value before each token
                is drawn; by their index in the last layer, or by (layer, index).

        Yields:
            The next id of each text; None for one that has ended.

        Raises:
            ValueError: when a value is out of range or cannot take effect.
        """
        unknown = self.vocabulary.unknown
        banned = [] if allow_unknown or unknown is None else [unknown]
        generator = torch.Generator()
        if seed is None:
            generator.seed()
        else:
            generator.manual_seed(seed)
        return generate(
            self.stepper,
            [self.vocabulary.line_end, *self.vocabulary.encode(prompt)],
            Sampler(temperature=temperature, top_k=top_k, top_p=top_p, banned=banned),
            tokens=tokens,
            samples=samples,
            generator=generator,
            stop=self.vocabulary.line_end if stop_at_line_end else None,
            hold=hold_units(self.model, clamp) if clamp else None,
        )
