"""Tagged text as people have it, on the command line: new tags, words without a tag, spans, formats, folds, checks."""

import io
import json
import sys

import pytest
from tagged import WORDS, sentences

TINY = (
    "model.embedding_size=8", "model.hidden_sizes=[8]", "training.epochs=3", "training.batch_size=8",
    "training.learning_rate=0.02", "training.stop_window=none",
)  # fmt: skip
# with these every seed from 1 to 8 ends without a mistake
LEARNT = (*TINY, "training.epochs=4", "training.learning_rate=0.05", "training.unknown_rate=0")
# the words of a tag are its entities
SPANS = {"D": "O", "N": "B-ANI", "V": "O", "P": "O"}
SIZES = {"train": 60, "dev": 20, "test": 20}


def conllu(sentence, tags, misc=None):
    rows = [
        f"{index}\t{word}\t_\t{tag}\t_\t_\t0\troot\t_\t{misc[index - 1] if misc else '_'}\n"
        for index, ((word, _), tag) in enumerate(zip(sentence, tags, strict=True), 1)
    ]
    return "".join(rows) + "\n"


def write_treebank(folder, change=lambda split, index, tags: tags):
    """Three splits of CoNLL-U, whose tags a function may change."""
    folder.mkdir(parents=True)
    for seed, (split, count) in enumerate(SIZES.items()):
        text = "".join(
            conllu(each, change(split, index, [tag for _, tag in each]))
            for index, each in enumerate(sentences(count, seed))
        )
        (folder / f"x-ud-{split}.conllu").write_text(text)
    return folder


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return write_treebank(tmp_path_factory.mktemp("tagged") / "tb")


@pytest.fixture(scope="module")
def run(corpus, tmp_path_factory):
    from refrain.cli.app import main

    place = tmp_path_factory.mktemp("runs") / "tagger"
    words = ["train", "pos-default", *TINY, "data.column=upos", "--data", corpus, "--out", place, "--quiet"]
    assert main([str(word) for word in words]) == 0
    return place


def renamed(split, index, tags):
    """Three words of the test text have a tag that training lacks."""
    return ["PROPN", *tags[1:]] if split == "test" and index < 3 else tags


def test_a_tag_that_training_lacks_is_an_error_in_the_figure(refrain, run, corpus, tmp_path):
    pytest.importorskip("matplotlib")
    other = write_treebank(tmp_path / "new", renamed)
    before = refrain("evaluate", run, "--json").json
    outcome = refrain("evaluate", run, "--data", other, "--json", "--confusion", tmp_path / "confusion.png")
    found = outcome.json
    assert before["accuracy"] == 1.0 and before["new_tags"] == {"words": 0, "tags": {}}
    assert found["tokens"] == before["tokens"] and found["seen"]["right"] == before["seen"]["right"] - 3
    assert found["accuracy"] == (found["tokens"] - 3) / found["tokens"] and found["sentences"]["right"] == 17
    assert found["new_tags"] == {"words": 3, "tags": {"PROPN": 3}} and found["skipped"] == []
    assert found["per_tag"]["PROPN"] == {"words": 3, "precision": 0.0, "recall": 0.0, "f1": 0.0}
    assert found["tags"][-1] == "PROPN" and sum(found["confusion"][-1]) == 3
    note = "test: the training text lacks the tags of 3 words (PROPN 3); the accuracy counts them as errors"
    assert note in outcome.err
    # malformed sentences are left out, those with a new tag are not
    assert refrain("evaluate", run, "--data", other, "--skip-bad", "--json").json == found
    assert (tmp_path / "confusion.png").read_bytes().startswith(b"\x89PNG")


