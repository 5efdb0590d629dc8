"""The corpora that a Python brings along: split by file, the same every time."""

import platform

import pytest

from refrain.data import embedded_folder
from refrain.data.embedded import DESCRIPTIONS, split_of
from refrain.errors import DataError, UserError

SPLITS = ("train", "valid", "test")


def module(index):
    head = f'"""Module {index}, {"very " * (index % 3)}short."""'
    return f'{head}\n\n\ndef f():\n    """It\'s f_{index}...\n\n    More."""\n'


@pytest.fixture
def library(tmp_path, monkeypatch):
    """A standard library of 100 modules in place of the running Python's, and a cache of its own."""
    root = tmp_path / "library"
    monkeypatch.setattr("refrain.data.embedded.sysconfig.get_path", lambda name: str(root))
    monkeypatch.setenv("REFRAIN_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("pydoc_data.topics.topics", {"while": "The WHILE statement.\n\n  x = 1\n", "if": "If."})
    for index in range(100):
        path = root / ("package" if index % 2 else "") / f"module{index}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(module(index))
    return root


def texts(name):
    folder = embedded_folder(name)
    ending = "tsv" if name == "python-names" else "txt"
    assert sorted(path.name for path in folder.iterdir()) == [f"{split}.{ending}" for split in sorted(SPLITS)]
    return {split: (folder / f"{split}.{ending}").read_text() for split in SPLITS}


def test_source_is_the_files_themselves_split_by_file(library):
    found = texts("python-source")
    keys = sorted(path.relative_to(library).as_posix() for path in library.rglob("*.py"))
    for split in SPLITS:
        assert found[split] == "".join((library / key).read_text() for key in keys if split_of(key) == split)
        assert found[split]


def test_a_file_stands_in_one_split(library):
    found = texts("python-source")
    for index in range(100):
        assert [f"Module {index}, " in text for text in found.values()].count(True) == 1


def test_docs_are_topics_and_docstrings_as_words(library):
    found = texts("python-docs")
    lines = [line for text in found.values() for line in text.splitlines()]
    assert len(lines) == 3 + 3 * 100
    assert found[split_of("topic:while")].index("the while statement .\nx = 1\n") >= 0
    assert "module 4 , very short ." in lines
    # a run of one mark is one word, an apostrophe is a mark
    assert "it ' s f_4 ..." in lines
    assert all(line == line.lower() and line == " ".join(line.split()) for line in lines)


@pytest.mark.parametrize("name", DESCRIPTIONS)
def test_the_text_is_the_same_every_time_and_kept(library, tmp_path, monkeypatch, name):
    first = texts(name)
    monkeypatch.setenv("REFRAIN_CACHE", str(tmp_path / "another"))
    assert texts(name) == first
    (library / "module0.py").write_text("changed = 1\n")
    assert texts(name) == first
    assert embedded_folder(name).name.startswith(f"{name}-{platform.python_version()}")


def test_a_corpus_that_is_not_embedded(library):
    with pytest.raises(UserError, match=r"^name: must be one of python-docs, .* \(got 'python-doc'\)$"):
        embedded_folder("python-doc")


def test_what_is_not_the_library_is_left_out(library):
    wanted = texts("python-source")
    embedded_folder("python-source").rename(library.parent / "kept")
    for name in ("test/a.py", "json/tests/a.py", "site-packages/a/b.py", "_sysconfigdata_x.py", "config-3/a.py"):
        (library / name).parent.mkdir(parents=True, exist_ok=True)
        (library / name).write_text("not_of_the_library = 1\n")
    assert texts("python-source") == wanted


def test_files_that_do_not_compile_or_are_not_utf8(library):
    (library / "broken.py").write_text("def (:\n")
    (library / "zero.py").write_text("x = '\0'\n")
    (library / "latin.py").write_bytes(b'"""Caf\xe9."""')
    (library / "escape.py").write_text('"""Fine."""\n"\\d"\n')
    docs = "".join(texts("python-docs").values())
    assert "fine .\n" in docs
    assert "caf � .\n" in docs
    source = "".join(texts("python-source").values())
    # a last line always ends, so that files do not run into each other
    assert '"""Caf\ufffd."""\n' in source


def test_a_python_without_its_library(library):
    for path in sorted(library.rglob("*.py"))[40:]:
        path.unlink()
    with pytest.raises(DataError, match=r"too little of its standard library .* \(40 files\); .* with --data"):
        embedded_folder("python-source")


def test_one_file_in_ten_is_held_out():
    keys = [f"package/module{index}.py" for index in range(4000)]
    counts = [sum(split_of(key) == split for key in keys) for split in SPLITS]
    # 4000 draws of 1/20: 200 expected, standard deviation 13.8, six of those either way
    assert all(abs(count - 200) < 83 for count in counts[1:])
    assert counts[0] == 4000 - counts[1] - counts[2]


def test_the_running_python(cache):
    """The one test that reads the whole standard library."""
    for name, least in (("python-docs", 500_000), ("python-source", 5_000_000)):
        found = texts(name)
        assert len(found["train"]) > least
        assert all(len(found[split]) > least / 100 for split in ("valid", "test"))
    # json/decoder.py stands in one split only
    sources = texts("python-source").values()
    assert [text.count("class JSONDecoder(object):") for text in sources].count(1) == 1
