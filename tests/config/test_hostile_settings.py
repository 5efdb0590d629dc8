"""Settings of any size, depth and origin: each mistake ends within a second, in short lines."""

import os
import socket
import time

import pytest

from refrain.config import Experiment, Model, Training, resolve
from refrain.config.loader import LONGEST_LINE, MOST_PARENTS
from refrain.config.mistakes import MOST_SHOWN
from refrain.config.toml_file import LARGEST_FILE
from refrain.errors import UserError, shortened, shown
from refrain.recipes import recipe

KNOWN = {"base": Experiment}
# of the processor, as others may use it; what these tests are about took more than ten, or did not end
SECONDS = 5


def mistakes(call, *arguments, **more):
    """The lines of the error, which come soon, are few and short."""
    start = time.process_time()
    with pytest.raises(UserError) as caught:
        call(*arguments, **more)
    assert time.process_time() - start < SECONDS
    lines = str(caught.value).splitlines()
    assert len(lines) <= MOST_SHOWN + 1 and max(map(len, lines)) <= LONGEST_LINE
    assert caught.value.exit_status == 2
    return lines


HUGE = {
    "a long string": ('model.cell = "{}"'.format("a" * 900_000), ":1: model.cell: must be "),
    "a long key": ("{} = 1".format("a" * 900_000), f":1: {'a' * 60}…: unknown key; known here: name"),
    "a long key in quotes, with dots": ('"{}" = 1'.format("a." * 400_000), ":?: a.a.a."),
    "a long key of a known group": ("[training]\n{} = 1".format("a" * 900_000), ":2: training.aaaa"),
    "a table with a long name and many keys": (
        "[{}]\n{}".format("a" * 400_000, "".join(f"k{index} = 1\n" for index in range(30_000))),
        ":30001: aaaa",
    ),
    "many unknown keys": ("".join(f"k{index} = 1\n" for index in range(20_000)), ":1: k0: unknown key"),
    "many wrong items": ("[model]\nhidden_sizes = [{}]".format(", ".join(map(str, range(-50_000, 0)))), "hidden_sizes"),
    "a number of many digits": ("training.epochs = {}".format("9" * 4000), "(got 999999"),
    "a number of a million digits": ("training.epochs = {}".format("9" * 900_000), ": Exceeds the limit"),
    "a hexadecimal number of a million digits": ("training.epochs = 0x{}".format("f" * 900_000), "thousands of digits"),
    "a fraction of a million digits": (
        "training.epochs = 1.{}".format("1" * 900_000),
        "must be a whole number (got 1.",
    ),
    "too_many_parts": ("{} = 1".format(".".join("a" * 17)), ":1: a name of more than 16 parts (a.a.a."),
    "dotted, 100,000": ("{} = 1".format(".".join("a" * 100_000)), ":1: a name of more than 16 parts (a.a.a."),
    "dotted and quoted, 100,000": ("{} = 1".format(".".join(['"a b"'] * 100_000)), ":1: a name of more than 16 parts"),
    "dotted, with blanks": ("{} = 1".format(" . ".join("a" * 100_000)), ":1: a name of more than 16 parts"),
    "dotted in braces": ("x = {{ {} = 1}}".format(".".join("a" * 100_000)), ":1: a name of more than 16 parts"),
    "a table, 100,000": ("\n\n[{}]\nx = 1".format(".".join("a" * 100_000)), ":3: a name of more than 16 parts ([a.a"),
    "dotted, 15": ("{} = 1".format(".".join("a" * 15)), f":1: {'.'.join('a' * 9)}: unknown key"),
    "braces in braces": ("x = {}1{}".format("{a = " * 100_000, "}" * 100_000), "is nested too deeply"),
    "braces in braces, 200": ("x = {}1{}".format("{a = " * 200, "}" * 200), "x.a.a.a.a.a.a.a.a: unknown key"),
    "brackets in brackets": ("x = {}{}".format("[" * 100_000, "]" * 100_000), "is nested too deeply"),
    "brackets in a value": ("[model]\nhidden_sizes = {}{}".format("[" * 200, "]" * 200), "(got [[[["),
    "many tables": ("".join(f"[[a]]\nx = {index}\n" for index in range(30_000)), "a: unknown key"),
    "blanks": ("a = 1{}".format(" " * 900_000), "a: unknown key"),
    "no end of a string": ('a = "{}'.format('\\"' * 400_000), ": Unterminated string"),
    "signs of nothing": ("[{(," * 200_000, ":1: "),
    "a name with a newline and an escape": ('"a\\nb\\u001b[31m" = 1', ":?: a\\nb\\x1b[31m: unknown key"),
    "NUL": ("[model]\ndropout = 0\0", ":2: "),
}


@pytest.mark.parametrize("name", HUGE)
def test_toml_of_any_size_and_depth(write, name):
    text, wanted = HUGE[name]
    path = write("mine.toml", text)
    found = mistakes(resolve, str(path), [], KNOWN)
    assert wanted in found[0] and found[0].startswith(f"{path}:")


