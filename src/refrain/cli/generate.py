"""`refrain generate`."""

import re
import secrets
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

if TYPE_CHECKING:
    from refrain.trained.language_model import TrainedLanguageModel


def generate(
    run: Path,
    /,
    *,
    prompt: str = "",
    tokens: int = 100,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    samples: int = 1,
    seed: int | None = None,
    clamp: list[str] | None = None,
    device: Literal["auto", "cpu", "cuda"] = "auto",
    weights: Literal["float32", "int8"] = "float32",
    stop_at_line_end: Annotated[bool, Parameter(negative=())] = False,
    no_unk: Annotated[bool, Parameter(negative=())] = False,
    json: Annotated[bool, Parameter(negative=())] = False,
) -> None:
    """Write text, as it is drawn.

    Parameters
    ----------
    run
        A run folder, or one of its checkpoints.
    prompt
        Text to continue.
    tokens
        How many tokens to draw at most.
    temperature
        0 takes the most probable token; below 1 plays safe, above 1 dares.
    top_k
        Draw from the k most probable tokens.
    top_p
        Draw from the fewest tokens that together hold this probability.
    samples
        How many texts; they are drawn side by side.
    seed
        The same seed gives the same text; without one another is drawn each time, and told with --json.
    clamp
        Hold a unit at a value, UNIT=VALUE or LAYER:UNIT=VALUE; can be given several times. Its cell state (the hidden
        state of a layer that has no other) is set before each token is drawn. By default the unit is in the last layer.
    device
        Where to compute.
    weights
        int8: every matrix rounded to 127ths of the largest entry of each row; a token reads a quarter of the memory.
    stop_at_line_end
        Each text ends where <eos> is drawn, or the newline of a byte model; it is left out.
    no_unk
        Never draw <unk>.
    json
        Print the samples as one JSON object.
    """
    from refrain import runs
    from refrain.errors import UserError

    from .output import print_json

    for name, value in (("--tokens", tokens), ("--samples", samples)):
        if value < 1:
            raise UserError(f"{name} must be at least 1 (got {value})")
    if seed is not None and not 0 <= seed < 2**63:
        raise UserError(f"--seed must be at least 0 and less than 2**63 (got {seed})")
    if prompt.encode(errors="replace").decode() != prompt:
        raise UserError("--prompt is not valid UTF-8")
    held = _held(clamp or [])
    lm = runs.load_language_model(run, device=device, weights=weights)
    if no_unk and lm.vocabulary.unknown is None:
        raise UserError(f"--no-unk cannot take effect with a model of {lm.vocabulary.unit}s")
    _tell_unknown(lm, prompt)
    # a seed that is told, so that a good text can be had again
    seed = secrets.randbelow(2**31) if seed is None else seed
    options = {
        "tokens": tokens,
        "samples": samples,
        "temperature": temperature,
        "top_k": top_k,
        "top_p": top_p,
        "seed": seed,
        "stop_at_line_end": stop_at_line_end,
        "allow_unknown": not no_unk,
        "clamp": held,
    }
    try:
        if json:
            print_json({"prompt": prompt, "seed": seed, "samples": lm.generate(prompt, **options)})  # type: ignore[arg-type]
        elif samples == 1:
            _stream(lm, prompt, lm.stream(prompt, **options))  # type: ignore[arg-type]
        else:
            for number, text in enumerate(lm.generate(prompt, **options), 1):  # type: ignore[arg-type]
                print(f"--- {number}\n{text}")
    except UserError:
        raise
    except ValueError as error:
        raise UserError(f"--{str(error).replace('_', '-', 1)}") from None


def _tell_unknown(lm: "TrainedLanguageModel", prompt: str) -> None:
    from .output import say

    if unknown := lm.vocabulary.count_unseen(prompt, lm.vocabulary.encode(prompt)):
        words = "words" if unknown > 1 else "word"
        say(f"{unknown} {words} of the prompt the model has never seen, read as <unk>")


def _held(words: Sequence[str]) -> dict[int | tuple[int, int], float]:
    """What --clamp says, each word UNIT=VALUE or LAYER:UNIT=VALUE."""
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


def _stream(lm: "TrainedLanguageModel", prompt: str, drawn: Iterable[Sequence[int | None]]) -> None:
    write = sys.stdout.write
    write(prompt)
    ids = (index for (index,) in drawn if index is not None)
    for piece in lm.vocabulary.continuation(prompt, ids):
        write(piece)
        sys.stdout.flush()
    write("\n")
