"""Every code block of the documentation runs, and every link leads somewhere.

Blocks of a file run in order in one empty folder, where a tiny corpus stands at the places that the documentation
speaks of. Commands are made small by settings added to them; before that, they are resolved unchanged.
"""

import gzip
import pathlib
import platform
import random
import re
import shlex
import sys
from itertools import pairwise, zip_longest
from typing import NamedTuple

import numpy as np
import pytest
import torch
from safetensors.torch import save as to_bytes

from refrain.bench import auto as bench_auto
from refrain.bench import export as bench_export
from refrain.bench import sparse
from refrain.cli.app import main
from refrain.cli.bench import BENCHES, UNITS
from refrain.cli.bench_options import NO_REPEATS
from refrain.config import Experiment, TaggerExperiment, setting_names
from refrain.data import embedded
from refrain.data.embedded import FORMAT
from refrain.data.known import KNOWN
from refrain.export.formats import compiler
from refrain.nn.kernels.backend import has_fast_bf16
from refrain.recipes import recipe

ROOT = pathlib.Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
CARDS = sorted(path for path in (ROOT / "docs" / "methods").glob("*.md") if path.name != "README.md")
DECISIONS = sorted((ROOT / "docs" / "decisions").glob("[0-9]*.md"))
LINKED = [*PAGES, ROOT / "CONTRIBUTING.md"]
TARGETS = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
NOT_RUN = ("curl ", "git clone ", "cd ", "pip install ", ". .venv/bin/activate", "cc ")
# pages whose blocks run where these packages are installed
NEEDS = {page: ("onnx", "onnxruntime") for page in ("export.md", "performance.md")} | {"harness.md": ("lm_eval",)}
SMALL = [
    "model.embedding_size=8",
    "model.hidden_sizes=[8,8]",
    "training.epochs=2",
    "training.sample_tokens=5",
]
# a text has several times as many bytes as words
WINDOWS = {"byte": ["training.batch_size=16", "training.window_steps=10"]}
WINDOWS_OF_WORDS = ["training.batch_size=4", "training.window_steps=5"]
# predefined sparseness in as few blocks as a few words allow, where it is asked for
SMALL_TAGGER = ["model.hidden_sizes=[8]", "training.epochs=2", "training.batch_size=4"]
SMALL_SPARSE = ["model.embedding_size=8", "model.embedding.blocks=4", "model.embedding.density=0.5"]
# of the 1,377 parameters and 1,160 multiply-adds that are left by the settings above
SMALLER = ["--to", "parameters=900", "--max-loss", "900%"]
# files of a checkpoint, and packages
NO_SETTINGS = {"model.safetensors", "model.h", "model.c", "data.text", "data.tagged", "data.units"}
# pages whose blocks of text are what the blocks of Python before them print
PRINTED = ("own-cell.md",)
CARD = ["What it does", "Function", "Recipe", "Suggested values", "What we measured", "Departures from the paper"]
CARD.append("Citation")


def name_of(path):
    return path.relative_to(ROOT).as_posix()


class Block(NamedTuple):
    """A fenced block."""

    language: str
    line: int  # of its first line of code, counting from 1
    code: str


def blocks(text):
    """The fenced blocks of a page, in order."""
    found, opened, code = [], None, []
    for number, line in enumerate(text.splitlines(), 1):
        if line.lstrip().startswith("```"):
            if opened is None:
                opened, code = (line.strip().removeprefix("```"), number + 1), []
            else:
                found.append(Block(*opened, "\n".join(code) + "\n"))
                opened = None
        elif opened is not None:
            code.append(line)
    assert opened is None, f"the block at line {opened[1]} is not closed"
    return found


def write_corpus(folder):
    """Three splits of sentences from a few words."""
    draw = random.Random(1)
    folder.mkdir(parents=True)
    words = re.findall(r"\w+", "the company said it will pay a dividend function object class of to and is")
    for split, lines in (("train", 120), ("valid", 60), ("test", 60)):
        rows = [" ".join(draw.choices(words, k=draw.randint(4, 14))) for _ in range(lines)]
        (folder / f"ptb.{split}.txt").write_text("".join(f" {row} \n" for row in rows))