def test_of_many_mistakes_the_first_are_shown_and_the_others_counted(write):
    path = write("mine.toml", HUGE["many unknown keys"][0])
    found = mistakes(resolve, str(path), [], KNOWN)
    assert len(found) == MOST_SHOWN + 1
    assert found[MOST_SHOWN - 1].startswith(f"{path}:{MOST_SHOWN}: k{MOST_SHOWN - 1}: unknown key")
    assert found[-1] == f"and {20_000 - MOST_SHOWN:,} more mistakes like these"


def test_a_file_that_is_too_large_is_not_read(tmp_path):
    path = tmp_path / "mine.toml"
    with path.open("wb") as file:
        # a sparse file, so that the test writes nothing
        file.truncate(1 << 40)
    assert mistakes(resolve, str(path), [], KNOWN) == [
        f"{path}: is larger than {LARGEST_FILE:,} bytes, the most that is read here; "
        "give a file of settings that can be read"
    ]


def test_a_long_chain_of_files(write):
    for index in range(50):
        parent = f"chain{index + 1}.toml" if index < 49 else "base"
        path = write(f"chain{index}.toml", f"extends = '{parent}'\n")
    first = path.with_name("chain0.toml")
    found = mistakes(resolve, str(first), [], KNOWN)
    assert found == [f"{first}: extends: more than {MOST_PARENTS} files extend one another; join some of them"]
    near = path.with_name(f"chain{50 - MOST_PARENTS}.toml")
    assert resolve(str(near), [], KNOWN) == Experiment()


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes in folders here")
@pytest.mark.parametrize("what", ["pipe", "socket", "device", "link to a device", "folder"])
@pytest.mark.parametrize("read", ["toml", "json"])
def test_what_is_no_file_is_not_waited_for(tmp_path, monkeypatch, what, read):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "mine.toml"
    with socket.socket(socket.AF_UNIX) as listening:
        if what == "pipe":
            os.mkfifo(path)
        elif what == "socket":
            listening.bind("mine.toml")
        elif what == "folder":
            path.mkdir()
        else:
            path.symlink_to("/dev/zero")
        more = {} if read == "toml" else {"iss_json": str(path)}
        found = mistakes(resolve, str(path) if read == "toml" else "base", [], KNOWN, **more)
    assert found == [f"{path}: is a {what.split()[-1]}, not a file; give a file of settings that can be read"]


@pytest.mark.parametrize(
    ("content", "wanted"),
    [
        (b"\xef\xbb\xbf[training]\r\nseed = 3\r\n", None),
        (b"[training]\rseed = 3\r", None),
        (b"[training]\nseed = \xff", ": not UTF-8 at byte 18"),
        (b"\xef\xbb\xbf\xff", ": not UTF-8 at byte 3"),
        (b"[training]\nseed = 3\n\0", ":3: "),
        ("[training]\nseed = 3".encode("utf-16"), ": not UTF-8 at byte 0"),
    ],
)
def test_encodings_and_line_ends(write, content, wanted):
    path = write("mine.toml", content)
    if wanted is None:
        assert resolve(str(path), [], KNOWN).training.seed == 3
    else:
        assert mistakes(resolve, str(path), [], KNOWN)[0].startswith(f"{path}{wanted}")


LONG = "a" * 100_000
WORDS = {
    "no setting": (LONG, f"command line: '{'a' * 60}…' is not a setting; write name=value"),
    "an unknown name": (f"{LONG}=1", f"command line: {'a' * 60}…: unknown key"),
    "an unknown name with dots": (f"{'.'.join(LONG)}=1", "command line: a.a.a.a"),
    "an unknown name in a group": (f"model.{LONG}=1", "command line: model.aaaaaa"),
    "a long value": (f"model.cell={LONG}", "must be 'lstm', 'gru'"),
    "a long number": (f"training.epochs={'1' * 100_000}", f"must be a whole number (got '{'1' * 60}…')"),
    "a long list": ("data.split=[" + "0.1," * 25_000 + "]", "must be two numbers"),
    "dots in braces": ("data.split={" + ".".join(LONG) + "=1}", "must be a list, as in [200,200] (got '{a.a."),
    "braces in braces": (
        "data.split=" + "{a=" * 25_000 + "1" + "}" * 25_000,
        "must be a list, as in [200,200] (got '{a=",
    ),
    "brackets": ("data.split=" + "[" * 50_000 + "]" * 50_000, "must be a list, as in [200,200] (got '[[["),
    "control characters": ("mod\x1b[31mel\nx=1", "command line: mod\\x1b[31mel\\nx: unknown key"),
    "many equals signs": ("=" * 100_000, "command line: : unknown key"),
}


@pytest.mark.parametrize("name", WORDS)
def test_words_of_any_length(name):
    word, wanted = WORDS[name]
    assert wanted in mistakes(resolve, "base", [word], KNOWN)[0]


def test_many_wrong_words():
    found = mistakes(resolve, "base", [f"word{index}" for index in range(1000)], KNOWN)
    assert len(found) == MOST_SHOWN + 1 and found[-1] == "and 980 more mistakes like these"


