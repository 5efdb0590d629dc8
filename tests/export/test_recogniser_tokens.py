"""Which token of a model each token of a recogniser is."""

import time
from pathlib import Path

import numpy as np
import pytest

from refrain.data import ByteVocabulary
from refrain.data.units.character.vocabulary import CharacterVocabulary
from refrain.errors import DataError, UserError
from refrain.export.proof import first_tokens
from refrain.export.recogniser_tokens import token_ids

LETTERS = CharacterVocabulary("\ufffd\n ab")


class Text(list):
    def read(self, start, stop):
        return np.array(self[start:stop])


def ids(vocabulary, write, names, end="\n"):
    said = []
    path = write("tokens.txt", "".join(f"{name} {index}{end}" for index, name in enumerate(names)))
    return token_ids(vocabulary, path, said.append), said


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_characters_have_a_sign_for_blanks_and_tables_have_marks(write, end):
    found, said = ids(LETTERS, write, ["<blk>", "<sos/eos>", "<unk>", "b", "\u2581", "a", "#0", "#1"], end)
    assert found.read.tolist() == [0, 1, 0, 4, 2, 3] and found.renames and not said
    # the blank of the recogniser is no text, and the unknown token is
    assert found.write.tolist() == [2, 1, 4, 5, 3]
    assert (found.line_end, found.read_line_end) == (1, 1)


def test_bytes_are_spelled_in_hexadecimal(write):
    names = [f"<0x{byte:02X}>" for byte in range(256)]
    found, _ = ids(ByteVocabulary(), write, ["<blk>", *names])
    assert found.read[1:].tolist() == list(range(256)) and found.line_end == 1 + ord("\n")


def test_a_table_without_an_end_gets_one_more_token(write):
    found, said = ids(LETTERS, write, ["<blk>", "a", "\u65e5", "b"])
    assert found.line_end == 4 and found.read.tolist() == [0, 3, 0, 4]
    assert len(said) == 2 and "lacks 1 of the 5" in said[1]
    assert "1 of 4 tokens are unknown to the model" in said[0] and "\u65e5" in said[0]


def test_tokens_of_the_model_that_a_table_lacks_are_counted(write):
    found, said = ids(LETTERS, write, ["<blk>", "<sos/eos>", "<unk>", "b"])
    assert found.write.tolist() == [2, 1, -1, -1, 3]
    (line,) = said
    assert "lacks 2 of the 5 tokens of the model, first " in line and "cannot write" in line


def test_a_table_of_something_else_is_refused(write):
    with pytest.raises(DataError, match=r"3 of 4 tokens are not in the model's vocabulary, first token 1"):
        ids(LETTERS, write, ["<blk>", "one", "two", "three"])
    with pytest.raises(DataError, match="not 0, 1, 2 and so on"):
        token_ids(LETTERS, write("tokens.txt", "a 1\nb 2\n"), print)
    with pytest.raises(DataError, match=r"line 2 is no piece with its id; give a tokens\.txt"):
        token_ids(LETTERS, write("tokens.txt", "a 0\nb\n"), print)
    with pytest.raises(DataError, match="line 3 has the id 0 again"):
        token_ids(LETTERS, write("tokens.txt", "a 0\nb 1\nc 0\n"), print)
    with pytest.raises(DataError, match=r"No such file or directory; give a tokens\.txt"):
        token_ids(LETTERS, Path("missing.txt"), print)
    with pytest.raises(UserError, match="--tokens"):
        token_ids(LETTERS, None, print)


def test_many_marks_take_no_time(write):
    """Looking for the last one anew for each would take minutes."""
    started = time.process_time()
    found, _ = ids(LETTERS, write, ["<blk>", "a", "b", *(f"#{index}" for index in range(60_000))])
    assert found.read.tolist() == [0, 3, 4] and time.process_time() - started < 2


@pytest.mark.parametrize(("text", "left"), [([3, 3, 3], 0), ([3, 4, 3], 1)])
def test_a_text_without_tokens_of_the_recogniser_is_refused(write, text, left):
    found, _ = ids(LETTERS, write, ["<blk>", "b"])
    with pytest.raises(DataError, match=f"has {left} of the first 1,000 tokens of the text.*--tokens"):
        first_tokens(Text(text), 1000, found)
