"""Any language model of an embedding, LSTM layers and a softmax, as a state dict whose tensors a TOML file names.

```toml
embedding = "embed.weight"
lstm = "lstm"                      # a module of torch.nn.LSTM, or a list of them from the bottom up
head_weight = "out.weight"         # leave it out where the file has none, as the head shares the embedding
head_bias = "out.bias"             # leave it out where there is none
unit = "word"                      # or "byte"
line_end = "<eos>"                 # the word that ends a line
unknown = "<unk>"                  # the word for unknown words
lowercase = false
lines_are_documents = false        # whether the state is zero at the beginning of each line
```
"""

from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError, field_validator
from torch import Tensor

from refrain.config import Data, Model
from refrain.config.toml_file import line_of, lines_of, read_toml
from refrain.data.locating import NO_CORPUS
from refrain.data.units.byte.vocabulary import ByteVocabulary
from refrain.data.units.word.vocabulary import EOS, UNK
from refrain.errors import CheckpointError, UserError, nearest, shortened, shown

from .imported import Imported, Request, embedding_and_head, of_words
from .layers import names_in, read_stack
from .tensors import Tensors, listed, tensors_of
from .words import read_words, renamed

BYTES = 256
MOST_MISTAKES = 20


class TensorNames(BaseModel):
    """The content of the TOML file."""

    model_config = ConfigDict(strict=True, frozen=True, extra="forbid")

    embedding: str
    lstm: str | list[str]
    head_weight: str | None = None
    head_bias: str | None = None
    unit: Literal["word", "byte"] = "word"
    line_end: str = EOS
    unknown: str = UNK
    lowercase: bool = False
    lines_are_documents: bool = False

    @field_validator("lstm", mode="before")
    @classmethod
    def _modules(cls, given: Any) -> Any:
        names = [given] if isinstance(given, str) else given
        if not isinstance(names, list) or not names or not all(isinstance(name, str) for name in names):
            raise ValueError(f"must be the name of a module, or a list of such names (got {shown(given)})")
        if len(set(names)) < len(names):
            raise ValueError(f"names a module twice (got {shown(given)})")
        return given


def read_pytorch_lstm(request: Request) -> Imported:
    """Read a model and its vocabulary.

    Args:
        request: the state dict, the TOML file with the names of its tensors, and for a model of words the vocabulary.

    Raises:
        CheckpointError: when the file of the model is damaged, or the model cannot be expressed.
        DataError: when the vocabulary cannot be read or has another length than the weights.
        UserError: when the TOML file is wrong, or a file is missing or left over.
    """
    names = _names([path for path in request.files if path.suffix == ".toml"])
    files = [path for path in request.files if path.suffix != ".toml"]
    if names.unit == "byte":
        _check_of_bytes(request, names)
    needed = 2 if names.unit == "word" else 1
    if len(files) != needed:
        what = "the model and its vocabulary" if needed == 2 else "the model"
        raise UserError(f"beside the TOML file, {what} must be given for a model of {names.unit}s (got {len(files)})")
    modules = [names.lstm] if isinstance(names.lstm, str) else names.lstm
    with tensors_of(files[0]) as tensors:
        rows, width = tensors.shape(names.embedding, 2)
        stack = read_stack(tensors, [layer for module in modules for layer in names_in(tensors, module)], width)
        for name in (names.head_weight, names.head_bias):
            if name is not None:
                tensors.shape(name, 2 if name == names.head_weight else 1)
        if names.head_weight is None:
            _check_shared(tensors, (rows, width), stack.sizes[-1])
        weights, tied = embedding_and_head(
            tensors, names.embedding, names.head_weight or "", names.head_bias or "", stack.sizes[-1]
        )
        tensors.check_all_used(_remedy(tensors, names, weights["embedding.weight"]))
    weights |= stack.weights
    model = Model(cell=stack.cell, embedding_size=width, hidden_sizes=stack.sizes, tied=tied)
    if names.unit == "byte":
        return _of_bytes(request, names, files[0], model, weights, rows)
    words = read_words(files[1], rows, log=request.log)
    if "unknown" in names.model_fields_set and names.unknown not in words.words:
        raise UserError(
            f"unknown: {shown(names.unknown)} is no word of {files[1]}{nearest(names.unknown, words.words)}; leave it "
            "out where the vocabulary has no word for unknown words"
        )
    own = renamed(words.words, files[1], line_end=names.line_end, unknown=names.unknown)
    asked = request._replace(files=files, lowercase=request.lowercase or names.lowercase)
    return of_words(asked, model, weights, words._replace(words=own), resets=names.lines_are_documents)


