"""A trained language model with its vocabulary, as `refrain.load` returns it."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from refrain.arguments import check_choice, text_of, texts_of, whole_of
from refrain.data import Vocabulary, clean_review
from refrain.data.text.cleaning import Cleaning
from refrain.errors import UserError, shown
from refrain.generation import Features, Part, Sampler, features, generate, hold_units
from refrain.models import NetworkStepper, Stepper, stepper_of
from refrain.nn.kernels.packed_linear import WeightType, round_weights
from refrain.pictures.notebook import facts_html
from refrain.progress import Track, untracked

from .scoring import Score as Score
from .scoring import ScoresTexts, Splits
from .sizes import sizes_of
from .texts import Count

Start = Literal["line-end", "none"]
"""What a model reads before a prompt."""


class TrainedLanguageModel(ScoresTexts):
    """A trained language model, for scoring, generating and features of texts.

    Args:
        model: a `LanguageModel`, or another network that implements the protocol `Network`; it is set to evaluation
            mode.
        vocabulary: the vocabulary of the model.
        config: the settings of the run, as plain data.
        folder: the checkpoint folder.
        weights: `float32`, or `int8`, which rounds every matrix of the model, in place, to 127ths of the largest entry
            of each row, so that a token reads a quarter of the memory. All results are then those of the rounded model.
        own: the class name of a network given by the user, which the settings do not describe; None otherwise.
        splits: returns a split of the corpus that the model was trained on, for a vocabulary; None where there is none.
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
        splits: Splits | None = None,
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
        self._splits = splits

    def __getstate__(self) -> dict[str, Any]:
        # a pickle or a copy packs the weights again when it is first used
        return {**self.__dict__, "_stepper": None}

    def __repr__(self) -> str:
        settings = self.config["model"]
        shape = self._own or f"{settings['cell']['kind']} {'-'.join(str(size) for size in settings['hidden_sizes'])}"
        sizes = f"vocabulary of {len(self.vocabulary):,} {self.vocabulary.unit}s"
        parameters = sum(each.numel() for each in self.model.parameters())
        return f"TrainedLanguageModel({str(self.folder)!r}, {shape}, {sizes}, {parameters:,} parameters)"

    def _repr_html_(self) -> str:
        settings = self.config["model"]
        widths = "-".join(str(size) for size in (settings["embedding_size"], *settings["hidden_sizes"]))
        shape = f"{settings['cell']['kind']} {widths}" if self._own is None else f"the network {self._own}"
        each = f"{len(self.vocabulary):,} {self.vocabulary.unit}s"
        rows = [("model", shape), ("vocabulary", each), ("trained on", str(self.config["data"]["corpus"]))]
        return facts_html(
            f"Language model {self.config['name']}", [*rows, *sizes_of(self.model, self.weights, self.folder)]
        )

    def features(
        self,
        texts: str | Iterable[str],
        *,
        layer: int | None = None,
        units: Sequence[int] = (),
        which: Part | None = None,
        cleaning: Cleaning | None = None,
        batch_size: int = 64,
        track: Track = untracked,
    ) -> Features:
        """Compute the state of a layer after each text, which is read from the zero state and after a line end.

        Args:
            texts: a text or several; for an empty text, the result is the state after the line end.
            layer: the index of the layer, counting from 0 at the bottom; None is the last layer.
            units: units of the layer to follow: their values after each token of the prepared text are returned.
            which: the state of these units; None is the cell state, or the hidden state if the layer has no other.
            cleaning: see `prepare`.
            batch_size: the number of texts in a batch; it affects speed and memory, not the result.
            track: reports the loop over the batches; see `refrain.progress`.

        Returns:
            `hidden` and `cell` (texts, width), the states after the last token of each text, where `cell` is None for a
            layer without a cell state; `traces`, a list with the values of the units (tokens, units) along each text,
            empty without `units`.

        Raises:
            UserError: when the layer, a unit or the state does not exist, or an argument is of another type.
        """
        # the leading line end is fed to the model but not reported
        encoded = [
            [self.vocabulary.line_end, *self.vocabulary.encode(self.prepare(text, cleaning=cleaning))]
            for text in texts_of(texts)
        ]
        found = features(
            self.stepper, encoded, layer=layer, units=units, which=which, batch_size=batch_size, track=track
        )
        return found._replace(traces=[trace[1:] for trace in found.traces])

    def prepare(self, text: str, *, cleaning: Cleaning | None = None) -> str:
        """Clean a text as the training text was cleaned.

        Args:
            text: the text.
            cleaning: `none` returns the text unchanged. `reviews` cleans it as Radford et al. (2017) cleaned reviews:
                HTML entities are resolved, newlines are replaced by blanks, and a blank is added before and after it.
                None is the cleaning that the model was trained with.
        """
        text = text_of(text, "text")
        check_choice("cleaning", cleaning, get_args(Cleaning), optional=True)
        cleaning = cleaning or self.config["data"].get("cleaning", "none")
        if cleaning == "reviews":
            # the line end before the text is read in any case
            return clean_review(text).decode("utf-8", "replace").removeprefix("\n")
        return text

    def count(self, texts: str | Iterable[str], *, cleaning: Cleaning | None = None) -> Count:
        """Count the tokens and unknown words of a text or several. For `cleaning` see `prepare`."""
        tokens = unknown = 0
        given = texts_of(texts)
        for text in given:
            prepared = self.prepare(text, cleaning=cleaning)
            ids = self.vocabulary.encode(prepared)
            tokens += len(ids)
            unknown += self.vocabulary.count_unseen(prepared, ids)
        return Count(len(given), tokens, unknown)

    @property
    def stepper(self) -> Stepper | NetworkStepper:
        """The model with packed weights, which are packed again when the weights of the model have changed."""
        # several threads may pack at once; each returns one that is complete
        stepper = self._stepper
        if stepper is None or not stepper.is_current:
            stepper = self._stepper = stepper_of(self.model, weights=self.weights)
        return stepper

    def initial_state(self, batch_size: int = 1) -> Any:
        """The state before the first token."""
        return self.model.initial_state(batch_size)

    def step(self, ids: Tensor, state: Any) -> tuple[Tensor, Any]:
        """Map ids (B,), int64, to natural log-probabilities of the next tokens (B, V) and the state after them."""
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
        start: Start = "line-end",
        stop_at_line_end: bool = False,
        allow_unknown: bool = True,
        clamp: Mapping[int | tuple[int, int], float] | None = None,
    ) -> list[str]:
        """Generate texts that begin with the prompt, as it was given. For the arguments see `stream`."""
        steps = self.stream(
            prompt,
            tokens=tokens,
            samples=samples,
            temperature=temperature,
            top_k=top_k,
            top_p=top_p,
            seed=seed,
            start=start,
            stop_at_line_end=stop_at_line_end,
            allow_unknown=allow_unknown,
            clamp=clamp,
        )
        texts: list[list[int]] = [[] for _ in range(samples)]
        for drawn in steps:
            for text, index in zip(texts, drawn, strict=True):
                if index is not None:
                    text.append(index)
        return [prompt + "".join(self.vocabulary.continuation(prompt, text)) for text in texts]

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
        start: Start = "line-end",
        stop_at_line_end: bool = False,
        allow_unknown: bool = True,
        clamp: Mapping[int | tuple[int, int], float] | None = None,
    ) -> Iterator[Sequence[int | None]]:
        """Draw tokens that follow the prompt.

        Args:
            prompt: the text to continue; words that are not in the vocabulary are read as `<unk>`.
            tokens: the largest number of tokens to draw.
            samples: the number of texts, drawn as one batch.
            temperature: divides the log-probabilities; 0 chooses the most probable token.
            top_k: draw from the k most probable tokens; None draws from all.
            top_p: draw from the fewest tokens whose total probability is at least this; None draws from all.
            seed: the same seed, model and arguments give the same text; None takes a random seed.
            start: what the model reads before the prompt: `line-end`, or `none`, which needs a prompt.
            stop_at_line_end: whether a text ends when `<eos>` is drawn, or a newline by a byte model, which is not
                returned.
            allow_unknown: whether `<unk>` can be drawn.
            clamp: values of units, by their index in the last layer or by (layer, index). The cell state of each unit,
                or its hidden state in a layer without a cell state, is set to the value before each token.

        Returns:
            An iterator over the steps, with the next id of each text, or None for a text that has ended.

        Raises:
            UserError: when an argument is of another type, out of range or cannot take effect.
        """
        context = self.vocabulary.encode(text_of(prompt, "prompt"))
        check_choice("start", start, get_args(Start))
        if start == "line-end":
            context = [self.vocabulary.line_end, *context]
        elif not context:
            raise UserError("start: 'none' needs a prompt, because the model must read a token before it draws one")
        unknown = self.vocabulary.unknown
        banned = [] if allow_unknown or unknown is None else [unknown]
        return generate(
            self.stepper,
            context,
            Sampler(temperature=temperature, top_k=top_k, top_p=top_p, banned=banned),
            tokens=tokens,
            samples=samples,
            generator=_seeded(seed),
            stop=self.vocabulary.line_end if stop_at_line_end else None,
            hold=None if clamp is None else hold_units(self.model, clamp),
        )


def _seeded(seed: int | None) -> torch.Generator:
    """A generator with a seed, or with a random one for None.

    Raises:
        UserError: when the seed is no whole number, or out of range.
    """
    generator = torch.Generator()
    if seed is None:
        generator.seed()
        return generator
    number = whole_of(seed, "seed")
    if not 0 <= number < 2**63:
        raise UserError(f"seed must be at least 0 and less than 2**63 (got {shown(number)})")
    return generator.manual_seed(number)