def test_a_run_is_trained_and_validated_with_new_tags(refrain, tmp_path):
    def change(split, index, tags):
        return ["UH", *tags[1:]] if split == "dev" and index < 2 else tags

    other = write_treebank(tmp_path / "new", change)
    outcome = refrain("train", "pos-default", *TINY, "--data", other, "--out", tmp_path / "run", "--json")
    valid = outcome.json["valid"]
    assert valid["accuracy"] == (valid["tokens"] - 2) / valid["tokens"] and valid["new_tags"]["tags"] == {"UH": 2}
    assert outcome.json["tags"] == 4 and "valid: the training text lacks the tags of 2 words" in outcome.err
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    best = next(line for line in lines if line["event"] == "valid" and line["epoch"] == outcome.json["best_epoch"])
    assert best["nats_per_token"] == pytest.approx(valid["nats_per_token"], rel=1e-4)


def test_words_without_a_tag_are_in_no_figure(refrain, tmp_path):
    def change(split, index, tags):
        return ["_" if tag == "D" else tag for tag in tags]

    other = write_treebank(tmp_path / "xpos", change)
    outcome = refrain("train", "pos-default", *TINY, "--data", other, "--out", tmp_path / "run", "--json")
    summary = outcome.json
    articles = sum(tag == "D" for each in sentences(SIZES["test"], 2) for _, tag in each)
    words = sum(len(each) for each in sentences(SIZES["test"], 2))
    assert summary["tags"] == 3 and summary["test"]["missing"] == articles
    assert summary["test"]["tokens"] == words - articles and summary["test"]["accuracy"] == 1.0
    assert f"test: loss and accuracy leave out {articles} words with _ in place of a tag" in outcome.err
    value = refrain(
        "train", "pos-default", *TINY, "data.underscore=value", "--data", other, "--out", tmp_path / "b", "--json"
    ).json
    assert value["tags"] == 4 and value["test"]["tokens"] == words


def test_words_without_a_tag_have_no_part_in_training(refrain, tmp_path):
    """A sentence without any tag, and the loss of an epoch, which is the mean over the words with a tag."""

    def change(split, index, tags):
        return ["_"] * len(tags) if index % 2 else tags

    half = write_treebank(tmp_path / "half", change)
    arguments = [*TINY, "training.epochs=1", "training.unknown_rate=0", "--json", "--quiet"]
    found = refrain("train", "pos-default", *arguments, "--data", half, "--out", tmp_path / "run").json
    assert found["test"]["sentences"]["words"] == 10
    none = write_treebank(tmp_path / "none", lambda split, index, tags: ["_"] * len(tags))
    outcome = refrain("train", "pos-default", *arguments, "--data", none, "--out", tmp_path / "b")
    assert outcome.status == 3
    assert "every training word has _ in place of a tag; choose another data.column" in outcome.err


def write_names(path, folders=False):
    """One file, or three, of CoNLL-2003 with a document before the sentences."""
    for seed, (split, count) in enumerate(SIZES.items()):
        rows = ("".join(f"{word} {tag} {SPANS[tag]}\n" for word, tag in each) for each in sentences(count, seed))
        (path / f"eng.{split}").write_text("-DOCSTART- -X- O\n\n" + "\n".join(rows))
    return path


def test_spans_are_measured(refrain, tmp_path):
    data = write_names(tmp_path)
    words = ["train", "pos-default", *LEARNT, "data.column=3", "training.best_by=f1", "--data", data]
    outcome = refrain(*words, "--out", tmp_path / "run", "--json")
    spans = outcome.json["test"]["spans"]
    nouns = sum(word in WORDS["N"] for each in sentences(SIZES["test"], 2) for word, _ in each)
    assert spans["spans"] == nouns and spans["f1"] == 1.0 and set(spans["types"]) == {"ANI"}
    assert "span F1" in outcome.err
    evaluated = refrain("evaluate", tmp_path / "run", "--json").json
    assert evaluated["spans"] == spans and "-X-" not in evaluated["tags"]
    assert "all spans" in refrain("evaluate", tmp_path / "run").out
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    scores = {line["epoch"]: line["span_f1"] for line in lines if line["event"] == "valid"}
    assert scores[outcome.json["best_epoch"]] == max(scores.values())
    outcome = refrain(*[*words, "data.column=2"], "--out", tmp_path / "b")
    assert outcome.status == 2 and "training.best_by: f1 needs tags that mark spans" in outcome.err


