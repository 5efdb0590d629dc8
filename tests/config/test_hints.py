"""Names that other programs have for settings, and settings of the other kind of model."""

import pytest

from refrain.config import resolve
from refrain.config.mistakes import ELSEWHERE
from refrain.config.schema import setting_names
from refrain.errors import UserError
from refrain.recipes import RECIPES


@pytest.mark.parametrize(
    ("name", "word", "hint"),
    [
        ("zaremba-small", "training.lr=1", "did you mean 'training.learning_rate'?"),
        ("zaremba-small", "bptt=20", "did you mean 'training.window_steps'?"),
        ("zaremba-small", "model.num_layers=2", "did you mean 'model.hidden_sizes'?"),
        ("zaremba-small", "model.head.name=mixture", "did you mean 'model.head'?"),
        ("pos-default", "training.lr=1", "did you mean 'training.learning_rate'?"),
        ("pos-default", "training.window_steps=3", "it is a setting of language models only"),
        ("zaremba-small", "data.suffixes=3", "it is a setting of taggers only"),
        ("zaremba-small", "training.epoch=3", "did you mean 'epochs'?"),
    ],
)
def test_the_hint_at_a_setting(name, word, hint):
    with pytest.raises(UserError) as caught:
        resolve(name, [word], RECIPES)
    assert str(caught.value) == f"command line: {word.partition('=')[0]}: unknown key; {hint}"


def test_the_names_are_those_of_settings():
    assert set(ELSEWHERE.values()) <= set(setting_names())
    assert not {name.rpartition(".")[2] for name in setting_names()} & set(ELSEWHERE) - {"layers"}
