"""Finding tagged sentences in folders: parts of a split, names of shared tasks, folders of splits; and folds."""

import pytest

from refrain.data import find_tagged, read_tagged
from refrain.data.tagged.corpus import fold_of
from refrain.data.tagged.folders import find_any
from refrain.errors import DataError

ROW = "1\t{}\t_\tX" + "\t_" * 6 + "\n\n"

# the names of the files -> those of each split
FOLDERS = {
    "parts": (
        ["x-train-a.conllu", "x-train-b.conllu", "x-dev.conllu"],
        {"train": ["x-train-a.conllu", "x-train-b.conllu"], "valid": ["x-dev.conllu"]},
    ),
    "numbers": (
        ["train-10.tsv", "train-9.tsv", "dev.tsv"],
        {"train": ["train-9.tsv", "train-10.tsv"], "valid": ["dev.tsv"]},
    ),
    "CoNLL-2002": (
        ["esp.train", "esp.testa", "esp.testb"],
        {"train": ["esp.train"], "valid": ["esp.testa"], "test": ["esp.testb"]},
    ),
    "folders": (
        ["train/b.conllu", "train/a.conllu", "train/LICENSE", "dev/x.conllu", "test/y.conllu", "README.md"],
        {"train": ["a.conllu", "b.conllu"], "valid": ["x.conllu"], "test": ["y.conllu"]},
    ),
    "compressed files": (
        ["train.conllu.gz", "train.txt", "dev.conllu.xz"],
        {"train": ["train.conllu.gz"], "valid": ["dev.conllu.xz"]},
    ),
    "a plain text beside": (
        ["a-train.conllu", "a-train.txt", "a-dev.conllu"],
        {"train": ["a-train.conllu"], "valid": ["a-dev.conllu"]},
    ),
}


@pytest.mark.parametrize("name", FOLDERS)
def test_the_files_of_each_split(write, tmp_path, name):
    files, wanted = FOLDERS[name]
    for file in files:
        (tmp_path / file).parent.mkdir(exist_ok=True)
        write(file, "x\n")
    lines = []
    found = find_tagged(tmp_path, log=lines.append)
    assert {split: [path.name for path in paths] for split, paths in found.items()} == wanted
    assert [line for line in lines if line.startswith("train: 2 files are joined")] == lines
    assert bool(lines) == (len(wanted["train"]) > 1)


def test_parts_are_joined_in_order(write):
    paths = [write("train-a.conllu", ROW.format("a") * 2), write("train-b.conllu", ROW.format("b") + "1\tx\n")]
    split = read_tagged(paths, skip_bad=True)
    assert split.tokens == ["a", "a", "b"] and len(split.skipped) == 1 and len(split.source) == 2
    assert split.sha256 != read_tagged(paths[0]).sha256


def test_what_is_missing_or_ambiguous(write, tmp_path):
    write("corpus.de", "x\n")
    with pytest.raises(DataError, match=r"no train sentences; expected .* \(found corpus.de\)"):
        find_tagged(tmp_path)
    write("train.tsv", "x\n")
    write("train.conll", "x\n")
    with pytest.raises(DataError, match=r"different endings.*train.conll, train.tsv; keep those of one ending"):
        find_tagged(tmp_path)
    (tmp_path / "train.conll").unlink()
    assert set(find_any(tmp_path)) == {"train"}
    write("train-test.tsv", "x\n")
    with pytest.raises(DataError, match=r"train-test.tsv: could be the train or the test sentences; rename it"):
        find_tagged(tmp_path)


def test_each_sentence_is_tested_in_one_fold(write):
    split = read_tagged(write("a.conllu", "".join(ROW.format(f"w{index}") for index in range(11))))
    folds = [fold_of(split, 4, fold, seed=1) for fold in (1, 2, 3, 4)]
    assert sorted(token for each in folds for token in each["test"].tokens) == sorted(split.tokens)
    for fold, after in zip(folds, folds[1:] + folds[:1], strict=True):
        assert fold["valid"].sentences == after["test"].sentences
        assert sorted(token for part in fold.values() for token in part.tokens) == sorted(split.tokens)
        # the order of the file is kept
        assert fold["train"].sentences == [each for each in split.sentences if each in fold["train"].sentences]
    assert fold_of(split, 4, 1, seed=1)["test"].tokens == folds[0]["test"].tokens
    assert fold_of(split, 4, 1, seed=2)["test"].tokens != folds[0]["test"].tokens
    with pytest.raises(DataError, match=": 11 sentences cannot be dealt to 12 folds"):
        fold_of(split, 12, 1, seed=1)
