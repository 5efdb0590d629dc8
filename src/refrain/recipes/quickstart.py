"""A first model, trained on text that is part of every Python installation."""

from refrain.config import Adam, Data, Experiment, LinearSchedule, Model, Training


def quickstart() -> Experiment:
    """A word model of Python's own documentation, a first run of a few minutes on a CPU.

    The time is that of 1.3 million tokens in three passes with a vocabulary of 4,067 words. It grows with the tokens
    and the vocabulary of another text, for which `refrain check quickstart --data PATH` estimates it.

    Published: none; the text is the documentation of the running Python.
    Ours: 78.1 / 78.5 on the text of Python 3.11.7.
    """
    return Experiment(
        name="quickstart",
        data=Data(corpus="python-docs", min_count=5),
        model=Model(embedding_size=160, hidden_sizes=(160,), dropout=0.2, tied=True),
        training=Training(
            epochs=3,
            batch_size=20,
            window_steps=35,
            optimizer=Adam(),
            learning_rate=0.004,
            max_norm=1.0,
            schedule=LinearSchedule(),
        ),
    )