def test_one_odd_tag_does_not_hide_the_spans(refrain, tmp_path, write):
    data = write_names(tmp_path)
    for split in ("dev", "test"):
        path = data / f"eng.{split}"
        head, _, text = path.read_text().partition("\n\n")
        path.write_text(f"{head}\n\n{text.replace(' O', ' _', 1)}")
    words = ["train", "pos-default", *LEARNT, "data.column=3", "training.best_by=f1", "--data", data]
    found = refrain(*words, "--out", tmp_path / "run", "--json").json
    assert found["test"]["spans"]["f1"] > 0.9
    # what was tagged can be measured, although CoNLL-U has no numbered columns
    tagged = write("tagged.conllu", refrain("tag", tmp_path / "run", data / "eng.test").out)
    assert refrain("evaluate", tmp_path / "run", "--data", tagged, "--json").json["accuracy"] == 1.0


def test_tags_of_an_attribute_that_only_spans_have(refrain, tmp_path, write):
    text = "".join(
        conllu(each, ["X"] * len(each), [f"name={SPANS[tag]}" if SPANS[tag] != "O" else "_" for _, tag in each])
        for each in sentences(100, 1)
    )
    words = ["train", "pos-default", *TINY, "data.column=misc:name", "training.best_by=f1"]
    found = refrain(*words, "--data", write("misc.conllu", text), "--out", tmp_path / "run", "--json").json
    assert set(found["test"]["spans"]["types"]) == {"ANI"}


def test_tags_are_written_where_they_were_learnt(refrain, tmp_path, write):
    """Also where UPOS has other tags than the universal ones, and XPOS is there too."""
    text = "".join(conllu(each, [f"old-{tag}" for _, tag in each]) for each in sentences(100, 1)).replace(
        "\t_\t_\t0\troot", "\tGOLD\t_\t0\troot"
    )
    path = write("odd.conllu", text)
    assert refrain("train", "pos-default", *LEARNT, "--data", path, "--out", tmp_path / "run", "--quiet").status == 0
    blank = write("blank.conllu", text.replace("old-", "wrong-"))
    assert refrain("tag", tmp_path / "run", blank).out == text
    plus = write("a.conllup", "# global.columns = ID FORM PARSEME:MWE\n1\tdogs\t*\n\n")
    outcome = refrain("tag", tmp_path / "run", plus)
    assert outcome.status == 2 and "the file has no column upos for the tags; choose one with --column" in outcome.err


def test_an_attribute_holds_no_tag_with_its_mark(mistake, refrain, tmp_path, write):
    path = write("f.conllu", "".join(conllu(each, [f"{tag}|x" for _, tag in each]) for each in sentences(60, 1)))
    assert refrain("train", "pos-default", *TINY, "--data", path, "--out", tmp_path / "run", "--quiet").status == 0
    mistake(2, ["tag", tmp_path / "run", path, "--column", "misc:Pred"], "holds |, which separates attributes")


def test_sentences_with_invalid_bytes_can_be_left_out(refrain, run, write, tmp_path):
    (sentence,) = sentences(1, 1)
    good = conllu(sentence, ["_"] * len(sentence))
    path = tmp_path / "bytes.conllu"
    path.write_bytes((good * 2).encode() + b"1\tcaf\xe9" + b"\t_" * 8 + b"\n\n" + good.encode())
    outcome = refrain("tag", run, path)
    assert outcome.status == 3 and "invalid UTF-8" in outcome.err and outcome.out.count("\n\n") == 2
    outcome = refrain("tag", run, path, "--skip-bad")
    place = (good * 2).count("\n") + 1
    assert outcome.status == 0 and outcome.out.count("\n\n") == 3
    assert f"left out: {path}:{place}: invalid UTF-8" in outcome.err


