"""`refrain evaluate`."""

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter


def evaluate(
    run: Path,
    /,
    *,
    data: Path | None = None,
    split: Literal["train", "valid", "test"] | None = None,
    protocol: Literal["exact", "zaremba", "awd"] = "exact",
    method: Literal["static"] = "static",
    per_token: Path | None = None,
    errors: Literal["strict", "replace"] = "strict",
    device: Literal["auto", "cpu", "cuda"] = "auto",
    json: Annotated[bool, Parameter(negative=())] = False,
) -> None:
    """Perplexity and other figures of a trained model.

    Parameters
    ----------
    run
        A run folder, or one of its checkpoints.
    data
        Other text than the run's own: a folder of splits, or a file, which is read whole unless --split says otherwise.
    split
        Which part of the corpus; by default test.
    protocol
        exact: one stream, every token but the first. zaremba and awd: as the reference systems, 20 or 10 columns on
        any split but test. Each divides by the tokens it scored.
    method
        static: the weights stay as they are.
    per_token
        Write a table of tokens with their nats and of words with their bits (exact protocol).
    errors
        What invalid UTF-8 does: stop (strict) or become U+FFFD (replace).
    device
        Where to compute.
    json
        Print the figures as one JSON object.
    """
    import sys

    from refrain import build
    from refrain.config import Data, Training
    from refrain.data import WordVocabulary
    from refrain.errors import UserError
    from refrain.evaluation import evaluate as measure
    from refrain.evaluation import protocol_windows, write_token_table

    from .output import print_json

    def say(line: str) -> None:
        print(line, file=sys.stderr)

    if per_token is not None and protocol != "exact":
        raise UserError(f"--per-token goes with --protocol exact (got {protocol!r})")
    if per_token is not None and (per_token.is_dir() or not per_token.parent.is_dir()):
        raise UserError(f"--per-token must be a file in a folder that exists (got {str(per_token)!r})")
    lm = build.load(run, device=device)
    vocabulary = lm.vocabulary if isinstance(lm.vocabulary, WordVocabulary) else None
    if vocabulary is None and errors != "strict":
        raise UserError("--errors cannot take effect with a model of bytes")
    settings = Data.model_validate(lm.config["data"]).model_copy(update={"errors": errors})
    if data is None:
        split = split or "test"
    path = build.locate(settings.corpus if data is None else str(data), say)
    corpus, name = build.build_text(settings, path, split, vocabulary, say)
    steps = Training.model_validate(lm.config["training"]).window_steps
    windows = protocol_windows(corpus.splits[name].tokens, protocol, split=name, window_steps=steps, name=str(path))
    figure = write_token_table(per_token, lm.model, corpus, name) if per_token else measure(lm.model, windows)
    found = {
        "run": str(run),
        "corpus": corpus.name,
        "split": name,
        "protocol": protocol,
        "method": method,
        "unseen": corpus.splits[name].unseen,
        **figure.document(corpus.vocabulary.unit),
    }
    if json:
        print_json(found)
        return
    for key, value in found.items():
        print(f"{key:15} {value:,.4f}" if isinstance(value, float) else f"{key:15} {value}")
