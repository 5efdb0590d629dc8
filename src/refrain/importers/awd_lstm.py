"""Models of awd-lstm-lm (Merity et al., 2018) and mos (Yang et al., 2018), whole modules or state dicts.

The model has an `encoder` (embedding), `rnns` with a layer each, perhaps wrapped for weight drop, and a `decoder` that
shares the embedding's weight. In mos, `latent` and `prior` make a mixture of softmaxes before it. awd-lstm-lm saves a
list of the model, the criterion and the optimiser. The weights are those that were saved, which after NT-ASGD's trigger
are the averages. Dropout rates are not carried over.
"""

from torch import Tensor

from refrain.config import Mixture, Model
from refrain.errors import CheckpointError

from .imported import Imported, Request, embedding_and_head, model_and_vocabulary, of_words
from .layers import LayerNames, names_in, read_stack
from .records import Record
from .tensors import Tensors, tensors_of
from .words import read_words

SMALL_CONSTANT = (
    "mos adds 1e-8 to each probability before the logarithm; the mixture of this library is exact, so that the nats of "
    "very rare words are larger."
)


def read_awd_lstm(request: Request) -> Imported:
    """Read a model and its vocabulary.

    Args:
        request: two files: the model; and the folder of the training text, the corpus that was saved beside the model,
            or a list of words.

    Raises:
        CheckpointError: when the file of the model is damaged, or the model cannot be expressed.
        DataError: when the vocabulary cannot be read or has another length than the weights.
        UserError: when there are not two files.
    """
    path, vocabulary = model_and_vocabulary(request, "the folder of the training text, corpus.*.data or a word list")
    with tensors_of(path) as tensors:
        _check_kind(tensors)
        rows, width = tensors.shape("encoder.weight", 2)
        stack = read_stack(tensors, _layers(tensors), width)
        last = stack.sizes[-1]
        mixture = "prior.weight" in tensors
        weights, tied = embedding_and_head(
            tensors, "encoder.weight", "decoder.weight", "decoder.bias", width if mixture else last
        )
        components = tensors.shape("prior.weight", 2)[0] if mixture else 1
        if mixture:
            weights |= _mixture(tensors, components, width, last)
        tensors.check_all_used()
    head = {"head": Mixture(components=components)} if components > 1 else {}
    model = Model(cell=stack.cell, embedding_size=width, hidden_sizes=stack.sizes, tied=tied, **head)
    imported = of_words(request, model, weights | stack.weights, read_words(vocabulary, rows, log=request.log))
    imported.notes += [SMALL_CONSTANT] if mixture else []
    return imported


def _layers(tensors: Tensors) -> list[LayerNames]:
    found: list[LayerNames] = []
    while True:
        module = f"rnns.{len(found)}"
        inside = f"{module}.module"
        names = [name for name in tensors.shapes if name.startswith(f"{module}.")]
        if not names and found:
            return found
        wrapped = any(name.startswith(f"{inside}.") for name in names)
        layers = names_in(tensors, inside if wrapped else module)
        if len(layers) != 1:
            raise CheckpointError(f"{tensors.path}: {module} has {len(layers)} layers, where awd-lstm-lm has one")
        found += layers


def _mixture(tensors: Tensors, components: int, width: int, last: int) -> dict[str, Tensor]:
    """The weights of a mixture of softmaxes.

    Raises:
        CheckpointError: when it has one component, which would be a hidden layer before a plain softmax.
    """
    if components < 2:
        raise CheckpointError(
            f"{tensors.path}: latent.0.weight is a hidden layer before a single softmax (n_experts 1), which this "
            "library does not have"
        )
    return {
        "head.latent_weight": tensors.read("latent.0.weight", components * width, last),
        "head.latent_bias": tensors.read("latent.0.bias", components * width),
        "head.prior_weight": tensors.read("prior.weight", components, last),
    }


def _check_kind(tensors: Tensors) -> None:
    """Check that the model has recurrent layers of a known kind and a plain softmax.

    Raises:
        CheckpointError: when it is a QRNN, or its criterion has weights of its own.
    """
    kind = tensors.module.attribute("rnn_type") if tensors.module else None
    if kind == "QRNN" or any(name.startswith("rnns.") and ".linear." in name for name in tensors.shapes):
        raise CheckpointError(f"{tensors.path}: is a QRNN (quasi-recurrent network), which this library does not have")
    for part in tensors.beside.values():
        parameters = part.attribute("_parameters") if isinstance(part, Record) else None
        if isinstance(parameters, dict) and "tail_vectors" in parameters:
            raise CheckpointError(
                f"{tensors.path}: its criterion is a split cross entropy with tail_vectors, a softmax in clusters that "
                "this library does not have"
            )