def write_treebank(folder):
    """Three splits of CoNLL-U with a few tags."""
    draw = random.Random(1)
    folder.mkdir(parents=True)
    tags = {"the": ("DET", "DT"), "company": ("NOUN", "NN"), "dividend": ("NOUN", "NN"), "pays": ("VERB", "VBZ")}
    for split, count in (("train", 40), ("dev", 10), ("test", 10)):
        text = ""
        for _ in range(count):
            for place, word in enumerate(draw.choices(list(tags), k=draw.randint(3, 9)), 1):
                upos, xpos = tags[word]
                text += "\t".join([str(place), word, "_", upos, xpos, *["_"] * 5]) + "\n"
            text += "\n"
        (folder / f"en-ud-{split}.conllu").write_text(text)


def write_names(folder):
    """Names in the fourth column of files as of CoNLL-2003, and in MISC of a file of CoNLL-U."""
    names = {"Ann": "B-PER", "ran": "O", "home": "O"}
    for split in ("train", "testa", "testb"):
        (folder / "conll2003").mkdir(exist_ok=True)
        rows = "".join(f"{word} X X {tag}\n" for word, tag in names.items())
        (folder / "conll2003" / f"eng.{split}").write_text("-DOCSTART- -X- -X- O\n\n" + f"{rows}\n" * 10)
    rows = [f"{index}\t{word}" + "\t_" * 7 + f"\tname={tag}\n" for index, (word, tag) in enumerate(names.items(), 1)]
    (folder / "norne.conllu").write_text("".join([*rows, "\n"]) * 20)


def write_tables(folder):
    """Labelled sentences in three tables."""
    folder.mkdir(parents=True)
    sentences = "label,sentence\n" + "1,it will pay a dividend\n0,the company said to the object\n" * 20
    for split in ("train", "dev", "test"):
        (folder / f"{split}.csv").write_text(sentences)


def write_shards(folder, text):
    """A text in compressed files."""
    folder.mkdir(parents=True)
    for number in range(3):
        (folder / f"part-{number}.txt.gz").write_bytes(gzip.compress(text.read_bytes()))


def write_models(folder, text):
    """Models of other programs, and their vocabularies."""
    folder.mkdir(parents=True)
    words = ["<eos>", *sorted(set(text.read_text().split()))]
    listed = ["<eos>", "<unk>", *words[1:]]
    named = ["</s>", "[UNK]", *words[1:]]
    layers = torch.nn.LSTM(4, 4)

    def parts(encoder, rnn, decoder, count):
        weight = torch.randn(count, 4)
        tensors = {
            f"{encoder}.weight": weight,
            f"{decoder}.weight": weight.clone(),
            f"{decoder}.bias": torch.zeros(count),
        }
        return tensors | {f"{rnn}.{name}": tensor for name, tensor in layers.state_dict().items()}

    torch.save(parts("encoder", "rnn", "decoder", len(listed)), folder / "model.pt")
    torch.save(parts("encoder", "rnns.0", "decoder", len(words)), folder / "PTB.pt")
    torch.save({"model": parts("input_embedding", "rnn", "output_linear", len(listed))}, folder / "pretrained.pt")
    (folder / "lstm.safetensors").write_bytes(to_bytes(parts("embed", "lstm", "out", len(listed))))
    (folder / "vocab.txt").write_text("\n".join(listed))
    (folder / "words.txt").write_text("\n".join(named))
    tokens = ["<blk>", "<sos/eos>", *words[1:]]
    (folder / "tokens.txt").write_text("".join(f"{token} {index}\n" for index, token in enumerate(tokens)))
    (folder / "mlstm").mkdir()
    shapes = [(256, 3), (3, 16), *[(4, 4)] * 4, (3, 4), (4, 4), (16,), (16,), (16,), (4,), (4,), (4, 256), (256,)]
    for number, shape in enumerate(shapes):
        np.save(folder / "mlstm" / f"{number}.npy", np.ones(shape, dtype=np.float32))


