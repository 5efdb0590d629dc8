"""Predefined sparseness (Demeester et al., 2018, Predefined Sparseness in Recurrent Sequence Models, arXiv 1808.08720).

Published parameter counts include two biases per recurrent layer and 400 or 200 unused weights; ours include one bias
per layer, which starts as the sum of two. Figures are perplexities on PTB as validation / test, or accuracies on the
training text.
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
    StandardInit,
    Training,
)

from .awd_lstm import awd_lstm_ptb, awd_lstm_ptb_finetune

TWO_BIASES = StandardInit(biases=2)


def sparse_awd_ptb() -> Experiment:
    """AWD-LSTM with sparse layers of 1725 units instead of dense layers of 1150: 23,807,500 parameters.

    The code of the paper counts 23,823,300. The blocks of the first layer read all inputs and still have fewer weights
    than requested, so the model has 0.4 million parameters less than the dense model.
    Published: no figures in the text; by the abstract, about as good as AWD-LSTM.
    Ours: not measured at full size; docs/recipes.md has a smaller one.
    """
    return _wide(awd_lstm_ptb(), "sparse-awd-ptb")


def sparse_awd_ptb_finetune() -> Experiment:
    """The second stage of `sparse-awd-ptb`: starts from a run given with --from, and averages from the first step.

    It trains at least 102 epochs, as in the code of the paper.

    Published: no figures in the text.
    Ours: not measured at full size.
    """
    second = _wide(awd_lstm_ptb_finetune(), "sparse-awd-ptb-finetune")
    return second.model_copy(update={"training": second.training.model_copy(update={"stop_min_epochs": 102})})


def recite_dense() -> Experiment:
    """Memorises the training text: AWD-LSTM without regularisation, 24,210,800 parameters (published: 24,222,000).

    Published: a plot over epochs, without numbers.
    Ours: not measured at full size; docs/recipes.md has a smaller one.
    """
    return _recite(
        "recite-dense", Model(embedding_size=400, hidden_sizes=(1150, 1150, 400), tied=True, init=TWO_BIASES)
    )


def recite_dense_reduced() -> Experiment:
    """As recite-dense with half the widths: 200-575-575-200, 7,062,900 parameters (published: 7,068,500).

    Published: a plot over epochs, without numbers.
    Ours: not measured at full size; docs/recipes.md has a smaller one.
    """
    return _recite(
        "recite-dense-reduced", Model(embedding_size=200, hidden_sizes=(575, 575, 200), tied=True, init=TWO_BIASES)
    )


def recite_sparse1() -> Experiment:
    """Sparse layers of full width, dense embedding of half width, 7,058,304 parameters (published: 7,068,504).

    Published: a plot over epochs, without numbers.
    Ours: not measured at full size; docs/recipes.md has a smaller one.
    """
    cell = SparseLSTMCell(plan=FractionPlan(of="hidden", fraction=0.5))
    model = Model(embedding_size=200, hidden_sizes=(1150, 1150, 200), tied=True, cell=cell, init=TWO_BIASES)
    return _recite("recite-sparse1", model)


def recite_sparse2() -> Experiment:
    """Sparse layers and a sparse embedding of full width, 7,059,360 parameters (published: 7,070,560).

    Published: a plot over epochs, without numbers.
    Ours: not measured at full size; docs/recipes.md has a smaller one.
    """
    model = Model(
        embedding_size=400,
        hidden_sizes=(1150, 1150, 400),
        tied=True,
        init=TWO_BIASES,
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
