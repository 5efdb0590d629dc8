"""Models of PyTorch's example word_language_model and its descendants, such as colorlessgreenRNNs.

The model has an `encoder` (embedding), an `rnn` (nn.LSTM) and a `decoder` (linear). Its text is one stream: a line ends
with `<eos>`, and the state is carried from line to line.
"""

from refrain.config import Model
from refrain.errors import CheckpointError

from .imported import Imported, Request, embedding_and_head, model_and_vocabulary, of_words
from .layers import names_in, read_stack
from .tensors import tensors_of
from .words import read_words


def read_word_language_model(request: Request) -> Imported:
    """Read a model and its vocabulary.

    Args:
        request: two files: the model, and the vocabulary or the folder of the training text.

    Raises:
        CheckpointError: when the file of the model is damaged, or the model cannot be expressed.
        DataError: when the vocabulary cannot be read or has another length than the weights.
        UserError: when there are not two files.
    """
    path, vocabulary = model_and_vocabulary(request, "vocab.txt, or the folder of the training text")
    with tensors_of(path) as tensors:
        if any(name.startswith("transformer") or ".self_attn." in name for name in tensors.shapes):
            raise CheckpointError(f"{path}: is a transformer; only recurrent models are imported")
        rows, width = tensors.shape("encoder.weight", 2)
        stack = read_stack(tensors, names_in(tensors, "rnn"), width)
        weights, tied = embedding_and_head(tensors, "encoder.weight", "decoder.weight", "decoder.bias", stack.sizes[-1])
        tensors.check_all_used()
    model = Model(cell=stack.cell, embedding_size=width, hidden_sizes=stack.sizes, tied=tied)
    words = read_words(vocabulary, rows, log=request.log)
    return of_words(request, model, weights | stack.weights, words)
