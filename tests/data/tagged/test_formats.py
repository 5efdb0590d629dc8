"""The formats of tagged text as people have it: each is known by its name or its first lines."""

import pytest

from refrain.data import read_tagged
from refrain.data.tagged.corpus import split_tagged
from refrain.data.tagged.sentences import MISSING
from refrain.errors import DataError

ROW = "{}\t{}\t_\t{}\t_\tCase=Nom|Number=Sing\t0\troot\t_\tSpaceAfter=No|name={}\n"
CONLLU = "# sent_id = 1\n" + ROW.format(1, "Ann", "PROPN", "B-PER") + ROW.format(2, "ran", "VERB", "O") + "\n"
EMPTY_NODE = "0.1\tgoes" + "\t_" * 8 + "\n"
RANGE = "1-2\tAnnran" + "\t_" * 8 + "\n"
PLUS = "# global.columns = ID FORM UPOS PARSEME:MWE\n1\tAnn\tPROPN\t*\n2\tran\tVERB\t1:VID\n"
CONLL03 = "-DOCSTART- -X- -X- O\n\nAnn NNP I-NP B-PER\nran VBD I-VP O\n\n-DOCSTART- O\n\n# # I-NP O\n"
CONLL09 = "".join(
    f"{index}\t{word}\t{word}\t{word}\t{tag}\t{tag}\t_\t_\t{head}\t{head}\tSBJ\tSBJ\t_\t_{more}\n"
    for index, word, tag, head, more in (
        (1, "Ann", "NNP", 2, "\tA0"), (2, "ran", "VBD", 0, "\t_"), (3, "off", "_", 2, "\t_"),
    )
) + "\n1\tYes\tYes\tYes\tUH\tUH\t_\t_\t0\t0\tROOT\tROOT\t_\t_\n"  # fmt: skip
CONLL12 = "#begin document (a); part 000\n" + "".join(
    f"a 0 {index} {word} {tag} (S* - - - Speaker * (0)\n" for index, word, tag in ((0, "Ann", "NNP"), (1, "ran", "VBD"))
) + "\na 0 0 Yes UH * - - - Speaker * * -\n#end document\n"  # fmt: skip

