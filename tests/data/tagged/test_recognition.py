"""Whether a text is tagged or prose is recognised by its first lines."""

import pytest

from refrain.data.tagged.recognition import begins_tagged

ROWS = "the DT B-NP\ncat NN I-NP\nsees VBZ B-VP\n. . O\n"
TAGGED = {
    "columns with blanks": ROWS,
    "a few rows": "The DET\ncat NOUN\n",
    "columns of two sentences": "the a\ncat b\n\nthe a\ncat b\nsees c\n. d\n",
    "columns with one mistake": (ROWS + "\n") * 8 + "cat NN\n",
    "columns with tabs": "New York\tname\ncat\tnoun\n" * 3,
    "CoNLL-U": "1\tthe\tthe\tDET" + "\t_" * 6 + "\n",
    "a heading of CoNLL-2012": "#begin document (a); part 000\na 0 0 Ann NNP * - - - x\na 0 1 ran VBD * - - - x y\n",
    "comments above columns": "# text = the cat\nthe x\ncat y\n",
    "CoNLL-2003": "-DOCSTART- -X- -X- O\n\n",
    "pairs": "the/DT cat/NN\n",
    "trees": "( (S \n    (NP-SBJ (DT the) (NN cat) )))\n",
    "a tree with a root": "(ROOT\n  (S (NN cat)))\n",
    "the first line of a tree": "(TOP (S (NP (DT the)\n",
    "pairs with a bar": "the|DT cat|NN\n",
    "a pair a line": "the_DT\ncat_NN\n",
}
PROSE = {
    "sentences": "The cat sees the dog.\nIt runs.\n",
    "sentences of equal length": "the cat sees .\na dog runs .\n",
    "verses of equal length": "the cat sat\nthe dog ran\n" * 4,
    "capitals": "HELLO WORLD\nGOOD BYE\n",
    "one line": "hello WORLD\n",
    "a word a line": "the\ncat\n" * 9,
    "a word with a mark": "and/or\n",
    "labels and texts": "1\tthe cat sees the dog\n0\tit runs away\n" * 6,
    "texts and labels": "the cat sees the dog\tgood\nit runs away\tbad\n" * 6,
    "brackets": "(Reuters) - The cat ran.\n(The dog (a poodle) sat.)\n",
    "brackets and capitals": "(A (cat sat on the mat\n",
    "a list of brackets": "(1) one\n(2) two\n",
    "blank lines": "\n \n",
}


@pytest.mark.parametrize("name", TAGGED)
def test_tagged_text(name):
    assert begins_tagged("a.txt", TAGGED[name].split("\n")[:-1])


@pytest.mark.parametrize("name", PROSE)
def test_prose(name):
    assert not begins_tagged("a.txt", PROSE[name].split("\n")[:-1])