def _check_shared(tensors: Tensors, embedding: tuple[int, int], hidden_size: int) -> None:
    """Check that a head whose weight is not named can share that of the embedding.

    Raises:
        CheckpointError: when the last layer has another width; the message names the tensors that may be the weight.
    """
    rows, width = embedding
    if hidden_size == width:
        return
    found = [name for name, shape in tensors.shapes.items() if shape == (rows, hidden_size)]
    which = f", where NAME may be {listed(found)}" if found else "; no tensor of the file has this shape"
    raise CheckpointError(
        f"{tensors.path}: the last layer has another width than the embedding ({hidden_size} and {width}), so that the "
        f"head cannot share its weight; name the head's, {(rows, hidden_size)}, in the TOML file: head_weight = "
        f'"NAME"{which}'
    )


def _remedy(tensors: Tensors, names: TensorNames, embedding: Tensor) -> str:
    """What to do if the head shares the embedding and the TOML file does not name its weight, which the file has."""
    if names.head_weight is not None:
        return ""
    equal = next((shortened(name, 80) for name in tensors.unused() if tensors.equals(name, embedding)), "")
    return equal and f'{equal} equals the embedding: add head_weight = "{equal}"'


def _check_of_bytes(request: Request, names: TensorNames) -> None:
    """Check that a model of bytes has no setting that words alone have.

    Raises:
        UserError: when it has one.
    """
    given = {name: name in names.model_fields_set for name in ("line_end", "unknown")}
    given["lowercase"] = request.lowercase or names.lowercase
    if mistakes := [name for name, is_given in given.items() if is_given]:
        raise UserError(f"{mistakes[0]} cannot take effect with a model of bytes; leave it out")


def _of_bytes(
    request: Request, names: TensorNames, path: Path, model: Model, weights: dict[str, Tensor], rows: int
) -> Imported:
    if rows != BYTES:
        raise CheckpointError(f"{path}: {names.embedding} is for {rows:,} tokens, but there are {BYTES} bytes")
    data = Data(corpus=request.data or NO_CORPUS, unit="byte")
    return Imported(model, weights, ByteVocabulary(), data, names.lines_are_documents)


def _names(files: list[Path]) -> TensorNames:
    if len(files) != 1:
        raise UserError(f"one TOML file with the names of the tensors must be given (got {len(files)})")
    text, tree = read_toml(files[0])
    try:
        return TensorNames.model_validate(tree)
    except ValidationError as error:
        lines = lines_of(text)
        mistakes = []
        # a misspelt key first, for which another one is missing
        for details in sorted(error.errors(), key=lambda each: each["type"] != "extra_forbidden"):
            key = shortened(str(details["loc"][0]), 200)
            line = f":{line_of(key, lines)}" if key in tree else ""
            mistakes.append(f"{files[0]}{line}: {key}: {_mistake(key, details)}")
        raise UserError(*mistakes[:MOST_MISTAKES]) from None


def _mistake(key: str, details: Any) -> str:
    """What is wrong with a key of the TOML file."""
    if details["type"] == "extra_forbidden":
        known = nearest(key, TensorNames.model_fields) or f"; known here: {', '.join(TensorNames.model_fields)}"
        return f"unknown key{known}"
    if details["type"] == "missing":
        return "must be given"
    if details["type"] == "value_error":
        return str(details["msg"].removeprefix("Value error, "))
    return f"{details['msg'][0].lower()}{details['msg'][1:]} (got {shown(details['input'])})"