def test_a_licence_is_kept_and_ranges_are_checked(refrain, mistake, run, write):
    good = "1\tdogs\t_\t_" + "\t_" * 6 + "\n\n"
    licence = "# a licence\n# of two lines\n\n"
    assert refrain("tag", run, write("a.conllu", licence + good)).out.startswith(licence)
    bad = write("b.conllu", "5-2\tdogs" + "\t_" * 8 + "\n" + good)
    mistake(3, ["tag", run, bad], "b.conllu:1: the range '5-2' is not from word 1 on")


def test_what_comes_next_without_a_test_text(refrain, tmp_path):
    data = write_treebank(tmp_path / "tb")
    (data / "x-ud-test.conllu").unlink()
    outcome = refrain("train", "pos-default", *TINY, "--data", data, "--out", tmp_path / "run")
    command = f"refrain evaluate {tmp_path / 'run'} --split valid"
    assert f"next:  {command}" in outcome.out and command in (tmp_path / "run" / "README.md").read_text()
    assert refrain(*command.split()[1:]).status == 0


def test_a_number_of_a_column_in_a_file_of_settings(refrain, write, tmp_path):
    data = write_names(tmp_path)
    path = write(
        "mine.toml",
        f'extends = "pos-default"\n[data]\ncorpus = "{data}"\ncolumn = 3\nword_column = 1\n'
        '[training]\nepochs = 1\nstop_window = "none"\n',
    )
    found = refrain("train", path, "--out", tmp_path / "run", "--quiet", "--json").json
    assert found["tags"] == 2
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert config["experiment"]["data"]["column"] == "3"
    outcome = refrain("train", path, "data.word_column=first", "--out", tmp_path / "b")
    assert outcome.status == 2 and "data.word_column: must be auto or a number" in outcome.err


def test_one_attribute_is_learnt_and_written(refrain, tmp_path, write):
    text = "".join(
        conllu(
            each,
            ["X"] * len(each),
            [f"{'SpaceAfter=No|' if index % 2 else ''}name={SPANS[tag]}" for index, (_, tag) in enumerate(each)],
        )
        for each in sentences(100, 1)
    )
    path = write("misc.conllu", text)
    run = tmp_path / "run"
    words = ["train", "pos-default", *TINY, "data.column=misc:name", "--data", path, "--out", run, "--json"]
    assert refrain(*words).json["tags"] == 2
    wrong = write("wrong.conllu", text.replace("name=O", "name=B-ANI"))
    assert refrain("tag", run, wrong).out == text
    # a word that did not have the attribute gets it, and FEATS is sorted
    bare = write("bare.conllu", "1\tdogs\t_\tX\t_\tCase=Nom|Number=Plur\t0\troot\t_\tSpaceAfter=No\n\n")
    assert refrain("tag", run, bare).out.split("\t")[9] == "SpaceAfter=No|name=B-ANI\n\n"
    found = refrain("tag", run, bare, "--column", "feats:Name").out.split("\t")
    assert found[5] == "Case=Nom|Name=B-ANI|Number=Plur" and found[9] == "SpaceAfter=No\n\n"
    outcome = refrain("tag", run, bare, "--column", "form")
    assert outcome.status == 2 and "--column: 'form' holds no tags; choose one of lemma, upos" in outcome.err


# an empty node may stand first
ENHANCED = (
    "# sent_id = e1\n0.1\tgoes\tgo\tVERB" + "\t_" * 6 + "\n1\tthe\tthe\t_" + "\t_" * 6 + "\n# a comment\n"
    "2-3\tcatdog" + "\t_" * 8 + "\n2\tdogs\tx\t_" + "\t_" * 6 + "\n3\trunning\tdog\t_" + "\t_" * 6 + "\n\n"
)  # fmt: skip
TAGGED = (
    ENHANCED.replace("the\tthe\t_", "the\tthe\tD")
    .replace("dogs\tx\t_", "dogs\tx\tN")
    .replace("running\tdog\t_", "running\tdog\tV")
)


