"""Predefined sparseness: Demeester et al. (2018), Predefined Sparseness in Recurrent Sequence Models, CoNLL 2018, arXiv
1808.08720. Published parameter counts hold two biases per recurrent layer and 400 weights that nothing reads, ours one
bias and no such weights. Figures are perplexities on PTB as validation / test, or shares of training positions.
"""

from refrain.config import (
    SGD,
    Data,
    Experiment,
    ExponentialSchedule,
    FractionPlan,
    Model,
    RandomWindows,
    SparseEmbedding,
    SparseLSTMCell,
    Training,
)

from .awd_lstm import awd_lstm_ptb, awd_lstm_ptb_finetune


def sparse_awd_ptb() -> Experiment:
    """AWD-LSTM with sparse layers of 1725 units in the place of dense ones of 1150: 23,807,500 parameters.

    As its code counts, 23,823,300. The first layer's blocks see all inputs and are still smaller than asked for, so it
    is 0.4 million short of the dense model.
    Published: none that could be read; about as good as AWD-LSTM by the abstract.
    Ours: not measured at full size.
    """
    return _wide(awd_lstm_ptb(), "sparse-awd-ptb")


def sparse_awd_ptb_finetune() -> Experiment:
    """The second stage of `sparse-awd-ptb`: averaging from the first step, from the weights of a run given with --from.

    Published: none that could be read.
    Ours: not measured at full size.
    """
    return _wide(awd_lstm_ptb_finetune(), "sparse-awd-ptb-finetune")


def recite_dense() -> Experiment:
    """Learning the training text by heart: AWD-LSTM without any regulariser, 24,210,800 parameters (24,222,000).

    Published: a figure over epochs, not read.
    Ours: not measured at full size; docs/recipes.md has a smaller one.
    """
    return _recite("recite-dense", Model(embedding_size=400, hidden_sizes=(1150, 1150, 400), tied=True))


def recite_dense_reduced() -> Experiment:
    """Half as wide: 200-575-575-200, 7,062,900 parameters (7,068,500).

    Published: a figure over epochs, not read.
    Ours: not measured at full size; docs/recipes.md has a smaller one.
    """
    return _recite("recite-dense-reduced", Model(embedding_size=200, hidden_sizes=(575, 575, 200), tied=True))


def recite_sparse1() -> Experiment:
    """Sparse layers of full width on a dense embedding of half the width, 7,058,304 parameters (7,068,504).

    Published: a figure over epochs, not read.
    Ours: not measured at full size; docs/recipes.md has a smaller one.
    """
    cell = SparseLSTMCell(plan=FractionPlan(of="hidden", fraction=0.5))
    model = Model(embedding_size=200, hidden_sizes=(1150, 1150, 200), tied=True, cell=cell)
    return _recite("recite-sparse1", model)


def recite_sparse2() -> Experiment:
    """Sparse layers and a sparse embedding, all of full width, 7,059,360 parameters (7,070,560).

    Published: a figure over epochs, not read.
    Ours: not measured at full size; docs/recipes.md has a smaller one.
    """
    model = Model(
        embedding_size=400,
        hidden_sizes=(1150, 1150, 400),
        tied=True,
        cell=SparseLSTMCell(plan=FractionPlan(of="all", fraction=0.5)),
        embedding=SparseEmbedding(blocks=10, density=0.5),
    )
    return _recite("recite-sparse2", model)


def _wide(first: Experiment, name: str) -> Experiment:
    cell = SparseLSTMCell(plan=FractionPlan(of="hidden", fraction=0.66666))
    model = first.model.model_copy(update={"hidden_sizes": (1725, 1725, 400), "cell": cell})
    return first.model_copy(
        update={
            "name": name,
            "data": Data(corpus="ptb", order="ascending"),
            "model": model,
            "training": first.training.model_copy(update={"windows": RandomWindows(cap=110), "seed": 0}),
        }
    )


def _recite(name: str, model: Model) -> Experiment:
    return Experiment(
        name=name,
        data=Data(corpus="ptb", order="ascending"),
        model=model,
        training=Training(
            epochs=150,
            batch_size=20,
            window_steps=70,
            windows=RandomWindows(cap=110),
            optimizer=SGD(momentum=0.9),
            learning_rate=5.0,
            schedule=ExponentialSchedule(hold_epochs=1, decay=0.97),
            max_norm=0.25,
            train_accuracy=True,
            stop_accuracy=0.9999,
            validation="awd",
            seed=0,
        ),
    )
