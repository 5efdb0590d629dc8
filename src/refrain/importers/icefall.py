"""Models of icefall's rnn_lm and of the package rnnlm, as speech recognisers use them.

A checkpoint has the state dict under `model`: `input_embedding`, `rnn` (nn.LSTM) and `output_linear`. Tokens are those
of the recogniser. Each sentence is scored on its own, from a zero state and the token `<sos/eos>`, which also ends it:
in this library, each line is a document of its own.
"""

from refrain.config import Model
from refrain.data.units.word.vocabulary import UNK
from refrain.errors import CheckpointError, shown

from .imported import Imported, Request, embedding_and_head, model_and_vocabulary, of_words
from .layers import names_in, read_stack
from .tensors import Tensors, tensors_of
from .words import Words, read_symbols, renamed

# id of the token that begins and ends a sentence, where the checkpoint does not say it
BOUNDARY = 1


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
        boundary = _boundary(tensors, rows)
    tokens = read_symbols(symbols, rows)
    words = renamed(tokens, symbols, line_end=tokens[boundary], unknown=UNK)
    model = Model(cell=stack.cell, embedding_size=width, hidden_sizes=stack.sizes, tied=tied)
    imported = of_words(request, model, weights | stack.weights, Words(words), resets=True)
    imported.notes.append(
        f"Texts have to be given as tokens of the recogniser with blanks between them, as spm_encode writes them; "
        f"{tokens[boundary]} is <eos> here, which every line ends with."
    )
    return imported


def _boundary(tensors: Tensors, rows: int) -> int:
    """The id of the token that begins and ends a sentence.

    Raises:
        CheckpointError: when these are two tokens, or none of the vocabulary.
    """
    begin, end = (tensors.beside.get(name, BOUNDARY) for name in ("sos_id", "eos_id"))
    if type(begin) is not int or begin != end or not 0 <= begin < rows:
        raise CheckpointError(
            f"{tensors.path}: sentences must begin and end with one and the same token (got sos_id {shown(begin)} and "
            f"eos_id {shown(end)} of {rows:,})"
        )
    return begin
