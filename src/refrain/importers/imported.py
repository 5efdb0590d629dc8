"""What every format makes of its files: the settings, the weights and the vocabulary of a language model."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from refrain.config import Data, Model
from refrain.data import Corpus, Vocabulary
from refrain.data.locating import NO_CORPUS
from refrain.data.units.word.preparation import Preparation
from refrain.data.units.word.vocabulary import EOS, UNK, WordVocabulary
from refrain.errors import CheckpointError, DataError, UserError
from refrain.models.other_vocabulary import NEVER

from .tensors import Tensors
from .words import Words


@dataclass
class Imported:
    """A language model from elsewhere.

    Attributes:
        model: its settings.
        weights: by their names in a language model of this library.
        vocabulary: its tokens.
        data: how it reads text.
        resets: whether each line is a document of its own.
        notes: what differs from the program that made the model, in whole sentences.
        corpus: the text that the vocabulary was made from, if it was made from one.
    """

    model: Model
    weights: dict[str, Tensor]
    vocabulary: Vocabulary
    data: Data
    resets: bool = False
    notes: list[str] = field(default_factory=list)
    corpus: Corpus | None = None


class Request(NamedTuple):
    """What a user asks for.

    Attributes:
        files: the files, in the order in which they were given.
        data: the corpus of the run; None where it is not known.
        lowercase: whether texts are converted to lower case.
        log: called with a line of text before steps that take long.
    """

    files: list[Path]
    data: str | None
    lowercase: bool
    log: Callable[[str], None]


def embedding_and_head(
    tensors: Tensors, embedding: str, head: str, bias: str, hidden_size: int
) -> tuple[dict[str, Tensor], bool]:
    """Read an embedding and a softmax head.

    Args:
        tensors: the tensors of the model.
        embedding: the name of the embedding's weight.
        head: the name of the head's weight; the head is tied if it is missing or equal to the embedding.
        bias: the name of the head's bias; it is zero if it is missing.
        hidden_size: the width of the last recurrent layer, which the head reads.

    Returns:
        The weights by their names in a language model of this library, and whether the head is tied.

    Raises:
        CheckpointError: when one does not fit the others.
    """
    rows, width = tensors.shape(embedding, 2)
    weights = {"embedding.weight": tensors.read(embedding, rows, width)}
    tied = True
    if head in tensors:
        weight = tensors.read(head, rows, hidden_size)
        tied = hidden_size == width and torch.equal(weight, weights["embedding.weight"])
        if not tied:
            weights["head.weight"] = weight
    elif hidden_size != width:
        raise CheckpointError(
            f"{tensors.path}: has no {head}, and its last layer is not as wide as the embedding, which it could share "
            f"(got {hidden_size} and {width})"
        )
    weights["head.bias"] = tensors.read(bias, rows) if bias in tensors else torch.zeros(rows)
    return weights, tied


def of_words(
    request: Request, model: Model, weights: dict[str, Tensor], words: Words, *, resets: bool = False
) -> Imported:
    """A model of words. If its vocabulary has no `<unk>`, one that is never predicted is added.

    Args:
        request: what the user asks for.
        model: the settings of the model.
        weights: the weights of the model.
        words: its words, in which `<eos>` ends a line.
        resets: whether each line is a document of its own.

    Raises:
        DataError: when no word ends a line.
    """
    notes = [*words.notes]
    names = words.words
    if EOS not in names:
        raise DataError(
            f"{request.files[-1]}: has no {EOS}, which ends a line; name the token that does in the TOML file of the "
            "format pytorch-lstm"
        )
    if UNK not in names:
        names = [*names, UNK]
        for name in ("embedding.weight", "head.weight"):
            if name in weights:
                weights[name] = torch.cat([weights[name], torch.zeros(1, weights[name].shape[1])])
        weights["head.bias"] = torch.cat([weights["head.bias"], torch.tensor([NEVER])])
        notes.append(
            f"The vocabulary had no word for unknown words, so that {UNK} was added as the last one, with a vector of "
            "zeros and a probability of zero: of a text with unknown words, only figures without them mean something."
        )
    data = Data(
        corpus=request.data or str(words.folder or NO_CORPUS),
        lowercase=request.lowercase,
        order="first-seen",
        vocabulary_from="all",
    )
    vocabulary = WordVocabulary(names, Preparation(lowercase=request.lowercase))
    return Imported(model, weights, vocabulary, data, resets, notes, words.corpus)


def model_and_vocabulary(request: Request, vocabulary: str) -> tuple[Path, Path]:
    """The two files of a format.

    Args:
        request: what the user asks for.
        vocabulary: what the second one is, for the message.

    Raises:
        UserError: when there are not two.
    """
    if len(request.files) != 2:
        raise UserError(
            f"two files are needed: the model, and its vocabulary ({vocabulary}) (got {len(request.files)})"
        )
    return request.files[0], request.files[1]