@pytest.mark.parametrize("name", ["-", "a.txt", "a", "a.conllu"])
def test_conllu_is_known_wherever_it_comes_from(refrain, run, write, monkeypatch, name):
    if name == "-":
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(ENHANCED.encode())))
    else:
        name = write(name, ENHANCED)
    assert refrain("tag", run, name).out == TAGGED


def test_conllu_plus_keeps_its_columns(refrain, run, write):
    text = "# global.columns = ID FORM UPOS NE\n1\tthe\t_\tO\n2\tdogs\t_\tB\n\n1\tcats\t_\tB\n\n"
    path = write("a.conllup", text)
    wanted = text.replace("the\t_", "the\tD").replace("s\t_", "s\tN")
    assert refrain("tag", run, path).out == wanted
    outcome = refrain("tag", run, path, "--probabilities")
    assert outcome.status == 2 and "the columns of the file have no MISC" in outcome.err


def test_probabilities(refrain, run, write):
    path = write("a.txt", "the dogs\n")
    found = refrain("tag", run, path, "--json", "--probabilities").json
    assert found["tags"] == ["D", "N"] and all(0.25 < each <= 1 for each in found["probabilities"])
    rows = [line.split("\t") for line in refrain("tag", run, path, "--probabilities").out.splitlines() if "\t" in line]
    assert [row[9] for row in rows] == [f"Prob={each:.4f}" for each in found["probabilities"]]


def test_a_no_break_space_is_a_part_of_a_word(refrain, run, write):
    path = write("a.txt", "the 10\u00a0000\tcats\n")
    assert refrain("tag", run, path, "--tokenised", "--json").json["words"] == ["the", "10\u00a0000", "cats"]


def test_data_check_of_a_treebank(refrain, corpus, tmp_path, write):
    found = refrain("data", "check", corpus, "--json").json
    assert {name: split["sentences"] for name, split in found["splits"].items()} == {
        "train": 60, "valid": 20, "test": 20,
    }  # fmt: skip
    counts = [len(each) for seed, count in enumerate(SIZES.values()) for each in sentences(count, seed)]
    assert found["sentences"] == 100 and found["words"] == sum(counts) == sum(found["tags"].values())
    assert set(found["tags"]) == {"D", "N", "V", "P"} and found["splits"]["train"]["unseen"] == 0
    text = refrain("data", "check", corpus).out
    assert "CoNLL-U: 100 sentences" in text and "bad_sentences" in text


def test_data_check_names_what_is_wrong(refrain, tmp_path):
    folder = write_treebank(tmp_path / "tb", renamed)
    train = folder / "x-ud-train.conllu"
    train.write_text(train.read_text() + "1\tx\n\n1\t_\t_\t_" + "\t_" * 6 + "\n\n")
    (folder / "x-ud-dev.conllu").unlink()
    found = refrain("data", "check", folder, "--json").json
    train, test = found["splits"]["train"], found["splits"]["test"]
    assert train["bad_sentences"] == 1 and "expected 10 columns" in train["bad"][0]
    assert train["underscore_words"] == 1 and train["without_tag"] == 1 and test["new_tags"] == {"PROPN": 3}
    warnings = " ".join(found["warnings"])
    assert "there are no valid sentences" in warnings and "test: train lacks the tags of 3 words (PROPN)" in warnings
    assert "train: has 1 bad sentence, at" in warnings and "train: has 1 word spelled _" in warnings
    assert "x-ud-train.conllu" in refrain("data", "check", folder).out


def test_data_check_of_columns_and_of_prose(refrain, tmp_path, write, mistake):
    data = write_names(tmp_path)
    found = refrain("data", "check", data, "--column", "3", "--json").json
    assert set(found["tags"]) == {"O", "B-ANI"} and found["splits"]["test"]["documents"] == 1
    prose = write("a.txt", "a b c d\nb c\n\nc d e\n" * 10)
    assert "lines" in refrain("data", "check", prose).out
    mistake(2, ["data", "check", prose, "--column", "3"], "--column: cannot take effect with --unit word")
    # a command names its option, and train the setting
    line = mistake(3, ["data", "check", data, "--column", "9"], "--column: no column 9 of tags")
    assert "data.column" not in line
    mistake(3, ["train", "pos-default", "--data", data, "data.column=9"], "data.column: no column 9 of tags")
    mistake(2, ["data", "check", data, "--min-count", "2"], "--min-count: cannot take effect with tagged sentences")
    mistake(3, ["data", "check", prose, "--unit", "tag"], "no sentence to read")