@pytest.fixture
def workplace(tmp_path, monkeypatch):
    """A folder to run a page in, with the corpora it may name."""
    for name in ("ptb", "ptb-3000", "ptb-9002", "wikitext-2"):
        write_corpus(tmp_path / "PATH" / "TO" / name)
    text = tmp_path / "PATH" / "TO" / "text.txt"
    text.write_text((tmp_path / "PATH" / "TO" / "ptb" / "ptb.train.txt").read_text() * 2)
    write_shards(tmp_path / "PATH" / "TO" / "shards", text)
    write_models(tmp_path / "PATH" / "TO" / "models", text)
    write_tables(tmp_path / "PATH" / "TO" / "reviews")
    write_treebank(tmp_path / "PATH" / "TO" / "treebank")
    write_names(tmp_path / "PATH" / "TO")
    # an embedded corpus that stands in the cache is not read from the running Python, which takes ten seconds
    for name in ("python-docs", "python-source"):
        write_corpus(tmp_path / "cache" / "embedded" / f"{name}-{platform.python_version()}-{FORMAT}")
    monkeypatch.setattr(embedded, "cache_folder", lambda: tmp_path / "cache")
    # layers of the size that is measured take half a minute
    monkeypatch.setattr(sparse, "LAYERS", ((30, 0.5), (45, 0.66666)))
    # and so does a grid of wide layers and heads
    for name, value in {"CELLS": {"lstm": (8,)}, "SPARSE": (), "HEADS": (8,), "VOCABULARY": 50}.items():
        monkeypatch.setattr(bench_auto, name, value)
    # C code for ten thousand words takes seconds to compile
    monkeypatch.setattr(bench_export, "VOCABULARY", 50)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    known = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - known:
        if str(getattr(sys.modules[name], "__file__", "")).startswith(str(tmp_path)):
            del sys.modules[name]


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_code_block_runs(page, workplace, capsys):
    for package in NEEDS.get(page.name, ()):
        pytest.importorskip(package, reason=f"the blocks of {page.name} need {package}")
    found = blocks(page.read_text(encoding="utf-8"))
    for block, following in zip_longest(found, found[1:]):
        place = f"{name_of(page)}:{block.line}"
        match block.language:
            case "python":
                keep(block.code)
                capsys.readouterr()
                exec(compile(block.code, place, "exec"), {"__name__": "__main__"})
                if page.name in PRINTED and following is not None and following.language == "text":
                    assert capsys.readouterr().out == following.code, place
            case "sh":
                for line in block.code.splitlines():
                    run_line(line, place)
            case "toml":
                resolve(block.code)
            case "text":
                pass
            case other:
                pytest.fail(f"{place}: a block of {other!r}; known are python, sh, toml and text")


def keep(code):
    """Code is kept for later blocks under the name in its first line."""
    if named := re.match(r"# (\w+\.py)\n", code):
        pathlib.Path(named[1]).write_text(code, encoding="utf-8")


def run_line(line, place):
    """A line of shell: a command of ours is run in this process, a make target must be there."""
    words = shlex.split(line, comments=True)
    if not words or line.startswith(NOT_RUN):
        return
    if words[0] == "make":
        assert {word for word in words[1:] if "=" not in word} <= TARGETS, f"{place}: {line}"
    elif words[0] == "refrain":
        assert run_command(words[1:]) == 0, f"{place}: {line}"
    else:
        pytest.fail(f"{place}: {line!r} is neither a command of ours nor on the list of those that are left out")


