"""Laws of every registered unit: its vocabulary and its corpora agree, and no other code asks what a token is."""

import ast
import pathlib

import pytest

import refrain
from refrain.data import UNITS, TextOptions, vocabulary_from
from refrain.data.text.files import whole
from refrain.errors import UserError

SOURCE = pathlib.Path(refrain.__file__).parent
TRAINED_ON = "a é cd\n日本 a cd\n\né é\n" * 20
TEXTS = ["", "a", "a é\n日本 zz\n", "\n\n", "a <unk> é", "cd cd\n"]


@pytest.fixture(params=UNITS)
def corpus(request, write):
    """A corpus of the unit: `train`, and a second text in the same ids."""
    if request.param == "subword":
        pytest.importorskip("sentencepiece")
    unit = UNITS[request.param]
    train = unit.open("laws", {"train": whole(write("train.txt", TRAINED_ON))}, TextOptions(), None, str)
    other = {"all": whole(write("other.txt", "a zz é\ncd 日本\n"))}
    return unit.open("laws", other, TextOptions(), train.vocabulary, str)


@pytest.fixture
def vocabulary(corpus):
    return corpus.vocabulary


@pytest.mark.parametrize("text", TEXTS)
def test_ids_are_in_range_and_line_ends_have_one_id(vocabulary, text):
    assert vocabulary.unit in UNITS
    assert all(0 <= index < len(vocabulary) for index in vocabulary.encode(text))
    assert vocabulary.encode("\n") == [vocabulary.line_end]


@pytest.mark.parametrize("text", TEXTS)
def test_a_continuation_is_the_decoded_text(vocabulary, text):
    ids = vocabulary.encode(text)
    for cut in range(len(ids) + 1):
        prompt = vocabulary.decode(ids[:cut])
        # a prompt cannot end inside a character
        if "\ufffd" not in prompt:
            written = prompt + "".join(vocabulary.continuation(prompt, ids[cut:]))
            assert written.rstrip(" ") == vocabulary.decode(ids).rstrip(" ")


@pytest.mark.parametrize("text", TEXTS)
def test_a_text_has_as_many_pieces_as_tokens(vocabulary, text):
    pieces = vocabulary.pieces(text)
    assert len(pieces) == len(vocabulary.encode(text))
    assert "".join(pieces).split() == text.split()


@pytest.mark.parametrize("text", TEXTS)
def test_the_number_of_bytes_of_a_token_is_right_where_it_is_known(vocabulary, text):
    if vocabulary.bytes_per_token is not None:
        assert len(text.encode()) == vocabulary.bytes_per_token * len(vocabulary.encode(text))


@pytest.mark.parametrize("text", TEXTS)
def test_unseen_tokens_are_the_unknown_ones_that_are_not_spelled(vocabulary, text):
    ids = vocabulary.encode(text)
    if vocabulary.unknown is None:
        assert vocabulary.count_unseen(text, ids) == 0
    else:
        spelled = text.count(vocabulary.token(vocabulary.unknown))
        assert vocabulary.count_unseen(text, ids) == ids.count(vocabulary.unknown) - spelled


def test_tokens_print_on_one_line(vocabulary):
    tokens = [vocabulary.token(index) for index in range(len(vocabulary))]
    assert len(set(tokens)) == len(tokens)
    assert all(token and not any(mark.isspace() for mark in token) for token in tokens)


def test_a_document_gives_the_same_vocabulary(vocabulary):
    again = vocabulary_from(vocabulary.document())
    assert again.document() == vocabulary.document()
    assert again.encode(TRAINED_ON) == vocabulary.encode(TRAINED_ON)


def test_a_corpus_has_the_ids_and_the_spelling_of_its_text(corpus):
    split = corpus.splits["all"]
    text = split.source[0].path.read_text()
    ids = [int(index) for index in split.tokens.read(0, len(split.tokens))]
    assert ids == corpus.vocabulary.encode(text)
    assert split.unseen == corpus.vocabulary.count_unseen(text, ids)
    spellings = list(corpus.spellings("all"))
    assert len(spellings) == len(ids)
    spelled = b"".join(each.text for each in spellings).decode().replace("<eos>", "")
    assert "".join(spelled.split()) == "".join(text.split())
    assert any(each.ends_word for each in spellings)


def asks_for_the_unit(tree):
    """Comparisons of a unit with a name, and tests whether a vocabulary is of some type."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Compare):
            sides = [node.left, *node.comparators]
            named = any(ast.unparse(side).rpartition(".")[2] in ("unit", '"unit"', "['unit']") for side in sides)
            if named and any(isinstance(side, ast.Constant) and side.value in UNITS for side in sides):
                yield node.lineno
        is_type_test = isinstance(node, ast.Call) and ast.unparse(node.func) == "isinstance"
        if is_type_test and "Vocabulary" in ast.unparse(node.args[1]):
            yield node.lineno


@pytest.mark.parametrize("line", ["x = corpus.vocabulary.unit == 'byte'", "if isinstance(v, WordVocabulary): pass"])
def test_a_question_for_the_unit_is_seen(line):
    assert list(asks_for_the_unit(ast.parse(line))) == [1]


def test_no_code_outside_the_units_asks_for_the_unit():
    found = {}
    for path in SOURCE.rglob("*.py"):
        if SOURCE / "data" / "units" not in path.parents:
            lines = list(asks_for_the_unit(ast.parse(path.read_text(encoding="utf-8"))))
            if lines:
                found[path.relative_to(SOURCE).as_posix()] = lines
    # compressors measure bytes, so that this bench takes no other models; imported weights have a unit by name;
    # recognisers have tables of pieces, into which other tokens are translated; n-gram models are of words; bytes need
    # no preparation that could be measured
    others = {"cli/bench_compressors.py", "cli/bench_prepare.py", "cli/mixing.py", "trained/scoring.py"}
    recognisers = {"export/printed_tokens.py", "export/recogniser_tokens.py"}
    assert found.keys() == {"importers/pytorch_lstm.py"} | others | recognisers


def test_a_list_of_words_is_no_text(vocabulary):
    for wrong in (["a"], b"a", 3, None):
        with pytest.raises(UserError, match=r"^text: must be a text \(got .*\)$"):
            vocabulary.encode(wrong)


def test_ids_outside_the_vocabulary_have_no_token(vocabulary):
    """A negative id does not count from the end."""
    for index in (-1, len(vocabulary), 1 << 40):
        with pytest.raises(IndexError, match=rf"^the id {index} is not in the vocabulary"):
            vocabulary.token(index)
        with pytest.raises((IndexError, ValueError)):
            vocabulary.decode([index])
    assert vocabulary.token(len(vocabulary) - 1)
