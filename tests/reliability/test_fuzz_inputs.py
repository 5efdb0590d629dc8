"""Random inputs for every reader: a result or an error of ours with its place, in bounded time and memory.

A failing input is made smaller, and written to a file that the failure names.
"""

import contextlib
import io
import json
import random
import shutil
import time
import warnings
from collections import Counter

import pytest
from bounds import Exceeded, memory_limit, time_limit
from inputs import (
    COLUMNS,
    CONLLU,
    CORPUS,
    ISS,
    ODD_TEXTS,
    RECIPE,
    SETTINGS,
    TABLE,
    TAGGER_RECIPE,
    VALUES,
    damaged,
    damaged_text,
    document,
    tensor_file,
)
from short_runs import Stopping
from stopping import train_and_stop

from refrain import runs
from refrain.assembly import build_corpus
from refrain.cli.app import main
from refrain.config import Data, Experiment, TaggerExperiment
from refrain.config.iss_json import iss_settings, read_iss_json
from refrain.data import Windows, vocabulary_from
from refrain.data.tagged.corpus import read_tagged
from refrain.data.tagged.tokenise import sentences_of
from refrain.data.tagged.vocabulary import tag_vocabulary_from
from refrain.data.text.files import blocks, whole
from refrain.data.text.labelled import read_labelled
from refrain.errors import UserError
from refrain.recipes import RECIPES, recipe
from refrain.runs.config_document import experiment_from
from refrain.storage.checkpoint import Checkpoint
from refrain.storage.run_folder import RunFolder

SECONDS, MEGABYTES = 5, 200
# inputs with this many between two looks at the memory
BATCH = 200
# the commands that need no run and no corpus
WORDS = [
    ["recipes", "quickstart", "--json"],
    ["check", "zaremba-small", "training.epochs=3", "model.hidden_sizes=[20,30]", "--data", "gone"],
    ["check", "quickstart", "training.schedule=cosine", "model.dropout=0.5", "--data", "gone", "--json"],
    ["evaluate", "gone", "--split", "valid", "--protocol", "exact"],
    ["generate", "gone", "--tokens", "3", "--temperature", "0.5", "--top-k", "3", "--seed", "1"],
    ["score", "gone", "gone.txt", "--json", "--errors", "replace"],
    ["features", "gone", "gone.txt", "--out", "gone.npz", "--layer", "1", "--unit", "1,2"],
    ["compress", "gone", "--out", "gone2", "--threshold", "0.1", "--to", "parameters=7M"],
    ["data", "check", "gone", "--unit", "word", "--min-count", "2"],
]


# Each reader below is a function of a folder. It returns `make`, from a random generator to an input, and `read`, which
# reads an input and raises `UserError` if it is wrong.


def toml(folder):
    path = folder / "mine.toml"

    def read(content):
        path.write_bytes(content)
        assert isinstance(recipe(str(path)), Experiment | TaggerExperiment)

    return lambda draw: damaged(draw, draw.choice([RECIPE, TAGGER_RECIPE]), 2), read


def settings(folder):
    def make(draw):
        return [draw.choice(list(RECIPES)), damaged_text(draw, f"{draw.choice(SETTINGS)}={draw.choice(VALUES)}")]

    def read(words):
        assert isinstance(recipe(*words), Experiment | TaggerExperiment)

    return make, read


def command_lines(folder):
    def make(draw):
        words = list(draw.choice(WORDS))
        # the command itself stays, so that no damage to a word trains, fetches or measures
        at = draw.randrange(2 if words[0] == "data" else 1, len(words))
        words[at] = damaged_text(draw, words[at])
        return words

    def read(words):
        out, err = io.StringIO(), io.StringIO()
        with contextlib.chdir(folder), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            status = main(words)
        said = err.getvalue()
        assert status in (0, 2, 3, 4) and "Traceback" not in said and "not enough memory" not in said
        assert bool([line for line in said.splitlines() if line.startswith("refrain: ")]) == (status != 0)
        assert not list(folder.iterdir())
        if status:
            raise UserError(said)

    return make, read


def iss_json(folder):
    path = folder / "iss.json"
    model = {"cell": {"kind": "lstm"}, "hidden_sizes": (1500, 1500), "tied": False, "head": {"kind": "softmax"}}

    def read(content):
        path.write_bytes(content)
        found, problems = iss_settings(read_iss_json(path), model)
        assert isinstance(found, dict) and all(isinstance(problem, str) for problem in problems)

    return lambda draw: document(draw, ISS), read


def tagged(name, example):
    def reader(folder):
        path = folder / name

        def make(draw):
            return draw.choice(ODD_TEXTS) if draw.random() < 0.02 else damaged(draw, example)

        def read(content):
            path.write_bytes(content)
            try:
                split = read_tagged(path, errors="replace" if len(content) % 2 else "strict")
            except UserError as error:
                assert str(error).startswith(f"{path}:"), error
                raise
            assert split.sentences and all(len(each.words) == len(each.tags) for each in split.sentences)

        return make, read

    return reader