def test_a_recipe_with_a_long_name():
    assert mistakes(resolve, LONG, [], KNOWN) == [f"unknown recipe '{'a' * 60}…'; known: base"]


MANY = ", ".join(f'"k{index}": 1' for index in range(20_000))
JSON = {
    "many unknown keys": (f"{{{MANY}}}", "k0: unknown key; known: save_path"),
    "many matrices": (f'{{"grouplasso": {{"global_decay": 1, {MANY}}}}}', "grouplasso.k0: no matrix of this model"),
    "a long key": (f'{{"{LONG}": 1}}', f"{'a' * 60}…: unknown key"),
    "a long value": (f'{{"learning_rate": "{LONG}"}}', f"must be a number of at least 0 (got '{'a' * 60}…')"),
    "a number of a million digits": (f'{{"learning_rate": {"9" * 900_000}}}', "not JSON: Exceeds the limit"),
    "deep": ("[" * 900_000, "is nested too deeply"),
    "deep in braces": ('{"a":' * 150_000, "is nested too deeply"),
    "no end of a string": ('{"' + '\\"' * 400_000, "not JSON: Unterminated string"),
    "a key given twice": (f'{{"{LONG}": 1, "{LONG}": 2}}', f"not JSON: '{'a' * 60}…' is given twice"),
    "too large": ("1" * (LARGEST_FILE + 1), f"is larger than {LARGEST_FILE:,} bytes"),
    "not UTF-8": (b"\xff", "not UTF-8 at byte 0"),
}


@pytest.mark.parametrize("name", JSON)
def test_json_of_any_size_and_depth(write, name):
    content, wanted = JSON[name]
    path = write("theirs.json", content)
    found = mistakes(resolve, "base", [], KNOWN, iss_json=str(path))
    assert found[0].startswith(f"{path}: ") and wanted in found[0]


def test_settings_from_python_are_words_or_mappings():
    found = recipe(
        "quickstart", {"training.epochs": 3, "model": {"dropout": 0.5}}, {"sparsity.l1": None}, "training.seed=7"
    )
    wanted = recipe("quickstart", "training.epochs=3", "model.dropout=0.5", "sparsity.l1=none", "training.seed=7")
    assert found == wanted


@pytest.mark.parametrize(
    ("arguments", "wanted"),
    [
        (["training.epoch=3"], "argument settings: training.epoch: unknown key; did you mean 'epochs'?"),
        ([{"training.epochs": "two"}], "argument settings: training.epochs: must be a whole number (got 'two')"),
        ([{3: 4}], "argument settings: 3: unknown key; known here: name, data, model, training, sparsity"),
        (
            [3],
            "recipe: each setting is a text such as 'training.epochs=3', or a mapping such as {'training.epochs': 3}",
        ),
    ],
)
def test_messages_of_python_name_its_argument(arguments, wanted):
    assert mistakes(recipe, "quickstart", *arguments)[0].startswith(wanted)


def test_the_place_of_a_recipe_is_for_its_name():
    assert mistakes(recipe, Experiment()) == [
        f"recipe: must be the name of a recipe or the path of a TOML file (got {shown(Experiment())})"
    ]


@pytest.mark.parametrize(
    ("group", "values", "wanted"),
    [
        (Model, {"components": 15}, ["Model: components: unknown key; did you mean 'head.components'?"]),
        (Model, {"hiden_sizes": (3,)}, ["Model: hiden_sizes: unknown key; did you mean 'hidden_sizes'?"]),
        (Model, {"hidden_sizes": (0,) * 1000}, ["Model: hidden_sizes: must be at least 1 (got 0)"]),
        (Training, {"epochs": LONG}, [f"Training: epochs: must be a whole number (got '{'a' * 60}…')"]),
        (Experiment, {"model": {"dropout": 2}}, ["Experiment: model.dropout: must be less than 1.0 (got 2)"]),
        (Model, {"tied": True, "hidden_sizes": (3,)}, ["Model: tied: needs embedding_size equal to the last of"]),
    ],
)
def test_groups_that_are_made_in_python(group, values, wanted):
    found = mistakes(group, **values)
    assert len(found) >= len(wanted) and all(line.startswith(each) for line, each in zip(found, wanted, strict=False))


def test_texts_and_values_in_messages():
    assert shortened("a\tb\x7f\ud800é") == "a\\tb\\x7f\\ud800é"
    assert shortened("a" * 61) == "a" * 60 + "…" and shortened("a" * 60) == "a" * 60
    assert shown("a" * 60) == repr("a" * 60) and shown("a" * 61) == repr("a" * 60 + "…")
    assert shown(1 << 100_000) == "a number of thousands of digits" and shown([1.5, None]) == "[1.5, None]"
    nested = []
    for _ in range(10_000):
        nested = [nested]
    assert len(shown(nested)) < 70 and len(shown([[list(range(1000))] * 1000] * 1000)) < 70