def test_cross_validation(refrain, tmp_path, write, mistake):
    path = write("small.conllu", "".join(conllu(each, [tag for _, tag in each]) for each in sentences(40, 1)))
    out = tmp_path / "folds"
    words = ["train", "pos-default", *TINY, "training.epochs=1", "--data", path, "--folds", "3"]
    summary = refrain(*words, "--out", out, "--json").json
    assert summary["folds"] == [1, 2, 3] and [run["fold"] for run in summary["runs"]] == [1, 2, 3]
    total = sum(len(each) for each in sentences(40, 1))
    figures = [refrain("evaluate", out / f"fold-{fold}", "--json").json for fold in (1, 2, 3)]
    right = sum(each["seen"]["right"] + each["unseen"]["right"] for each in figures)
    assert summary["pooled"]["words"] == total == sum(each["tokens"] for each in figures)
    assert summary["pooled"]["accuracy"] == right / total
    assert summary["test"]["accuracy"]["mean"] == pytest.approx(sum(each["accuracy"] for each in figures) / 3)
    assert "data.fold = 2" in (out / "fold-2" / "recipe.toml").read_text()
    # other sentences are read whole
    whole = refrain("evaluate", out / "fold-1", "--data", path, "--json").json
    assert whole["split"] == "all" and whole["tokens"] == total
    assert "is of the corpus of the cross-validation, of whose 3 parts the run was trained on 1" in whole["warnings"][0]
    # what is done is kept, and what is missing is trained again to the same figures
    before = (out / "fold-1" / "summary.json").stat().st_mtime_ns
    for place in sorted((out / "fold-3").rglob("*"), reverse=True):
        place.unlink() if not place.is_dir() or place.is_symlink() else place.rmdir()
    again = refrain("train", "--resume", "--out", out, "--json").json
    assert again["pooled"] == summary["pooled"]
    assert (out / "fold-1" / "summary.json").stat().st_mtime_ns == before
    assert "words, each tested once: accuracy" in refrain("train", "--resume", "--out", out, "--quiet").out
    mistake(2, [*words, "--seeds", "2"], "--folds and --seeds exclude each other")
    mistake(2, [*words[:-1], "2"], "--folds must be at least 3 (got 2)")
    mistake(2, ["train", "quickstart", "--folds", "3"], "--folds cannot take effect with a language model")
    mistake(4, ["evaluate", out], "contains the runs of several folds; give one of them")


def columns(sentence):
    return "".join(f"{word} {tag} {SPANS[tag]}\n" for word, tag in sentence) + "\n"


FORMS = {
    "CoNLL-2003": ("columns", lambda each: "-DOCSTART- -X- O\n\n" + "".join(map(columns, each))),
    "numbers first": (
        "columns",
        lambda each: "".join(
            "".join(f"{index}\t{word}\tX\n" for index, (word, _) in enumerate(sentence, 1)) + "\n" for sentence in each
        ),
    ),
    "trees": (
        "bracketed trees",
        lambda each: "".join("(S\n" + "".join(f"  (X {w})\n" for w, _ in part) + ")\n" for part in each),
    ),
    "word/TAG": ("word/TAG", lambda each: "".join(" ".join(f"{w}/x" for w, _ in part) + "\n" for part in each)),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("source", ["-", "a.txt"])
def test_the_words_of_other_tagged_text_are_tagged(refrain, run, write, monkeypatch, form, source):
    found = list(sentences(6, 7))
    name, make = FORMS[form]
    text = make(found)
    if source == "-":
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text.encode())))
    else:
        source = write(source, text)
    outcome = refrain("tag", run, source, "--json")
    rows = [json.loads(line) for line in outcome.out.splitlines()]
    assert [row["words"] for row in rows] == [[word for word, _ in each] for each in found]
    where = "standard input" if source == "-" else source
    assert f"{where}: read as tagged text ({name}), whose tags are replaced; --plain reads it" in outcome.err