def run_command(words):
    """The exit status of a command, made small."""
    match words:
        case ["models", "fetch", address, "--sha256", "HASH", *_]:
            assert address.startswith(("https://HOST/", "file:///PATH/"))
            return 0
        case ["data", "fetch", name]:
            assert name in KNOWN
            return 0
        case ["train" | "check", source, *rest] if not source.startswith("-"):
            return main([*words, *small(source, rest)])
        case ["bench", name, *rest]:
            source = rest[rest.index("--recipe") + 1] if "--recipe" in rest else BENCHES[name]
            made = {} if name in NO_REPEATS else {"--repeats": "1"}
            made |= {"--windows": "1"} if name in UNITS else {}
            made |= {"--widths": "8"} if name == "cells" else {}
            made |= {"--megabytes": "1"} if name == "prepare" else {}
            made |= {"--clients": "2", "--seconds": "0.5"} if name == "serve" else {}
            made |= {"--widths": "8,6"} if name == "export" and "--widths" in words else {}
            left_out = {at + more for at, word in enumerate(words) if word in made for more in (0, 1)}
            kept = [word for at, word in enumerate(words) if at not in left_out]
            settings = small(source, rest) if name in UNITS or name == "tag" else []
            return main([*kept, *(word for pair in made.items() for word in pair), *settings])
        case ["compress", *rest]:
            # after two epochs no unit is dead: the weakest go
            options = [at for at, word in enumerate(rest) if word == "--to"]
            return main(["compress", *(w for at, w in enumerate(rest) if not {at, at - 1} & {*options}), *SMALLER])
        case ["export", *_]:
            if "c" in words and compiler() is None:
                return 0
            kept = words[: words.index("--proof-tokens")] if "--proof-tokens" in words else words
            return main([*kept, "--proof-tokens", "1000"])
        case ["sweep", file, *rest]:
            # workers of their own would import everything again
            kept = rest[: rest.index("--workers")] if "--workers" in rest else rest
            return main(["sweep", small_sweep(file), *kept])
        case ["serve", *rest]:
            # all but the port is right
            kept = [word for at, word in enumerate(rest) if "--port" not in (word, rest[at - 1])]
            assert main(["serve", *kept, "--port", "70000"]) == 2
            return 0
        case ["evaluate", *_] if "--search" in words:
            # each try is an evaluation of its own
            words[words.index("--search") + 1] = "2"
    return main(words)


def small(source, words):
    """Settings that make a recipe small, after it was resolved with those among the words unchanged."""
    imported = words[words.index("--iss-json") + 1] if "--iss-json" in words else None
    experiment = recipe(source, *(word for word in words if re.match(r"[a-z_.]+=", word)), iss_json=imported)
    if isinstance(experiment, TaggerExperiment):
        stop = ["training.stop_window=1"] if experiment.training.stop_window else []
        return [*SMALL_TAGGER, *(SMALL_SPARSE if experiment.model.embedding.kind == "sparse" else []), *stop]
    changes = SMALL + WINDOWS.get(experiment.data.unit, WINDOWS_OF_WORDS)
    # these may not look further back than the epochs that are left
    changes += ["training.stop_window=1"] if experiment.training.stop_window is not None else []
    changes += ["training.optimizer.trigger_window=1"] if experiment.training.optimizer.kind == "nt-asgd" else []
    if not has_fast_bf16():
        # a command that asks for bf16 is refused where the processor has no instructions for it
        changes.append("training.precision=float32")
    if experiment.model.embedding.kind == "sparse":
        changes.append("model.embedding.blocks=2")
    if experiment.sparsity.group_lasso:
        # of eight units not all may die
        changes.append("sparsity.group_lasso.strength=0.00001")
    if experiment.sparsity.target:
        changes.append(f"sparsity.target.{experiment.sparsity.target.chosen()[0]}=900")
    return changes


def small_sweep(file):
    """The path of a sweep with the cells of another and small settings, whose folder has the same name."""
    text = pathlib.Path(file).read_text(encoding="utf-8")
    lines = []
    for setting in (*SMALL, *WINDOWS_OF_WORDS):
        name, _, value = setting.partition("=")
        lines += [f"{name} = {value}"] if name not in text else []
    path = pathlib.Path("small") / file
    path.parent.mkdir(exist_ok=True)
    head = [f'extends = "../{file}"', "training.epochs = 1", *(line for line in lines if "epochs" not in line)]
    path.write_text("\n".join(head) + "\n" + text[text.index("[sweep]") :], encoding="utf-8")
    return str(path)


def resolve(code):
    """Settings in TOML are resolved, and kept for later blocks under the name in the first line."""
    named = re.match(r"# ([\w-]+\.toml)\n", code)
    path = pathlib.Path(named[1] if named else "unnamed.toml")
    path.write_text(code, encoding="utf-8")
    # the names of tensors are no settings
    if path.name != "names.toml":
        recipe(str(path))


