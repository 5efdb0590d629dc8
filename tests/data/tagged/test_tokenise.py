"""Plain text to sentences and tokens."""

import unicodedata

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
        ("example.com. See a.co.uk/x, README", "example.com . See a.co.uk/x , README"),
        ("end.The next", "end . The next"),
        ("l'État d'Artagnan aujourd'hui", "l' État d' Artagnan aujourd'hui"),
        ("O’Brien’s dell’arte п’ять can’t", "O’Brien ’s dell’ arte п’ять ca n’t"),
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


def decomposed(text):
    return unicodedata.normalize("NFD", text)


LANGUAGES = {
    "Hindi": ("हिन्दी में लिखना। दूसरा", ["हिन्दी में लिखना ।", "दूसरा"]),
    "Bengali": ("আমি বাংলায় গান গাই।", ["আমি বাংলায় গান গাই ।"]),
    "Tamil": ("தமிழ் மொழி.", ["தமிழ் மொழி ."]),
    "Thai": ("ภาษาไทย ดี", ["ภาษาไทย ดี"]),
    "pointed Hebrew": ("שָׁלוֹם עוֹלָם", ["שָׁלוֹם עוֹלָם"]),
    "vocalised Arabic": ("كَيْفَ حَالُكَ؟ بِخَيْرٍ.", ["كَيْفَ حَالُكَ ؟", "بِخَيْرٍ ."]),
    "Persian": ("می\u200cخواهم بروم", ["می\u200cخواهم بروم"]),
    "Greek": ("Πού είναι; Εδώ.", ["Πού είναι ;", "Εδώ ."]),
    "Greek titles": ("Ο κ. Παπαδόπουλος ήρθε.", ["Ο κ. Παπαδόπουλος ήρθε ."]),
    "decomposed Greek": (decomposed("Ελλάδα μου;"), [decomposed("Ελλάδα μου ;")]),
    "decomposed Vietnamese": (decomposed("Đây là Đà Nẵng."), [decomposed("Đây là Đà Nẵng .")]),
    "Chinese": ("这是书。那也是！「好。」走", ["这是书 。", "那也是 ！", "「 好 。 」", "走"]),
    "Japanese": ("そう？！ね", ["そう ？ ！", "ね"]),
    "Armenian": ("Բարև։ Այո։", ["Բարև ։", "Այո ։"]),
    "English semicolon": ("He left; She stayed.", ["He left ; She stayed ."]),
    "an initial": ("J. Smith left. So did I. He", ["J. Smith left .", "So did I .", "He"]),
    "no-break spaces": ("10\u00a0000 cats", ["10\u00a0000 cats"]),
}


@pytest.mark.parametrize("name", LANGUAGES)
def test_marks_stay_in_their_words_and_sentences_end_at_the_marks_of_their_script(name):
    text, sentences = LANGUAGES[name]
    found = [" ".join(token.form for token in sentence) for sentence in sentences_of([text])]
    assert found == sentences


@pytest.mark.parametrize(
    "emoji",
    ["👩‍👩‍👧", "🇬🇷", "👍🏽", "1️⃣", "❤️", "😀😀", "🏴\U000e0067\U000e0062\U000e007f", "👩🏽‍🚀", "🏳️‍🌈"],
    ids=["family", "flag", "skin", "keycap", "variation", "twice", "tags", "astronaut", "rainbow"],
)
def test_an_emoji_is_one_token(emoji):
    assert [token.form for token in tokens_of(f"a {emoji}b!")] == ["a", emoji, "b", "!"]