def tables(folder):
    for split in ("valid", "test"):
        (folder / f"{split}.csv").write_bytes(TABLE.replace(b"\t", b","))

    def read(content):
        (folder / "train.csv").write_bytes(content.replace(b"\t", b","))
        read_labelled(folder)

    return lambda draw: damaged(draw, TABLE), read


def texts(draw):
    if draw.random() < 0.05:
        return draw.choice(ODD_TEXTS)
    return damaged(draw, CORPUS[: draw.randrange(len(CORPUS))], 4)


def text_blocks(folder):
    path = folder / "text.txt"

    def read(content):
        path.write_bytes(content)
        for text in blocks(whole(path), "replace" if len(content) % 2 else "strict", whole_lines=len(content) % 3 > 0):
            assert sum(len(sentence) for sentence in sentences_of(text.split("\n"))) <= len(text)

    return texts, read


def corpora(folder):
    path = folder / "text.txt"
    options = [{"unit": "byte"}, {}, {"min_count": 2}, {"errors": "replace", "max_words": 4}]

    def read(content):
        path.write_bytes(content)
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("REFRAIN_CACHE", str(folder / "cache"))
            try:
                corpus = build_corpus(Data(corpus=str(path), **options[len(content) % len(options)]))
                check_corpus(corpus, content)
            finally:
                shutil.rmtree(folder / "cache", ignore_errors=True)

    return texts, read


def check_corpus(corpus, content):
    split = corpus.splits["train"]
    if corpus.vocabulary.unit == "word":
        assert len(split.tokens) == len(list(corpus.spellings("train")))
        assert split.lines == sum(text.count("\n") for text in blocks(split.source, corpus.errors))
    else:
        assert bytes(split.tokens.read(0, len(content))) == content[: len(split.tokens)]
    assert int(split.tokens.read(0, len(split.tokens)).max()) < len(corpus.vocabulary)
    Windows(split.tokens, batch_size=4, window_steps=3)


def configs(folder):
    example = json.loads((folder / "run" / "config.json").read_text())

    def read(content):
        (folder / "run" / "config.json").write_bytes(content)
        experiment_from(RunFolder(folder / "run").read_json("config.json"), folder)

    return lambda draw: document(draw, example), read


def vocabularies(folder):
    word = {"unit": "word", "words": ["<eos>", "<unk>", "ant", "bee"]}
    kinds = {"lower_case": True, "prefixes": 0, "suffixes": 1, "shapes": False}
    tag = {"unit": "tag", "words": ["<unk>", "ant"], "rare": ["x"], "tags": ["N"], "features": ["<rare>", "lower:ant"]}
    tag["kinds"] = kinds

    def read(content):
        try:
            found = json.loads(content)
        except ValueError:
            return
        tagger = isinstance(found, dict) and found.get("unit") == "tag"
        vocabulary = tag_vocabulary_from(found) if tagger else vocabulary_from(found)
        vocabulary.encode(["ant", "bee"] if tagger else "ant bee\n")
        assert json.dumps(vocabulary.document())

    return lambda draw: document(draw, draw.choice([word, tag])), read


def checkpoint_files(folder, name):
    """The best checkpoint of a run, one file of which is replaced behind a hash that is right."""
    from payloads import Place

    place = Place(folder / "run", folder, folder / "canary")
    return (folder / "run" / "best").resolve(), lambda content: place.put(name, content)


def manifests(folder):
    best, _ = checkpoint_files(folder, "manifest.json")
    example = json.loads((best / "manifest.json").read_text())

    def read(content):
        (best / "manifest.json").write_bytes(content)
        found = Checkpoint(best)
        found.document("config")

    return lambda draw: document(draw, example), read


def tensors(folder):
    best, put = checkpoint_files(folder, "model.safetensors")
    example = (best / "model.safetensors").read_bytes()

    def read(content):
        put(content)
        Checkpoint(best).tensors("model")

    return lambda draw: tensor_file(draw, example), read


def loaded(name):
    """`refrain.load` of a checkpoint with a document that somebody has written."""

    def reader(folder):
        best, put = checkpoint_files(folder, name)
        example = json.loads((best / name).read_text())

        def read(content):
            put(content)
            model = runs.load(best)
            with contextlib.suppress(UserError):
                model.generate("ant", tokens=1, seed=1)

        return lambda draw: document(draw, example), read

    return reader