@pytest.mark.parametrize("page", LINKED, ids=name_of)
def test_every_link_leads_somewhere(page):
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    for target, anchor in re.findall(r"\]\(([^)#\s]*)(?:#([^)\s]*))?\)", text):
        if re.match(r"\w+:", target):
            continue
        path = (page.parent / target).resolve() if target else page
        assert path.exists(), f"{name_of(page)}: {target} is not there"
        if anchor:
            headings = re.findall(r"^#+ (.*)", path.read_text(encoding="utf-8"), re.MULTILINE)
            slugs = {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
            assert anchor in slugs, f"{name_of(page)}: {target}#{anchor} is not there"


def settings_named(text):
    """The settings that a page names in its code spans, such as `model.head.components=15`."""
    spans = re.findall(r"`([^`\n]+)`", re.sub(r"```.*?```", "", text, flags=re.DOTALL))
    words = [word for span in spans for word in re.split(r"[\s=]", span)]
    return {word for word in words if re.fullmatch(r"(data|model|training|sparsity)(\.[a-z0-9_]+)+", word)}


@pytest.mark.parametrize("page", LINKED, ids=name_of)
def test_every_setting_that_a_page_names_exists(page):
    known = {*setting_names(Experiment), *setting_names(TaggerExperiment)}
    groups = {name.rsplit(".", count)[0] for name in known for count in (1, 2)}
    assert settings_named(page.read_text(encoding="utf-8")) - known - groups - NO_SETTINGS == set()


def test_settings_are_found_in_code_spans():
    assert settings_named("`x model.a.b=1 training.c` and model.d, `data`") == {"model.a.b", "training.c"}


@pytest.mark.parametrize("card", CARDS, ids=name_of)
def test_cards_keep_one_order(card):
    assert re.findall(r"^## (.*)", card.read_text(encoding="utf-8"), re.MULTILINE) == CARD


@pytest.mark.parametrize("pages", [CARDS, DECISIONS], ids=["methods", "decisions"])
def test_an_index_lists_every_page_of_its_folder_once(pages):
    listed = re.findall(r"\]\(([\w-]+\.md)\)", (pages[0].parent / "README.md").read_text(encoding="utf-8"))
    assert sorted(listed) == [page.name for page in pages]


def test_the_tour_shows_mistakes_as_they_are_shown(workplace, capsys):
    found = blocks((ROOT / "docs" / "tour.md").read_text(encoding="utf-8"))
    toml, said = next((a.code, b.code) for a, b in pairwise(found) if "hiden_sizes" in a.code)
    pathlib.Path("mine.toml").write_text(toml, encoding="utf-8")
    assert main(["check", "mine.toml", "training.epochs=two"]) == 2
    assert capsys.readouterr().err == said


def test_the_readme_shows_figures_as_they_are_printed(workplace, capsys):
    found = blocks((ROOT / "README.md").read_text(encoding="utf-8"))
    (shown,) = [each.code for each in found if each.code.startswith("run  ")]
    assert main(["evaluate", "python-docs", "--data", "PATH/TO/text.txt"]) == 0
    printed = dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines())
    for name, value in (line.split(maxsplit=1) for line in shown.splitlines()):
        assert name in printed
        assert name not in ("protocol", "method") or value == printed[name]


def test_blocks_are_found():
    text = "a\n```sh\nmake test\n```\n\n```python\nx = 1\n\ny = 2\n```\n"
    assert blocks(text) == [Block("sh", 3, "make test\n"), Block("python", 7, "x = 1\n\ny = 2\n")]


@pytest.mark.parametrize("line", ["rm -rf /", "make nonsense", "refrain nonsense"])
def test_a_line_that_does_not_work_is_seen(line, workplace):
    with pytest.raises((AssertionError, pytest.fail.Exception)):
        run_line(line, "here:1")


@pytest.mark.parametrize(
    "page", [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))], ids=lambda page: page.name
)
def test_no_page_has_a_gap_to_fill(page):
    assert "@@" not in page.read_text(encoding="utf-8")
