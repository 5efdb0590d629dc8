"""Models of icefall's rnn_lm and of the package rnnlm, as speech recognisers use them.

A checkpoint has the state dict under `model`: `input_embedding`, `rnn` (nn.LSTM) and `output_linear`. Tokens are those
of the recogniser. Each sentence is scored on its own, from a zero state and the token that begins a sentence: in this
library, each line is a document of its own, and the model reads the end of the line before it. In icefall, `<sos/eos>`
is both. Where there are two tokens, the one that ends a sentence is never read, so that it gets the vector of the one
that begins it.
"""

from pathlib import Path

from refrain.config import Model
from refrain.data.units.word.vocabulary import UNK
from refrain.errors import CheckpointError, DataError, shown

from .imported import Imported, Request, embedding_and_head, model_and_vocabulary, of_words
from .layers import names_in, read_stack
from .tensors import Tensors, tensors_of
from .words import Words, read_symbols, renamed

# the tokens that begin and end a sentence, where the checkpoint does not have their ids
BOUNDARIES = (("<sos/eos>", "<sos/eos>"), ("<sos>", "<eos>"), ("<s>", "</s>"))


def read_icefall(request: Request) -> Imported:
    """Read a model and its tokens.

    Args:
        request: two files: a checkpoint, and `tokens.txt` or the `.vocab` of SentencePiece.

    Raises:
        CheckpointError: when the file of the model is damaged, or the model cannot be expressed.
        DataError: when the tokens cannot be read, or are not as many as the weights are for.
        UserError: when there are not two files.
    """
    path, symbols = model_and_vocabulary(request, "tokens.txt, or bpe.vocab of SentencePiece")
    with tensors_of(path) as tensors:
        rows, width = tensors.shape("input_embedding.weight", 2)
        stack = read_stack(tensors, names_in(tensors, "rnn"), width)
        weights, tied = embedding_and_head(
            tensors, "input_embedding.weight", "output_linear.weight", "output_linear.bias", stack.sizes[-1]
        )
        tensors.check_all_used()
        tokens = read_symbols(symbols, rows)
        begin, end = _boundaries(tensors, tokens, symbols)
    if begin != end:
        if tied:
            weights["head.weight"] = weights["embedding.weight"].clone()
            tied = False
        weights["embedding.weight"][end] = weights["embedding.weight"][begin]
    words = renamed(tokens, symbols, line_end=tokens[end], unknown=UNK)
    model = Model(cell=stack.cell, embedding_size=width, hidden_sizes=stack.sizes, tied=tied)
    imported = of_words(request, model, weights | stack.weights, Words(words), resets=True)
    imported.notes.append(
        "Texts have to be given as tokens of the recogniser with blanks between them, as spm_encode writes them; "
        f"{tokens[end]} is <eos> here, which every line ends with."
    )
    return imported


def _boundaries(tensors: Tensors, tokens: list[str], path: Path) -> tuple[int, int]:
    """The ids of the tokens that begin and end a sentence.

    Raises:
        CheckpointError: when the checkpoint has ids that are none of the vocabulary.
        DataError: when neither the checkpoint nor the tokens say which they are.
    """
    given = tuple(tensors.beside.get(name) for name in ("sos_id", "eos_id"))
    if given == (None, None):
        for begin, end in BOUNDARIES:
            if begin in tokens and end in tokens:
                return tokens.index(begin), tokens.index(end)
        raise DataError(f"{path}: has neither <sos/eos> nor <sos> and <eos>, with which a sentence begins and ends")
    begin_id, end_id = given
    if type(begin_id) is int and type(end_id) is int and all(0 <= each < len(tokens) for each in (begin_id, end_id)):
        return begin_id, end_id
    raise CheckpointError(
        f"{tensors.path}: sos_id {shown(begin_id)} and eos_id {shown(end_id)} are no ids of {len(tokens):,} tokens"
    )