# name: (file name, text, settings) -> the words and tags of each sentence
TREES = """
( (S
    (NP-SBJ (NNP Ann) )
    (VP (VBD ran)
      (NP (-NONE- *T*-1) ))
    (. .) ))
( (INTJ (UH Yes) (-NONE- *)))
( (S (-NONE- *)))
"""
FORMATS = {
    "CoNLL-U by its ending": ("a.conllu", CONLLU, {}, "Ann/PROPN ran/VERB"),
    "CoNLL-U by its first line": ("a.txt", CONLLU, {}, "Ann/PROPN ran/VERB"),
    "an empty node first": ("a", "# a\n" + EMPTY_NODE + CONLLU[14:], {}, "Ann/PROPN ran/VERB"),
    "a range first": ("a", RANGE + CONLLU[14:], {}, "Ann/PROPN ran/VERB"),
    "a comment inside": ("a.conllu", CONLLU.replace("2\tran", "# b\n2\tran"), {}, "Ann/PROPN ran/VERB"),
    "an attribute of MISC": ("a.conllu", CONLLU, {"column": "misc:name"}, "Ann/B-PER ran/O"),
    "an attribute of FEATS": ("a.conllu", CONLLU, {"column": "feats:Case"}, "Ann/Nom ran/Nom"),
    "an attribute that is missing": ("a.conllu", CONLLU, {"column": "FEATS:Voice"}, "Ann/_ ran/_"),
    "CoNLL-U Plus": ("a.cupt", PLUS, {}, "Ann/PROPN ran/VERB"),
    "a column of CoNLL-U Plus": ("a.txt", PLUS, {"column": "parseme:mwe"}, "Ann/* ran/1:VID"),
    "CoNLL-2000": ("a.txt", "Ann NNP B-NP\nran VBD B-VP\n", {"column": "3"}, "Ann/B-NP ran/B-VP"),
    "CoNLL-2003": ("a.txt", CONLL03, {}, "Ann/NNP ran/VBD|#/#"),
    "names of CoNLL-2003": ("a.txt", CONLL03, {"column": "4"}, "Ann/B-PER ran/O|#/O"),
    "CoNLL-2009": ("a.txt", CONLL09, {}, f"Ann/NNP ran/VBD off/{MISSING}|Yes/UH"),
    "CoNLL-2012": ("a.txt", CONLL12, {"word_column": "4"}, "Ann/NNP ran/VBD|Yes/UH"),
    "numbers from 0": ("a.tsv", "0\tAnn\tX\n1\tran\tY\n\n0\tYes\tZ\n", {}, "Ann/X ran/Y|Yes/Z"),
    "numbers from 1, blanks": ("a.txt", "1 Ann X\n2 ran Y\n", {}, "Ann/X ran/Y"),
    "numbers, with ranges": ("a.txt", "1-2 Annran _\n1 Ann X\n2 ran Y\n", {}, "Ann/X ran/Y"),
    "numbers as words": ("a.txt", "1 CD X\n2 CD Y\n", {"word_column": "1"}, "1/CD 2/CD"),
    "words that are numbers": ("a.txt", "1 CD X\n2 CD Y\n\ncats NNS Z\n", {}, "1/CD 2/CD|cats/NNS"),
    "words in the second column": ("a.txt", "X Ann\nY ran\n", {"word_column": "2", "column": "1"}, "Ann/X ran/Y"),
    "Universal NER": ("a.iob2", "# text = Ann ran\n1\tAnn\tB-PER\t-\t-\n2\tran\tO\t-\t-\n", {}, "Ann/B-PER ran/O"),
    "comments in columns": ("a.txt", "# sent_id = 1\n# newdoc\nAnn X\nran Y\n", {}, "Ann/X ran/Y"),
    "tabs and a blank in a word": ("a.tsv", "New York\tX\n# sharp\nran\tY\n", {}, "New York/X ran/Y"),
    "a no-break space in a word": ("a.txt", "10\u00a0000 X\nran Y\n", {}, "10\u00a0000/X ran/Y"),
    "word/TAG": ("a.pos", "\n\tAnn/NP 1/2/CD //SYM\nYes/UH ./.\n", {}, "Ann/NP 1/2/CD //SYM|Yes/UH ./."),
    "word_TAG": ("a.txt", "Ann_NP and/or_CC\n\nYes_UH\n", {}, "Ann/NP and/or/CC|Yes/UH"),
    "word/TAG, a word a line": ("a.txt", "Ann/NP\nran/VBD\n\nYes/UH\n", {}, "Ann/NP ran/VBD|Yes/UH"),
    "trees": ("wsj_0001.mrg", TREES, {}, "Ann/NNP ran/VBD ./.|Yes/UH"),
    "trees on a line each": ("a.txt", "(S (NNP Ann) (VBD ran))\n\n(INTJ (UH Yes))\n", {}, "Ann/NNP ran/VBD|Yes/UH"),
    "trees that share a line": (
        "a.txt",
        "(S (NNP Ann) (VBD ran)) (S (UH Yes))\n( (S (NNP Al) )\n ) (S (NNP Bo)) (S\n (NNP Cy))\n",
        {},
        "Ann/NNP ran/VBD|Yes/UH|Al/NNP|Bo/NNP|Cy/NNP",
    ),
    "trees with a root": ("a.txt", "(ROOT\n  (S (NP (NNP -LRB-)) (VBD ran)))\n", {}, "-LRB-/NNP ran/VBD"),
    "_ as no tag": ("a.tsv", "Ann\tX\nran\t_\n", {"underscore": "missing"}, f"Ann/X ran/{MISSING}"),
    "_ as a tag": ("a.tsv", "Ann\tX\nran\t_\n", {}, "Ann/X ran/_"),
}


def pairs(split):
    return "|".join(
        " ".join(f"{word}/{tag}" for word, tag in zip(sentence.words, sentence.tags, strict=True))
        for sentence in split.sentences
    )


@pytest.mark.parametrize("name", FORMATS)
def test_a_format_is_known_by_its_name_or_its_first_lines(write, name):
    file, text, settings, wanted = FORMATS[name]
    assert pairs(read_tagged(write(file, text), **settings)) == wanted


def test_documents_are_counted_and_are_no_sentences(write):
    split = read_tagged(write("a.txt", CONLL03))
    assert (split.documents, split.lines, len(split.tokens)) == (2, 2, 3)
    assert "-X-" not in split.tags


