"""The command `refrain generate`."""

import re
import secrets
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import chain
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from .options import DeviceOption, Flag, JsonOption, LowercaseOption, RunArgument, TokeniseOption, WeightsOption
from .output import for_output

if TYPE_CHECKING:
    from refrain.progress import Reporter
    from refrain.trained.language_model import TrainedLanguageModel


def generate(
    run: RunArgument,
    /,
    *,
    prompt: str = "",
    tokens: int = 100,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    samples: int = 1,
    seed: int | None = None,
    start: Literal["line-end", "none"] = "line-end",
    clamp: Annotated[list[str] | None, Parameter(negative=())] = None,
    lowercase: LowercaseOption = False,
    tokenise: TokeniseOption = False,
    device: DeviceOption = "auto",
    weights: WeightsOption = None,
    stop_at_line_end: Flag = False,
    no_unk: Flag = False,
    detokenise: Flag = False,
    json: JsonOption = False,
) -> None:
    """Generate text, printed token by token.

    Parameters
    ----------
    prompt
        The text to continue.
    tokens
        The largest number of tokens to draw.
    temperature
        Divides the log-probabilities: 0 chooses the most probable token, 1 draws from the distribution of the model.
    top_k
        The number of most probable tokens to draw from.
    top_p
        Draw from the fewest tokens whose total probability is at least this.
    samples
        The number of texts, drawn as one batch.
    seed
        The seed; the same seed gives the same text. The default is a random seed, which --json prints.
    start
        What the model reads before the prompt: the end of a line, or nothing, which needs a prompt.
    clamp
        Hold a unit at a value, as UNIT=VALUE or LAYER:UNIT=VALUE; can be given several times. The unit's cell state
        (its hidden state in a layer without a cell state) is set before each token. The default is the last layer.
    stop_at_line_end
        End a text when <eos> is drawn, or a newline by a byte or character model, which is not printed.
    no_unk
        Never draw <unk>, or U+FFFD by a character model. How often it was drawn is reported at the end.
    detokenise
        Join the tokens of English text again, for a model of words: isn't (for example) instead of is n't -lrb- for
        example -rrb-.
    """
    from refrain.progress import reporter

    from .loading import load_language_model
    from .output import log

    _check(prompt, tokens, samples, seed, start)
    held = _parse_clamp(clamp or [])
    _check_sampler(temperature, top_k, top_p)
    reports = reporter()
    lm = load_language_model(run, reports, device=device, weights=weights, lowercase=lowercase, tokenise=tokenise)
    _check_words(lm, {"--no-unk": no_unk, "--detokenise": detokenise})
    _log_unknown(lm, prompt)
    # a known seed, which --json prints, so that a text can be reproduced
    seed = secrets.randbelow(2**31) if seed is None else seed
    options: dict[str, Any] = {
        "tokens": tokens,
        "samples": samples,
        "temperature": temperature,
        "top_k": top_k,
        "top_p": top_p,
        "seed": seed,
        "start": start,
        "stop_at_line_end": stop_at_line_end,
        "allow_unknown": not no_unk,
        "clamp": held,
    }
    with _options_named():
        if samples == 1 and not json:
            unknown = _stream(lm, prompt, lm.stream(prompt, **options), detokenise)
        else:
            unknown = _draw(lm, prompt, options, reports, detokenise, json)
    if unknown:
        log(f"{_mark(lm)} was drawn {unknown:,} time{'s' * (unknown > 1)}; --no-unk never draws it")


def _check(prompt: str, tokens: int, samples: int, seed: int | None, start: str) -> None:
    from refrain.errors import UserError

    if start == "none" and not prompt:
        raise UserError("--start none needs a prompt, because a model reads a token before it draws one; give --prompt")
    for name, value, least in (("--tokens", tokens, 0), ("--samples", samples, 1)):
        if value < least:
            raise UserError(f"{name} must be at least {least} (got {value})")
    if seed is not None and not 0 <= seed < 2**63:
        raise UserError(f"--seed must be at least 0 and less than 2**63 (got {seed})")
    if prompt.encode(errors="replace").decode() != prompt:
        raise UserError("--prompt is not valid UTF-8")


def _check_sampler(temperature: float, top_k: int | None, top_p: float | None) -> None:
    """Check how tokens are drawn, before the model is loaded."""
    if (temperature, top_k, top_p) == (1.0, None, None):
        # a command that fails for another cause need not import torch
        return
    from refrain.generation import Sampler

    with _options_named():
        Sampler(temperature=temperature, top_k=top_k, top_p=top_p)