def test_the_column_of_the_words_can_be_chosen(refrain, run, write, mistake):
    text = "x y the\nx y dogs\n\nx y cats\n"
    path = write("a.txt", text)
    rows = [
        json.loads(line)["words"] for line in refrain("tag", run, path, "--json", "--word-column", "3").out.splitlines()
    ]
    assert rows == [["the", "dogs"], ["cats"]]
    assert next(json.loads(line)["words"] for line in refrain("tag", run, path, "--json").out.splitlines()) != rows[0]
    middle = refrain("tag", run, path, "--json", "--word-column", "2").out.splitlines()
    assert json.loads(middle[0])["words"] == ["y", "y"]
    mistake(3, ["tag", run, path, "--word-column", "4"], "--word-column: no column 4 of words; choose 1 to 3")
    plain = write("plain.txt", "the dogs sleep\ncats\nthe cats run home\n")
    for column in ("1", "2"):
        mistake(
            3,
            ["tag", run, plain, "--word-column", column],
            "plain.txt:2: 1 column, where the first line of the file has 3",
            "if this is plain text, leave out --word-column",
        )
    mistake(3, ["tag", run, write("b.txt", "dogs\n"), "--word-column", "1"], "leave out --word-column")
    mistake(2, ["tag", run, path, "--word-column", "0"], "--word-column must be at least 1 (got 0)")
    mistake(2, ["tag", run, path, "--word-column", "2", "--plain"], "--word-column cannot take effect with --plain")
    conllu = write("a.conllu", "1\tthe" + "\t_" * 8 + "\n")
    mistake(2, ["tag", run, conllu, "--word-column", "2"], "cannot take effect with CoNLL-U")


def test_trees_are_a_tagged_corpus_and_no_text(refrain, tmp_path, write):
    """A folder of trees trains a tagger; a language model that reads them reports it."""
    for split, count in (("train", 40), ("dev", 10), ("test", 10)):
        trees = (
            "( (S " + " ".join(f"({tag} {word})" for word, tag in each) + "\n   (NP (-NONE- *T*))))\n"
            for each in sentences(count, 3)
        )
        write(f"trees/wsj-{split}.mrg", "".join(trees))
    folder = tmp_path / "trees"
    checked = refrain("data", "check", folder, "--json").json
    assert (
        checked["splits"]["train"]["empty_elements"] == 40 and checked["splits"]["train"]["format"] == "bracketed trees"
    )
    found = refrain("train", "pos-default", "--data", folder, "--out", tmp_path / "run", *TINY)
    assert found.status == 0, found.err
    assert "train: left out 40 empty elements (-NONE-) of the trees" in found.err
    text = write("text.txt", (folder / "wsj-train.mrg").read_text())
    words = [
        "zaremba-small",
        "--data",
        text,
        "--out",
        tmp_path / "lm",
        "model.hidden_sizes=[4]",
        "model.embedding_size=4",
    ]
    words += ["training.epochs=1", "training.batch_size=2", "training.window_steps=5", "training.sample_tokens=0"]
    note = "is read as plain text, with the brackets and labels of its trees; extract the words"
    assert note in refrain("train", *words).err


def test_columns_as_a_text_of_words(refrain, corpus, write):
    text = write("my.conllu", (corpus / "x-ud-train.conllu").read_text())
    note = f"{text}: is read as plain text, with the columns of CoNLL-U; extract the words first, or train a tagger"
    assert note in refrain("data", "check", text, "--unit", "word").err


