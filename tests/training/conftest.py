import random

import pytest

from refrain.config import Data, Experiment, Model, Schedule, Training


@pytest.fixture(scope="session")
def text_folder(tmp_path_factory):
    """A corpus with something to learn: lines of words that follow each other in a few fixed ways."""
    folder = tmp_path_factory.mktemp("text")
    draw = random.Random(1)
    verbs = {"cat": "sleeps", "dog": "barks", "bird": "sings", "fish": "swims"}
    for split, lines in (("train", 150), ("valid", 30), ("test", 30)):
        rows = []
        for _ in range(lines):
            animal = draw.choice(list(verbs))
            rows.append(f"the {draw.choice(['old', 'young', 'small'])} {animal} {verbs[animal]}\n")
        (folder / f"{split}.txt").write_text("".join(rows))
    return folder


@pytest.fixture
def experiment(text_folder):
    """A run of a second: 2 epochs of 12 windows, with dropout, Adam and a schedule that looks at validation."""
    return Experiment(
        name="tiny",
        data=Data(corpus=str(text_folder)),
        model=Model(embedding_size=6, hidden_sizes=(8, 6), dropout=0.2, tied=True),
        training=Training(
            epochs=2,
            batch_size=4,
            window_steps=15,
            optimizer="adam",
            learning_rate=0.02,
            max_norm=1.0,
            schedule=Schedule(kind="plateau", decay=0.5),
            log_windows=5,
            sample_tokens=5,
        ),
    )
