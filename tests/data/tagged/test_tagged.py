"""Tagged sentences in files: CoNLL-U, columns, splits, and the errors for mistakes."""

import pytest

from refrain.data import find_tagged, read_tagged
from refrain.data.tagged.conllu import conllu_lines, with_tags
from refrain.data.tagged.corpus import against, counts_of, split_tagged
from refrain.data.tagged.sentences import MISSING, Lines
from refrain.data.tagged.vocabulary import build_tag_vocabulary
from refrain.errors import DataError, UserError

# a multiword token, an empty node, a comment, a word that is an underscore
CONLLU = """# sent_id = 1
# text = I can't _
1\tI\tI\tPRON\tPRP\t_\t2\tnsubj\t_\t_
2-3\tcan't\t_\t_\t_\t_\t_\t_\t_\t_
2\tca\tcan\tAUX\tMD\t_\t0\troot\t_\t_
3\tn't\tnot\tPART\tRB\tPolarity=Neg\t2\tadvmod\t_\t_
3.1\tgo\tgo\tVERB\tVB\t_\t_\t_\t_\t_
4\t_\t_\t_\tNFP\t_\t2\tpunct\t_\tSpaceAfter=No

1\tYes\tyes\tINTJ\tUH\t_\t0\troot\t_\t_
"""


def words(split):
    return [list(sentence.words) for sentence in split.sentences]


def tags(split):
    return [list(sentence.tags) for sentence in split.sentences]


def test_conllu(write):
    path = write("a.conllu", CONLLU)
    split = read_tagged(path)
    assert words(split) == [["I", "ca", "n't", "_"], ["Yes"]]
    assert tags(split) == [["PRON", "AUX", "PART", MISSING], ["INTJ"]] and split.missing == 1
    assert tags(read_tagged(path, underscore="value"))[0] == ["PRON", "AUX", "PART", "_"]
    assert [sentence.line for sentence in split.sentences] == [1, 10]
    assert tags(read_tagged(path, column="xpos")) == [["PRP", "MD", "RB", "NFP"], ["UH"]]
    assert tags(read_tagged(path, column="xpos")) == tags(read_tagged(path, column="XPOS"))
    with pytest.raises(DataError, match="columns of CoNLL-U go by name here"):
        read_tagged(path, column="5")
    assert tags(read_tagged(path, column="feats"))[0] == ["_", "_", "Polarity=Neg", "_"]
    assert len(split.tokens) == 5 and split.lines == 2


def test_paths_as_texts(write):
    path = write("train.conllu", CONLLU)
    write("dev.conllu", CONLLU)
    wanted = words(read_tagged(path))
    assert words(read_tagged(str(path))) == words(read_tagged([str(path)])) == wanted
    assert find_tagged(str(path.parent)) == find_tagged(path.parent)
    with pytest.raises(UserError, match=r"^path: must be a path \(got None\)$"):
        find_tagged(None)


@pytest.mark.parametrize("end", ["\r\n", "\n"])
def test_the_form_is_known_by_the_first_line_and_line_ends_do_not_matter(write, end):
    path = write("a.txt", "\ufeff" + CONLLU.replace("\n", end))
    assert words(read_tagged(path)) == [["I", "ca", "n't", "_"], ["Yes"]]


def test_conllu_agrees_with_the_library(write):
    conllu = pytest.importorskip("conllu")
    path = write("a.conllu", CONLLU)
    found = conllu.parse(path.read_text())
    theirs = [[(word["form"], word["xpos"]) for word in each if isinstance(word["id"], int)] for each in found]
    split = read_tagged(path, column="xpos")
    assert [list(zip(each.words, each.tags, strict=True)) for each in split.sentences] == theirs


def test_columns(write):
    conll = write("a.txt", "Rockwell NNP B-NP\nsaid VBD B-VP\n\n\n. . O\n")
    assert words(read_tagged(conll)) == [["Rockwell", "said"], ["."]]
    assert tags(read_tagged(conll)) == [["NNP", "VBD"], ["."]]
    assert tags(read_tagged(conll, column="3")) == [["B-NP", "B-VP"], ["O"]]
    tabbed = write("b.tsv", "New York\tNNP\n#\t#\n")
    assert words(read_tagged(tabbed)) == [["New York", "#"]]


