"""Taggers: the small tagger of Demeester, Deleu, Godin & Develder (2018) and a tagger for practical use.

Predefined Sparseness in Recurrent Sequence Models, arXiv 1808.08720, with the settings of its code. Figures are
accuracies on test; `docs/recipes.md` has them with their commands.
"""

from typing import Literal

from refrain.config import (
    LinearSchedule,
    SparseEmbedding,
    StandardInit,
    TaggedData,
    TaggerExperiment,
    TaggerModel,
    TaggerTraining,
)


def pos_dense() -> TaggerExperiment:
    """A tagger with dense word vectors of width 5, for comparison with sparse vectors of as many weights.

    Published: a curve over embedding widths, no figure.
    Ours: 88.9 % of the test words of UD English-EWT (UPOS) in the best of 20 epochs, mean of five seeds, with
    model.init.biases=1.
    """
    return TaggerExperiment(
        name="pos-dense",
        data=TaggedData(order="ascending"),
        model=TaggerModel(
            embedding_size=5,
            hidden_sizes=(10,),
            projection_size=10,
            embedding_dropout=0.2,
            dropout_mask="locked",
            weight_drop=0.2,
            init=StandardInit(biases=2),
        ),
        training=TaggerTraining(epochs=50, batch_size=20, learning_rate=0.001),
    )


def pos_sparse() -> TaggerExperiment:
    """As pos-dense, with as many weights in sparse vectors of width 20, which are longer for frequent words.

    Published: a curve over embedding widths, no figure.
    Ours: 91.0 % of the test words of UD English-EWT (UPOS) in the best of 20 epochs, mean of five seeds, with
    model.init.biases=1.
    """
    return _sparse("pos-sparse", order="ascending")


def pos_sparse_descending() -> TaggerExperiment:
    """As pos-sparse, with the order of words reversed, as a check: rare words have the long vectors.

    Published: a curve over embedding widths, no figure.
    Ours: 72.6 % of the test words of UD English-EWT (UPOS) in the best of 20 epochs, mean of five seeds, with
    model.init.biases=1 data.ties=none.
    """
    return _sparse("pos-sparse-descending", order="descending")


def _sparse(name: str, order: Literal["ascending", "descending"]) -> TaggerExperiment:
    dense = pos_dense()
    # as in the code of the paper, which is the default for rising counts
    ties = "first-seen" if order == "descending" else None
    data = dense.data.model_copy(update={"order": order, "ties": ties})
    layout = {"embedding_size": 20, "embedding": SparseEmbedding(blocks=20, density=0.25)}
    model = dense.model.model_copy(update=layout)
    return dense.model_copy(update={"name": name, "data": data, "model": model})


def pos_default() -> TaggerExperiment:
    """A tagger for practical use: words with prefixes, suffixes and shapes, and a bidirectional LSTM.

    It trains in minutes on one core.

    Published: none.
    Ours: 95.3 % of the test words of UD English-EWT (UPOS), 97.0 % of those of UD Afrikaans-AfriBooms and 96.2 % of
    those of the WSJ sample, means of five seeds.
    """
    return TaggerExperiment(
        name="pos-default",
        data=TaggedData(lower_case=True, prefixes=4, suffixes=4, shapes=True),
        model=TaggerModel(embedding_size=96, hidden_sizes=(128,), dropout=0.5, dropout_mask="locked"),
        training=TaggerTraining(
            epochs=10,
            batch_size=32,
            learning_rate=0.005,
            max_norm=5.0,
            schedule=LinearSchedule(),
            unknown_rate=1.0,
            stop_window=4,
        ),
    )
