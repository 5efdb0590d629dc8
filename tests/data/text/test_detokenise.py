"""Tokens are joined as English is written."""

import pytest

from refrain.data.text.detokenise import Detokeniser, detokenise

TEXTS = {
    "he is n't here , she 's gone .": "he isn't here, she's gone.",
    "`` you ca n't , '' he said -lrb- twice -rrb- .": '"you can\'t," he said (twice).',
    "$ N million or N % of it": "$N million or N% of it",
    'a " quoted " word : well @-@ known , 1 @,@ 000 @.@ 5': 'a "quoted" word: well-known, 1,000.5',
    "the boys ' toys and / or <unk> & co. 's": "the boys' toys and/or <unk> & co.'s",
    "a line\n. another ?": "a line\n. another?",
    'an open " one\nhas " no effect " here': 'an open "one\nhas "no effect" here',
    "": "",
}


@pytest.mark.parametrize("tokens", TEXTS)
def test_tokens_are_joined(tokens):
    assert detokenise(tokens) == TEXTS[tokens]


def test_tokens_are_joined_as_they_come():
    join = Detokeniser()
    assert [join(token) for token in ("so", ",", "(", "no", ")", "\n", "yes")] == [
        "so",
        ",",
        " (",
        "no",
        ")",
        "\n",
        "yes",
    ]