def test_words_without_a_tag_are_counted(write):
    text = "1\tthe\t_\tDET\t_" + "\t_" * 5 + "\n2\tcat\t_\tNOUN\tNN" + "\t_" * 5 + "\n"
    split = read_tagged(write("a.conllu", text), column="xpos")
    assert split.missing == 1 and split.tags == {"NN": 1} and split.sentences[0].tags == [MISSING, "NN"]


def test_empty_elements_are_counted_and_are_no_words(write):
    split = read_tagged(write("a.mrg", TREES))
    assert (split.empty, split.lines, len(split.tokens)) == (3, 2, 4) and split.format == "bracketed trees"
    joined = read_tagged([write("a.mrg", TREES), write("b.mrg", TREES)])
    assert (joined.empty, joined.lines) == (6, 4)
    parts = split_tagged(read_tagged(write("c.mrg", TREES * 5)), (0.5, 0.2))
    # what was left out is listed once
    assert [part.empty for part in parts.values()] == [15, 0, 0]


MISTAKES = {
    "a bracket that is not closed": ("a.mrg", "(S (NNP Ann)\n   (VBD ran)\n", {}, "a.mrg:1: a bracket that opens here"),
    "a tag without a word": ("a.mrg", "(S (NNP Ann)\n  (VBD))\n", {}, "a.mrg:2: (VBD) is no tag with its word"),
    "a word beside brackets": ("a.mrg", "(S (NP (DT the)\n cat) (VBD ran))\n", {}, "a.mrg:2: 'cat' is beside brackets"),
    "a bracket too many in a line": ("a.mrg", "(S (NNP Ann)))\n", {}, "a.mrg:1: ')' is outside of all brackets"),
    "a word after a tree": ("a.mrg", "(S (NNP Ann)) ran\n", {}, "a.mrg:1: 'ran' is outside of all brackets"),
    "a bracket too many": ("a.mrg", "(S (NNP Ann))\n)\n", {}, "a.mrg:2: ')' is outside of all brackets"),
    "columns of trees": ("a.mrg", "(S (NNP Ann))\n", {"column": "2"}, "bracketed trees have no columns"),
    "a number and a word alone": ("a.txt", "1 Ann\n2 ran\n\n1 Yes\n", {}, "there is no column of tags"),
    "no such word column": ("a.txt", "Ann X\n", {"word_column": "3"}, "no column 3 of words; choose 1 to 2"),
    "one column for both": ("a.txt", "Ann X\n", {"word_column": "2", "column": "2"}, "no column 2 of tags"),
    "the word column of CoNLL-U": ("a.conllu", CONLLU, {"word_column": "2"}, "data.word_column: columns of CoNLL-U go"),
    "an attribute of another column": ("a.conllu", CONLLU, {"column": "upos:x"}, "'upos:x' holds no tags"),
    "a heading without words": ("a.txt", "# global.columns = ID LEMMA\n1\ta\n", {}, "must name the column FORM"),
    "no heading": ("a.cupt", "1\tAnn\tX\n", {}, "no line '# global.columns"),
    "a token without a tag": ("a.txt", "Ann/NP\n" * 30 + "ran\n", {}, "a.txt:31: 'ran' has no tag after /"),
    "a word that is a mark": (
        "a.txt",
        "Ann X\n#\n",
        {},
        "a.txt:2: 1 column, where the first line of the file has 2",
    ),
    "a row that is too long": ("a.txt", CONLL09 + "2\tx\n", {}, "a.txt:6: 2 columns, where the sentence has 14"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_mistakes(write, name):
    file, text, settings, wanted = MISTAKES[name]
    with pytest.raises(DataError) as caught:
        read_tagged(write(file, text), **settings)
    assert wanted in str(caught.value)


def test_a_bracket_that_is_not_closed_ends_with_its_tree(write):
    tree = "( (S\n    (NP (DT the) (NN cat))\n    (VP (VBD sat))))\n"
    broken = tree.replace("sat))))", "sat)))")
    for good, bad in ((tree, broken), ("(S (NN cat))\n", "(S (NN cat)\n")):
        path = write("a.mrg", good * 3 + bad + good * 5)
        split = read_tagged(path, skip_bad=True)
        assert split.lines == 8 and len(split.skipped) == 1 and "not closed" in split.skipped[0]
    # lines within a tree may begin at the margin
    flat = "(S\n(NP (NN cat))\n(VP (VBD sat)))\n"
    assert read_tagged(write("b.mrg", flat * 4)).lines == 4
