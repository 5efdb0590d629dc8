"""Byte-level multiplicative LSTMs (Krause et al., 2016, arXiv 1609.07959; Radford et al., 2017, arXiv 1704.01444).

Figures are bits per byte.
"""

from refrain.config import (
    Adam,
    Data,
    Experiment,
    GlorotInit,
    LinearSchedule,
    Model,
    MultiplicativeLSTMCell,
    Training,
)


def mlstm_bytes() -> Experiment:
    """A multiplicative LSTM on one to a few megabytes of any bytes, in minutes on a CPU.

    128 wide, 174,080 parameters, three passes. Give a file, a folder or a pattern with --data.

    Published: none.
    Ours: 2.117 / 2.340 on Tiny Shakespeare, in three minutes of CPU time without AVX-512. The time grows with the text,
    three minutes for each megabyte. After the training text, bzip2 -9 has 2.455 and xz -9e 2.557.
    """
    first = mlstm_bytes_reference()
    changed = {
        "epochs": 3,
        "batch_size": 16,
        "learning_rate": 0.016,
        "max_norm": 1.0,
        "validation_windows": 4000,
        "sample_windows": 4000,
    }
    return Experiment(
        name="mlstm-bytes",
        data=first.data,
        model=Model(cell=MultiplicativeLSTMCell(), embedding_size=64, hidden_sizes=(128,), weight_norm=True),
        training=first.training.model_copy(update=changed),
    )


def mlstm_bytes_reference() -> Experiment:
    """The model of mlstm-bytes with all defaults of the system in docs/coming-from/byte-mlstm.md.

    128 wide, 174,080 parameters, weight norm, glorot initialisation, one pass with Adam at 5e-4, no clipping. It is
    there for comparison with that system; mlstm-bytes learns more from the same text.

    Published: none.
    Ours: 4.13 / 4.16 on Tiny Shakespeare.
    """
    return Experiment(
        name="mlstm-bytes-reference",
        data=Data(corpus="tiny-shakespeare", unit="byte"),
        model=Model(
            cell=MultiplicativeLSTMCell(),
            embedding_size=64,
            hidden_sizes=(128,),
            weight_norm=True,
            init=GlorotInit(truncated=True),
        ),
        training=Training(
            epochs=1,
            batch_size=32,
            window_steps=32,
            optimizer=Adam(),
            learning_rate=5e-4,
            schedule=LinearSchedule(),
            state="carry",
            validation="zaremba",
            validation_windows=1000,
            sample_windows=100,
            sample_tokens=250,
        ),
    )


def mlstm_small() -> Experiment:
    """A multiplicative LSTM for one to a few megabytes of any bytes, on a CPU: 320 wide, 717,440 parameters.

    Nine passes over Tiny Shakespeare take thirteen minutes of CPU time.

    Published: none.
    Ours: 1.967 / 2.212 on Tiny Shakespeare.
    """
    first = mlstm_bytes_reference()
    changed = {"epochs": 9, "window_steps": 64, "learning_rate": 0.016, "max_norm": 1.0, "sample_windows": 1000}
    return Experiment(
        name="mlstm-small",
        data=first.data,
        model=Model(
            cell=MultiplicativeLSTMCell(), embedding_size=64, hidden_sizes=(320,), weight_norm=True, dropout=0.1
        ),
        training=first.training.model_copy(update=changed),
    )


def mlstm_enwik8() -> Experiment:
    """The large multiplicative LSTM on enwik8, split 90/5/5: 2,800 wide, weight norm, locked dropout.

    45,658,656 parameters. The size and the weight norm are those of the paper. The positions of dropout, the optimiser,
    the learning rate and the number of passes are ours.

    Published: 1.24 on the test bytes (Krause et al., 46 million parameters).
    Ours: not measured at full size.
    """
    first = mlstm_bytes_reference()
    changed = {"epochs": 4, "batch_size": 128, "window_steps": 200, "learning_rate": 1e-3, "max_norm": 1.0}
    return Experiment(
        name="mlstm-enwik8",
        data=Data(corpus="enwik8", unit="byte"),
        model=Model(
            cell=MultiplicativeLSTMCell(),
            embedding_size=400,
            hidden_sizes=(2800,),
            weight_norm=True,
            dropout=0.2,
            dropout_mask="locked",
        ),
        training=first.training.model_copy(update={**changed, "sample_windows": 1000}),
    )


def mlstm_text8() -> Experiment:
    """The model of mlstm-enwik8 on text8, which has 27 symbols.

    Published: 1.27 on the test characters (Krause et al., 45 million parameters).
    Ours: not measured at full size.
    """
    first = mlstm_enwik8()
    return first.model_copy(update={"name": "mlstm-text8", "data": first.data.model_copy(update={"corpus": "text8"})})


def mlstm_reviews() -> Experiment:
    """The model of the sentiment unit, in the size of the paper: 4,096 wide, 86,319,360 parameters.

    Each line of the text is a document. The clipping of gradients and the initialisation are ours.

    Published: 1.12 on held-out product reviews (Radford et al.); one month on four GPUs.
    Ours: not measured at full size.
    """
    first = mlstm_bytes_reference()
    return Experiment(
        name="mlstm-reviews",
        data=Data(corpus="reviews", unit="byte", cleaning="reviews"),
        model=Model(cell=MultiplicativeLSTMCell(), embedding_size=64, hidden_sizes=(4096,), weight_norm=True),
        training=first.training.model_copy(
            update={"batch_size": 128, "window_steps": 256, "max_norm": 1.0, "sample_windows": 1000}
        ),
    )


def char_lstm() -> Experiment:
    """A plain LSTM on bytes, the comparison for mlstm-bytes: 144 wide, 173,888 parameters, the same training time.

    It has no weight norm, and makes twice as many passes, because a step costs about half as much.

    Published: none.
    Ours: docs/recipes.md, beside mlstm-bytes.
    """
    first = mlstm_bytes()
    changed = {"epochs": 6, "learning_rate": 0.008}
    return first.model_copy(
        update={
            "name": "char-lstm",
            "model": Model(embedding_size=64, hidden_sizes=(144,)),
            "training": first.training.model_copy(update=changed),
        }
    )
