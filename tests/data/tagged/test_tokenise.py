"""Plain text to sentences and tokens."""

import pytest

from refrain.data.tagged.tokenise import sentences_of, tokens_of


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("She didn't, I'm told.", "She did n't , I 'm told ."),
        ("Mr. Smith's U.S. e-mail", "Mr. Smith 's U.S. e - mail"),
        ("It costs $3.50 (1,000 times)!!", "It costs $ 3.50 ( 1,000 times ) !!"),
        ("see www.a.org/b?c=1, or me@a.org.", "see www.a.org/b?c=1 , or me@a.org ."),
        ("the 1st at 10:30", "the 1st at 10:30"),
        ("naïve Ærø 日本", "naïve Ærø 日本"),
        ("", ""),
    ],
)
def test_tokens(text, tokens):
    found = tokens_of(text)
    assert [token.form for token in found] == tokens.split()
    # nothing is lost: with its blanks the text is there again
    assert "".join(token.form + " " * token.space_after for token in found).strip() == text


def test_sentences():
    lines = ['He left. "Really?" she asked. (Yes.) It was approx. two', "", "A new line"]
    found = [" ".join(token.form for token in sentence) for sentence in sentences_of(lines)]
    assert found == [
        "He left .",
        '" Really ? " she asked .',
        "( Yes . )",
        "It was approx . two",
        "A new line",
    ]