def test_a_bad_line_of_columns_is_named(refrain, run, write, mistake):
    text = "".join(map(columns, sentences(9, 7)))
    path = write("a.txt", text + "dogs N\n")
    outcome = refrain("tag", run, path)
    assert outcome.status == 3 and f"{path}:{text.count(chr(10)) + 1}: 2 columns, where" in outcome.err
    assert "left out 1 bad sentence\n" in refrain("tag", run, path, "--skip-bad").err
    # plain text is what it was
    plain = refrain("tag", run, write("b.txt", "the dogs\n"), "--json")
    assert plain.json["words"] == ["the", "dogs"] and plain.err == ""
    assert refrain("tag", run, path, "--plain", "--json").out.count("\n") > 9


def test_words_that_are_distributed_apart(refrain, run, write):
    path = write("a.conllu", "".join(conllu([("_", "D")], ["D"]) for _ in range(3)))
    assert (
        "all: every word is _; the text of the treebank is distributed apart"
        in refrain("evaluate", run, "--data", path).err
    )


def test_data_check_refuses_what_tagged_sentences_do_not_take(mistake, corpus):
    mistake(2, ["data", "check", corpus, "--lowercase"], "--lowercase: cannot take effect with tagged sentences")


@pytest.fixture(scope="module")
def named(tmp_path_factory):
    """Two taggers of spans, which differ in the seed, and the folder of their sentences, with tags in column 3."""
    from refrain.cli.app import main

    folder = tmp_path_factory.mktemp("named")
    (folder / "names").mkdir()
    data = write_names(folder / "names")
    for seed in (1, 2):
        words = ["train", "pos-default", *LEARNT, "data.column=3", f"training.seed={seed}", "--data", data, "--quiet"]
        assert main([str(word) for word in [*words, "--out", folder / f"seed-{seed}"]]) == 0
    return folder / "seed-1", folder / "seed-2", data


def test_a_table_of_taggers_has_the_f1_of_spans(refrain, named):
    first, second, _ = named
    headings, row, _ = refrain("evaluate", first, second).out.splitlines()[-3:]
    assert headings.split()[-1] == "span_f1" and row.split()[-1] == "100.00%"
    assert [run["spans"]["f1"] for run in refrain("evaluate", first, second, "--json").json["runs"]] == [1.0, 1.0]


def test_sentences_with_their_tags_in_another_column(refrain, mistake, named, write):
    first, second, data = named
    rows = [line.split(" ") for line in (data / "eng.test").read_text().splitlines()[2:]]
    other = write("other.txt", "".join(" ".join(["x", *row[::-1]]) + "\n" if len(row) == 3 else "\n" for row in rows))
    outcome = refrain("evaluate", first, "--data", other)
    assert outcome.status == 3 and "or choose the column that has them" in outcome.err
    columns = ("--data", other, "--column", 2, "--word-column", 4)
    figure = refrain("evaluate", first, *columns, "--json").json
    own = refrain("evaluate", first, "--json").json
    assert figure["spans"] == own["spans"] and figure["seen"] == own["seen"] and figure["tags"] == own["tags"]
    for command in (["evaluate", first, "--data", other], ["data", "check", other, "--unit", "tag"]):
        mistake(2, [*command, "--word-column", "foo"], "--word-column must be auto or a number from 1 on (got 'foo')")
    found = refrain("compare", first, second, *columns, "--json").json["groups"]
    assert found[0]["text"]["accuracy"] == 1.0


def test_options_that_cannot_take_effect_with_the_models_that_are_compared(mistake, named, tiny_run):
    first, second, data = named
    mistake(
        2, ["compare", first, second, "--data", data, "--lowercase"], "--lowercase: cannot take effect with a tagger"
    )
    for option in (["--column", 3], ["--skip-bad"]):
        words = ["compare", tiny_run, "--split", "valid", *option]
        mistake(2, words, f"{option[0]}: cannot take effect with a language model")
        mistake(2, ["compare", first, second, *option], "without a text, which --data or --split names")