@contextmanager
def _options_named() -> Iterator[None]:
    """Name the option in the message of a mistake, which begins with the argument of the same name."""
    from refrain.errors import UserError

    try:
        yield
    except UserError as error:
        if str(error).startswith(("temperature", "top_k", "top_p", "start")):
            raise UserError(f"--{str(error).replace('_', '-', 1)}") from None
        raise


def _check_words(lm: "TrainedLanguageModel", given: Mapping[str, bool]) -> None:
    """Refuse options with a model that has no unknown token, or whose tokens are not words."""
    from refrain.data.units.protocol import PreparesText
    from refrain.errors import UserError

    for option, is_given in given.items():
        has = isinstance(lm.vocabulary, PreparesText) if option == "--detokenise" else lm.vocabulary.unknown is not None
        if is_given and not has:
            raise UserError(f"{option} cannot take effect with a model of {lm.vocabulary.unit}s")


def _draw(
    lm: "TrainedLanguageModel",
    prompt: str,
    options: Mapping[str, Any],
    reports: "Reporter",
    detokenise: bool,
    json: bool,
) -> int:
    """Draw and print texts, and return the number of `<unk>` that were drawn."""
    from .output import print_json

    drawn: list[list[int]] = [[] for _ in range(options["samples"])]
    with reports.step(f"drawing {options['samples']} x {options['tokens']:,} tokens"):
        for step in lm.stream(prompt, **options):
            for ids, index in zip(drawn, step, strict=True):
                ids += [] if index is None else [index]
    unknown = 0 if lm.vocabulary.unknown is None else sum(ids.count(lm.vocabulary.unknown) for ids in drawn)
    texts = ["".join(_pieces(lm, prompt, ids, detokenise)) for ids in drawn]
    if json:
        print_json({"prompt": prompt, "seed": options["seed"], "samples": texts})
        return unknown
    for number, text in enumerate(texts, 1):
        print(f"--- {number}\n{for_output(text)}", flush=True)
    return unknown


def _mark(lm: "TrainedLanguageModel") -> str:
    """How the unknown token is printed."""
    return "" if lm.vocabulary.unknown is None else lm.vocabulary.token(lm.vocabulary.unknown)


def _log_unknown(lm: "TrainedLanguageModel", prompt: str) -> None:
    from refrain.errors import quantity

    from .output import log

    if unknown := lm.vocabulary.count_unseen(prompt, lm.vocabulary.encode(prompt)):
        are = "are" if unknown > 1 else "is"
        log(
            f"{quantity(unknown, lm.vocabulary.unit)} of the prompt {are} not in the vocabulary and read as {_mark(lm)}"
        )


def _parse_clamp(words: Sequence[str]) -> dict[int | tuple[int, int], float]:
    """Parse the values of --clamp, each UNIT=VALUE or LAYER:UNIT=VALUE."""
    from refrain.errors import UserError

    held: dict[int | tuple[int, int], float] = {}
    for word in words:
        match = re.fullmatch(r"(?:(\d+):)?(\d+)=(.+)", word)
        try:
            layer, unit, value = match.groups() if match else (None, "", "")
            key = int(unit) if layer is None else (int(layer), int(unit))
            number = float(value)
        except ValueError:
            raise UserError(f"--clamp takes UNIT=VALUE or LAYER:UNIT=VALUE, such as 3=1.5 (got {word!r})") from None
        if key in held:
            raise UserError(f"--clamp: unit {word.split('=')[0]} is named twice")
        held[key] = number
    return held


def _stream(lm: "TrainedLanguageModel", prompt: str, drawn: Iterable[Sequence[int | None]], detokenise: bool) -> int:
    """Print tokens as they are drawn, and return the number of `<unk>` among them."""
    unknown = 0

    def ids() -> Iterator[int]:
        nonlocal unknown
        for (index,) in drawn:
            if index is not None:
                unknown += index == lm.vocabulary.unknown
                yield index

    for piece in _pieces(lm, prompt, ids(), detokenise):
        sys.stdout.write(for_output(piece))
        sys.stdout.flush()
    # before the lines on standard error that follow
    sys.stdout.write("\n")
    sys.stdout.flush()
    return unknown


def _pieces(lm: "TrainedLanguageModel", prompt: str, ids: Iterable[int], detokenise: bool) -> Iterator[str]:
    """The prompt as it was given, and the text of the ids that follow it, piece by piece as they arrive."""
    from refrain.data.text.detokenise import Detokeniser, joined

    if not detokenise:
        return chain([prompt], lm.vocabulary.continuation(prompt, ids))
    join = Detokeniser()
    words = ("\n" if index == lm.vocabulary.line_end else lm.vocabulary.token(index) for index in ids)
    return chain(joined(prompt.split("\n"), join), map(join, words))
