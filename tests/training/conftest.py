import random

import pytest

from refrain.config import NTASGD, Data, Experiment, Model, PlateauSchedule, Training


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


TORCH = {
    "optimizer": "adam",
    "learning_rate": 0.02,
    "max_norm": 1.0,
    "schedule": PlateauSchedule(decay=0.5),
}
# averaging from the first epoch's end on: no validation is better than a learning rate of 40 leaves it
AWD = {
    "optimizer": NTASGD(trigger_window=1),
    "learning_rate": 40.0,
    "stop_window": 5,
    "max_norm": 0.25,
    "weight_decay": 1e-6,
    "windows": "random",
    "activation_penalty": 2.0,
    "temporal_penalty": 1.0,
}
AWD_MODEL = {"dropout_mask": "locked", "word_dropout": 0.1, "weight_drop": 0.5}


@pytest.fixture(params=["plain", "awd"])
def experiment(text_folder, request):
    """A run of a second, with dropout and things that change during the run."""
    awd = request.param == "awd"
    return Experiment(
        name=request.param,
        data=Data(corpus=str(text_folder)),
        model=Model(embedding_size=6, hidden_sizes=(8, 6), dropout=0.2, tied=True, **(AWD_MODEL if awd else {})),
        training=Training(
            epochs=6 if awd else 2,
            batch_size=4,
            window_steps=15,
            log_windows=5,
            sample_tokens=5,
            **(AWD if awd else TORCH),
        ),
    )