LINE = "1\ta\ta\tX\tx\t_\t0\troot\t_\t_\n"
MISTAKES = {
    "columns": ("a.conllu", "1\ta\tX\n", "a.conllu:1: expected 10 columns with tabs between them, found 3"),
    "ids": ("a.conllu", LINE + LINE, "a.conllu:2: expected the id 2 after word 1, found '1'; is a blank line missing?"),
    "first id": ("a.conllu", "2" + LINE[1:], "a.conllu:1: expected the id 1 at the first word, found '2'"),
    "no tag": ("a.conllu", LINE + "\n" + LINE.replace("X", " "), "a.conllu:3: the word 'a' has no upos"),
    "no word": ("a.conllu", "1\t \ta\tX\tx\t_\t0\troot\t_\t_\n", "a.conllu:1: the word is empty"),
    "no words": ("a.conllu", "0.1\tx" + "\t_" * 8 + "\n\n" + LINE, "a.conllu:1: a sentence without words"),
    "width": ("a.tsv", "a\tX\nb\tY\n\nc\tZ\tZ\n", "a.tsv:4: 3 columns, where the first line of the file has 2"),
    "empty tag": ("a.tsv", "a\tX\nb\t\n", "a.tsv:2: the tag is empty"),
    "empty word": ("a.tsv", "a\tX\n\n\tX\n", "a.tsv:3: the word is empty"),
    "bytes": ("a.tsv", b"a\tX\n\n\xff\tX\n", "a.tsv:3: invalid UTF-8"),
    "long": ("a.tsv", "a\tX\n\n" + "a\tX\n" * 10_000, "a.tsv:3: a sentence of 10,000 lines, more than data.max_tokens"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_bad_sentence_is_named_with_a_remedy_and_can_be_left_out(write, name):
    file, text, message = MISTAKES[name]
    good = LINE if file.endswith("conllu") else "a\tX\n"
    path = write(file, text if isinstance(text, bytes) else text + "\n" + good)
    with pytest.raises(DataError) as found:
        read_tagged(path)
    assert message in str(found.value) and "--skip-bad" in str(found.value)
    split = read_tagged(path, skip_bad=True)
    assert len(split.skipped) == 1 and message in split.skipped[0]
    assert split.sentences and all("a" in sentence.words for sentence in split.sentences)


def test_other_mistakes(write):
    for name, text, column, message in (
        ("a.tsv", "a\n", "auto", "a single column"),
        ("b.tsv", "a\tX\n", "upos", "columns have no names here; give a number, 2 to 2"),
        ("c.tsv", "a\tX\n", "3", "no column 3 of tags; choose 2 to 2"),
        ("d.conllu", LINE, "form", "'form' holds no tags; choose one of lemma, upos"),
        ("e.conllu", "# nothing\n", "auto", "no sentence to read"),
        ("f.tsv", "\n\n", "auto", "single column"),
    ):
        with pytest.raises(DataError, match=message):
            read_tagged(write(name, text), column=column)
    with pytest.raises(DataError, match="no sentence to read"):
        read_tagged(write("g.conllu", "# nothing\n"), skip_bad=True)


def test_the_splits_of_a_folder(write, tmp_path):
    with pytest.raises(DataError, match=r"no train sentences; expected a file such as train.conllu"):
        find_tagged(tmp_path)
    for name in ("en-ud-train.conllu", "en-ud-dev.conllu", "en-ud-train.txt", "README.txt"):
        write(name, LINE)
    assert {split: [path.name for path in paths] for split, paths in find_tagged(tmp_path).items()} == {
        "train": ["en-ud-train.conllu"],
        "valid": ["en-ud-dev.conllu"],
    }
    with pytest.raises(DataError, match="no test sentences"):
        find_tagged(tmp_path, ["test"])
    with pytest.raises(DataError, match="No such file"):
        find_tagged(tmp_path / "missing")


def test_a_file_is_split_between_sentences(write):
    split = read_tagged(write("a.tsv", "".join(f"w{index}\tX\n\n" for index in range(10))))
    parts = split_tagged(split, (0.8, 0.1))
    assert {name: len(part.sentences) for name, part in parts.items()} == {"train": 8, "valid": 1, "test": 1}
    assert set(split_tagged(split, (0.5, 0.5))) == {"train", "valid"}
    with pytest.raises(DataError, match=": 2 sentences cannot be split"):
        split_tagged(read_tagged(write("b.tsv", "a\tX\n\nb\tX\n")), (0.8, 0.1))


def test_tags_that_training_lacks(write):
    train = read_tagged(write("train.tsv", "a\tX\nb\tY\n"))
    vocabulary = build_tag_vocabulary(*counts_of(train))
    other = read_tagged(write("dev.tsv", "a\tX\nc\tY\n\nb\tX\nd\tZ\n"))
    found = against(other, vocabulary)
    assert found.sentences == other.sentences and found.skipped == []
    assert found.unseen == 2 and found.new_tags == {"Z": 1}
    with pytest.raises(DataError, match=r"no word has a tag that occurs in the training text \(found 'Z'\); give sent"):
        against(read_tagged(write("test.tsv", "a\tZ\n")), vocabulary)
    with pytest.raises(DataError, match=r"every word has _ in place of a tag; give sentences"):
        against(read_tagged(write("none.tsv", "a\t_\n"), underscore="missing"), vocabulary)


def test_conllu_is_written_as_it_is_read(write):
    lines = conllu_lines(["Hi", "!"], ["INTJ", "PUNCT"], "upos", [False, True], ["# sent_id = 1"])
    assert lines == [
        "# sent_id = 1",
        "1\tHi\t_\tINTJ\t_\t_\t_\t_\t_\tSpaceAfter=No",
        "2\t!\t_\tPUNCT\t_\t_\t_\t_\t_\t_",
        "",
    ]
    assert tags(read_tagged(write("a.conllu", "\n".join(lines)))) == [["INTJ", "PUNCT"]]
    block = Lines(1, CONLLU.split("\n\n")[0].split("\n"))
    changed = with_tags(block, ["A", "B", "C", "D"], "xpos")
    assert [line.split("\t")[4] for line in changed if line.count("\t") == 9] == ["A", "_", "B", "C", "VB", "D"]
    assert changed[:2] == block.lines[:2] and changed[-1] == ""


@pytest.mark.data
def test_the_counts_of_real_treebanks(shared_data):
    found = {name: read_tagged(paths) for name, paths in find_tagged(shared_data / "ud_en_ewt").items()}
    assert [split.lines for split in found.values()] == [12_544, 2_001, 2_077]
    sample = [read_tagged(paths) for paths in find_tagged(shared_data / "wsj_nltk_sample").values()]
    assert sum(split.lines for split in sample) == 3_914 and sum(len(split.tokens) for split in sample) == 94_084
    assert len({tag for split in sample for sentence in split.sentences for tag in sentence.tags}) == 45