def resumed(name, *, in_checkpoints):
    """`refrain.resume` of a run with a document that somebody has written."""

    def reader(folder):
        whole_run = folder / "run"
        run = folder / "copy"
        example = json.loads(
            ((whole_run / "best").resolve() if in_checkpoints else whole_run).joinpath(name).read_text()
        )

        def read(content):
            from payloads import Place

            shutil.rmtree(run, ignore_errors=True)
            shutil.copytree(whole_run, run, symlinks=True)
            if in_checkpoints:
                Place(run, folder, folder / "canary").put(name, content)
            else:
                (run / name).write_bytes(content)
            runs.resume(run, progress=Stopping())

        return lambda draw: document(draw, example), read

    return reader


def seeds(folder):
    example = {"seeds": [1], "config": json.loads((folder / "run" / "config.json").read_text()), "from": None}
    example |= {"recipe": "training.seed = 1\n", "command": "refrain train"}
    shutil.copytree(folder / "run", folder / "many" / "seed-1", symlinks=True)

    def read(content):
        for path in (folder / "many").iterdir():
            if path.name != "seed-1":
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        (folder / "many" / "seeds.json").write_bytes(content)
        runs.resume_seeds(folder / "many", progress=Stopping)

    return lambda draw: document(draw, example), read


# the number of inputs in the whole test suite, and in the reliability suite
READERS = {
    "recipe files": (toml, 100, 20_000),
    "settings": (settings, 150, 40_000),
    "command lines": (command_lines, 60, 20_000),
    "iss files": (iss_json, 300, 200_000),
    "conllu": (tagged("a.conllu", CONLLU), 200, 150_000),
    "columns": (tagged("a.tsv", COLUMNS), 200, 150_000),
    "labelled tables": (tables, 100, 80_000),
    "text": (text_blocks, 200, 100_000),
    "corpora": (corpora, 60, 10_000),
    "configs": (configs, 100, 40_000),
    "vocabularies": (vocabularies, 200, 100_000),
    "manifests": (manifests, 100, 40_000),
    "tensor files": (tensors, 100, 40_000),
    "loaded configs": (loaded("config.json"), 30, 4_000),
    "loaded vocabularies": (loaded("vocabulary.json"), 20, 2_000),
    "resumed states": (resumed("training.json", in_checkpoints=True), 30, 2_000),
    "resumed manifests": (resumed("manifest.json", in_checkpoints=False), 20, 1_000),
    "seeds": (seeds, 20, 1_000),
}


def test_the_reliability_suite_reads_a_million_inputs():
    assert sum(full for _, _, full in READERS.values()) == 1_000_000


@pytest.fixture(scope="module")
def victim(tmp_path_factory, tiny_settings, tiny_corpus):
    experiment = recipe("zaremba-small", *tiny_settings, data=str(tiny_corpus))
    return train_and_stop(experiment, tmp_path_factory.mktemp("victim") / "run", 40)


def outcome(read, content):
    """Read an input: `fine`, `mistake`, or the exception that should not be."""
    try:
        with time_limit(SECONDS):
            read(content)
    except UserError as error:
        return "mistake" if str(error).strip() else error
    except (Exception, Exceeded) as error:
        return error
    return "fine"


def smaller(read, content, kind):
    """Leave out parts, as long as the exception is of the same type and some seconds are left."""
    end = time.monotonic() + 10
    size = len(content) // 2
    while size:
        at = 0
        while at < len(content) and time.monotonic() < end:
            shorter = content[:at] + content[at + size :]
            if type(outcome(read, shorter)) is kind:
                content = shorter
            else:
                at += size
        size //= 2
    return content


@pytest.mark.parametrize("name", READERS)
def test_random_inputs(name, victim, tmp_path, trials, report, unflushed):
    reader, share, full = READERS[name]
    place = tmp_path / "place"
    place.mkdir()
    if reader not in (toml, settings, command_lines):
        shutil.copytree(victim, place / "run", symlinks=True)
    make, read = reader(place)
    outcomes = Counter()
    count = trials(share, full)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for first in range(0, count, BATCH):
            with memory_limit(MEGABYTES):
                for seed in range(first, min(first + BATCH, count)):
                    content = make(random.Random(f"{name} {seed}"))
                    found = outcome(read, content)
                    if not isinstance(found, str):
                        if not isinstance(found, Exceeded | MemoryError):
                            content = smaller(read, content, type(found))
                        kept = tmp_path / f"failing-{seed}"
                        kept.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
                        found.add_note(f"{name}, seed {seed}: {content[:300]!r}, which is in {kept}")
                        raise found
                    outcomes[found] += 1
    # the damage is neither too little nor too much to reach into the program
    if count >= 100:
        assert outcomes["mistake"] > 2
    report("random inputs", f"{count:,} {name}: {outcomes['fine']:,} read, {outcomes['mistake']:,} mistakes reported")


def test_a_failing_input_is_made_smaller():
    def read(content):
        if b"x" in content:
            raise KeyError("x")

    assert smaller(read, b"abcxdefx", KeyError) == b"x"
