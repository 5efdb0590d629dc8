"""AWD-LSTM (Merity, Keskar & Socher, 2018) and its mixture of softmaxes (Yang et al., 2018).

Regularizing and Optimizing LSTM Language Models, arXiv 1708.02182; Breaking the Softmax Bottleneck, arXiv 1711.03953.
Figures are perplexities as validation / test. Published parameter counts include two biases per recurrent layer; ours
include one, which starts as the sum of two.
"""

from refrain.config import (
    ASGD,
    NTASGD,
    Data,
    Experiment,
    Mixture,
    Model,
    RandomWindows,
    StandardInit,
    Training,
)


def awd_lstm_ptb() -> Experiment:
    """AWD-LSTM on PTB: 400-1150-1150-400, tied, 24,210,800 parameters (24,221,600 with two biases per layer).

    Published: 60.7 / 58.8 before finetuning (paper), 61.2 / 58.8 (its code).
    Ours: not measured at full size; docs/recipes.md has measurements of smaller runs.
    """
    return Experiment(
        name="awd-lstm-ptb",
        data=Data(corpus="ptb", order="first-seen"),
        model=Model(
            embedding_size=400,
            hidden_sizes=(1150, 1150, 400),
            dropout_mask="locked",
            embedding_dropout=0.4,
            between_dropout=0.25,
            output_dropout=0.4,
            word_dropout=0.1,
            weight_drop=0.5,
            tied=True,
            init=StandardInit(biases=2),
        ),
        training=Training(
            epochs=500,
            batch_size=20,
            window_steps=70,
            windows=RandomWindows(),
            optimizer=NTASGD(trigger_window=5),
            learning_rate=30.0,
            weight_decay=1.2e-6,
            max_norm=0.25,
            activation_penalty=2.0,
            temporal_penalty=1.0,
            validation="awd",
            seed=141,
        ),
    )


def awd_lstm_ptb_finetune() -> Experiment:
    """The second stage on PTB: starts from the weights of a run given with --from, and averages from the first step.

    Published: 60.0 / 57.3 (paper), 58.8 / 56.5 (its code).
    Ours: not measured at full size; docs/recipes.md has a smaller one.
    """
    first = awd_lstm_ptb()
    changed = {"optimizer": ASGD(), "stop_window": 5, "windows": RandomWindows(cap=80)}
    training = first.training.model_copy(update=changed)
    return first.model_copy(update={"name": "awd-lstm-ptb-finetune", "training": training})


def awd_lstm_wikitext2() -> Experiment:
    """AWD-LSTM on WikiText-2: 33,545,278 parameters (33,556,078 with two biases per layer).

    Published: 69.1 / 66.0 before finetuning (paper), 68.7 / 65.6 (its code).
    Ours: not measured at full size.
    """
    first = awd_lstm_ptb()
    return Experiment(
        name="awd-lstm-wikitext2",
        data=Data(corpus="wikitext-2", order="first-seen"),
        model=first.model.model_copy(update={"embedding_dropout": 0.65, "between_dropout": 0.2}),
        training=first.training.model_copy(update={"epochs": 750, "batch_size": 80, "seed": 1882}),
    )


def awd_lstm_mos_ptb() -> Experiment:
    """AWD-LSTM with a mixture of 15 softmaxes on PTB: 280-960-960-620, 21,490,460 parameters.

    21,500,620 with two biases per layer.

    Published: 58.08 / 55.97 before finetuning (paper).
    Ours: not measured at full size.
    """
    first = awd_lstm_ptb()
    changed = {"epochs": 1000, "batch_size": 12, "learning_rate": 20.0, "windows": RandomWindows(cap=110), "seed": 28}
    return Experiment(
        name="awd-lstm-mos-ptb",
        data=first.data,
        model=Model(
            embedding_size=280,
            hidden_sizes=(960, 960, 620),
            dropout_mask="locked",
            embedding_dropout=0.4,
            between_dropout=0.225,
            output_dropout=0.4,
            word_dropout=0.1,
            weight_drop=0.5,
            head=Mixture(components=15, latent_dropout=0.29),
            tied=True,
            init=StandardInit(biases=2),
        ),
        training=first.training.model_copy(update=changed),
    )
