"""Hostile files of torch.save: nothing in them is run, and each is refused with its cause."""

import io
import os
import pickle
import random
import zipfile
from pathlib import Path

import pytest
import torch
from torch_files import legacy, saved, zipped

from refrain.errors import CheckpointError
from refrain.importers.tensors import tensors_of
from refrain.importers.torch_file import opened

CANARY = Path(os.environ.get("TMPDIR", "/tmp")) / f"refrain-canary-{os.getpid()}"
COMMAND = f"touch {CANARY}"
CODE = f"open({str(CANARY)!r}, 'w').close()"
FORMATS = {"legacy": legacy, "zip": zipped}


class Trap:
    """Leaves the canary however it is made by a pickle."""

    def __new__(cls, *args, **keywords):
        CANARY.touch()
        return object.__new__(cls)

    def __setstate__(self, state):
        CANARY.touch()


class Calls:
    def __init__(self, function, *args):
        self.call = (function, args)

    def __reduce__(self):
        return self.call


def reduced(function, *args, protocol=2):
    return pickle.dumps(Calls(function, *args), protocol)


TRAP = f"c{Trap.__module__}\nTrap\n".encode()
# what runs when Python unpickles it -> what is said about it
RUNNING = {
    "REDUCE of os.system": (reduced(os.system, COMMAND), "the name posix.system"),
    "REDUCE by STACK_GLOBAL": (reduced(os.system, COMMAND, protocol=4), "the name posix.system"),
    "REDUCE of exec": (reduced(exec, CODE), "the name __builtin__.exec"),
    "REDUCE of eval": (reduced(eval, CODE.replace(", 'w'", ", mode='w'")), "the name __builtin__.eval"),
    "REDUCE in a state dict": (pickle.dumps({"encoder.weight": Calls(os.system, COMMAND)}, 2), "posix.system"),
    "INST": (f"(S'{COMMAND}'\nios\nsystem\n.".encode(), "the opcode INST"),
    "OBJ": (f"(cposix\nsystem\nS'{COMMAND}'\no.".encode(), "the name posix.system"),
    "a class by OBJ": (b"(" + TRAP + b"o.", "the opcode OBJ"),
    "a class by REDUCE": (TRAP + b")R.", "an object of"),
    "a class by NEWOBJ": (b"\x80\x02" + TRAP + b")\x81.", "an object of"),
    "a class by NEWOBJ_EX": (b"\x80\x04" + TRAP + b")}X\x01\x00\x00\x00aK\x01s\x92.", "an object of"),
    "BUILD with __setstate__": (b"\x80\x02" + TRAP + b")\x81}b.", "an object of"),
    "a class below a state dict": (b"\x80\x02}X\x01\x00\x00\x00a" + TRAP + b")\x81s.", "a dict"),
    "a call of what getattr returns": (
        b"cbuiltins\ngetattr\n(" + TRAP + b"X\x07\x00\x00\x00__new__tR(" + TRAP + b"tR.",
        "a call of something that is not a name",
    ),
}


@pytest.fixture(autouse=True)
def no_canary():
    CANARY.unlink(missing_ok=True)
    yield
    CANARY.unlink(missing_ok=True)


def cause_of(path):
    with pytest.raises(CheckpointError) as caught, tensors_of(path):
        pass
    assert str(caught.value).startswith(f"{path}: ") and str(caught.value).isprintable()
    return str(caught.value)


@pytest.mark.skipif(os.name != "posix", reason="the payloads call a shell")
@pytest.mark.parametrize("name", RUNNING)
def test_each_payload_is_live(name):
    pickle.loads(RUNNING[name][0])
    assert CANARY.exists()


@pytest.mark.skipif(os.name != "posix", reason="the payloads call a shell")
@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("name", RUNNING)
def test_no_payload_is_run(name, form, write):
    content, cause = RUNNING[name]
    assert cause in cause_of(write("model.pt", FORMATS[form](content)))
    assert not CANARY.exists()


@pytest.mark.skipif(os.name != "posix", reason="the payloads call a shell")
def test_no_payload_is_run_where_a_plain_value_belongs(write):
    payload = RUNNING["REDUCE of os.system"][0]
    head = legacy(pickle.dumps({}, 2))
    for value in (0x1950A86A20F9469CFC6C, 1001):
        content = head.replace(pickle.dumps(value, 2), payload, 1)
        assert "the name posix.system" in cause_of(write("model.pt", content))
    assert "the name posix.system" in cause_of(write("model.pt", payload))
    assert not CANARY.exists()


def number(value):
    return b"\x8a\x08" + value.to_bytes(8, "little")


def text(value):
    return b"X" + len(value).to_bytes(4, "little") + value.encode()


def storage(kind="ctorch\nFloatStorage\n", key="0", size=6, tag="storage", more=b""):
    """The opcodes of a storage."""
    return b"(" + text(tag) + kind.encode() + text(key) + text("cpu") + number(size) + more + b"tQ"


def tensor(where=None, offset=0, shape=(2, 3), strides=(3, 1), function="torch._utils\n_rebuild_tensor_v2"):
    """The opcodes of a tensor."""
    sizes = b"".join(b"(" + b"".join(map(number, each)) + b"t" for each in (shape, strides))
    return f"c{function}\n(".encode() + (where or storage()) + number(offset) + sizes + b"\x89Nt" + b"R"


def state(value):
    return b"\x80\x02}" + text("weight") + value + b"s."


DATA = torch.arange(6.0).numpy().tobytes()
STORAGES = [("0", 6, DATA)]
HUGE = 2**39
REFUSED = {
    "a huge memo index": (b"\x80\x02}r\xff\xff\xff\xff.", "a memo index of 4,294,967,295 after"),
    "a memo entry that is missing": (b"\x80\x02h\x07.", "a damaged pickle (KeyError"),
    "deep marks": (b"(" * 100_000 + b".", "nested more than 1,000 deep"),
    "deep lists": (b"\x80\x02" + b"]" * 40_000 + b"a" * 39_999 + b".", "holds no model, but a list"),
    "a deep tuple as key": (b"\x80\x02})" + b"\x85" * 40_000 + b"K\x01s.", "a key that is a tuple"),
    "a huge number as key": (b"\x80\x02}" + number(2**63 - 1) + b"K\x01s.", "a key that is a int or a very large"),
    "a huge number": (b"\x80\x02\x8b" + (10_000).to_bytes(4, "little") + b"\1" * 10_000 + b".", "a thousand digits"),
    "a text longer than the file": (b"\x80\x02X\xff\xff\xff\x7fabc", "a pickle that ends inside of a value"),
    "bytes of 8 EiB": (b"\x80\x04\x8e" + b"\xff" * 7 + b"\x7fabc", "a pickle that ends inside of a value"),
    "no end": (b"\x80\x02}X\xff\xff\xff\x0f", "a pickle that ends inside of a value"),
    "an empty stack": (b"\x80\x02.", "a value is missing on its stack"),
    "a mark that is missing": (b"\x80\x02)t.", "a mark is missing on its stack"),
    "a mark as value": (b"\x80\x02(.", "a value is missing on its stack"),
    "an odd dict": (b"\x80\x02(K\x01d.", "a key without a value"),
    "items of a number": (b"\x80\x02K\x01K\x02K\x03s.", "items that are set in a int"),
    "elements of a dict": (b"\x80\x02}K\x01a.", "elements that are appended to a dict"),
    "a state of a number": (b"\x80\x02K\x01}b.", "a state for a int"),
    "an extension": (b"\x80\x02\x82\x01.", "the opcode EXT1"),
    "an out-of-band buffer": (b"\x80\x05\x97.", "the opcode NEXT_BUFFER"),
    "an unknown opcode": (b"\x80\x02\xff.", "a damaged pickle"),
    "a name that is not a text": (b"\x80\x04K\x01K\x02\x93.", "a name that is not a text"),
    "a call with a list": (b"\x80\x02ctorch\nSize\n]R.", "a call of something that is not a name"),
    "a module of the library": (b"cwebbrowser\nopen\n(S'x'\ntR.", "the name webbrowser.open, which no saved model"),
    "an import": (b"cimportlib\nimport_module\n(S'os'\ntR.", "the name importlib.import_module"),
    "a persistent id that is a text": (b"\x80\x02X\x01\x00\x00\x00aQ.", "a persistent id that is not one of a storage"),
    "a persistent id of another kind": (state(tensor(storage(tag="other"))), "a persistent id that is not one of a"),
    "a storage of an unknown type": (state(tensor(storage("cmine\nStorage\n"))), "an unknown type, mine.Storage"),
    "a storage of complex numbers": (
        state(tensor(storage("ctorch\nComplexFloatStorage\n"))),
        "an unknown type, torch.ComplexFloatStorage",
    ),
    "a storage whose type is a text": (state(tensor(storage("S'x'\n"))), "an unknown type, a str"),
    "a key that is a path": (state(tensor(storage(key="../../etc/passwd"))), "a storage whose key or length is none"),
    "a storage of half the universe": (state(tensor(storage(size=2**41))), "a storage whose key or length is none"),
    "a tensor of a number": (state(tensor(b"K\x01")), "a tensor without a storage, sizes and strides"),
    "a tensor beyond its storage": (state(tensor(shape=(2, 4))), "shape [2, 4] that needs more than the 6 numbers"),
    "an offset beyond the storage": (state(tensor(offset=1)), "that needs more than the 6 numbers"),
    "strides beyond the storage": (state(tensor(strides=(4, 1))), "that needs more than the 6 numbers"),
    "a huge tensor of one number": (
        state(tensor(shape=(HUGE, 2), strides=(0, 0))),
        "that needs more than the 6 numbers",
    ),
    "a size that is no number": (
        state(b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage() + b"K\x00(]t(K\x01t\x89NtR"),
        "are not whole numbers",
    ),
    "more sizes than strides": (state(tensor(shape=(6,), strides=())), "a tensor of 1 sizes and 0 strides"),
    "sizes without end": (state(tensor(shape=(1,) * 40, strides=(1,) * 40)), "a tensor of 40 sizes"),
}


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("name", REFUSED)
def test_damaged_and_hostile_pickles_are_refused(name, form, write):
    content, cause = REFUSED[name]
    storages = STORAGES if b"FloatStorage" in content else []
    assert cause in cause_of(write("model.pt", FORMATS[form](content, storages)))


@pytest.mark.parametrize("form", FORMATS)
def test_the_same_opcodes_without_a_mistake_are_read(form, write):
    with tensors_of(write("model.pt", FORMATS[form](state(tensor()), STORAGES))) as tensors:
        assert tensors.read("weight", 2, 3).tolist() == [[0, 1, 2], [3, 4, 5]]


GOOD = state(tensor())
BAD_FILES = {
    "a storage that is shorter than its tensor": (zipped(GOOD, [("0", 6, DATA[:-4])]), "a storage of 20 bytes"),
    "a storage that is longer": (zipped(GOOD, [("0", 6, DATA + b"1234")]), "data/0 of 28 bytes, more than the 24"),
    "a storage that is missing": (zipped(GOOD), "no member model/data/0"),
    "a storage of another length": (legacy(GOOD, [("0", 5, DATA[:-4])]), "a storage whose length is not the one"),
    "a storage that ends early": (legacy(GOOD, [("0", 6, DATA[:-4])]), "storages that are longer than the file"),
    "a storage that is not listed": (legacy(GOOD), "no storage 0, which its pickle names"),
    "a storage that nothing names": (legacy(GOOD, [*STORAGES, ("1", 1, b"1234")]), "a storage whose length is not"),
    "a bomb": (zipped(b"\x80\x02]" + b"N0" * 10**6 + b".", compression=zipfile.ZIP_DEFLATED), "a compressed member"),
    "a bomb of a storage": (
        zipped(state(tensor(storage(size=10**7), shape=(10**7,), strides=(1,))), [("0", 0, bytes(4 * 10**7))],
               zipfile.ZIP_DEFLATED),
        "a compressed member",
    ),
    "no pickle": (zipped(GOOD).replace(b"data.pkl", b"data.abc"), "a zip archive without a data.pkl"),
    "TorchScript": (zipped(GOOD, **{"constants.pkl": b""}), "a TorchScript archive"),
    "a big-endian machine": (zipped(GOOD, byteorder=b"big"), "numbers of a big-endian machine"),
    "an old big-endian machine": (legacy(GOOD, machine={"little_endian": False}), "numbers of a big-endian machine"),
    "a plain pickle": (pickle.dumps({"a": 1}), "a pickle that torch.save did not write"),
    "another protocol": (legacy(GOOD, STORAGES, protocol=1002), "of another protocol"),
    "a tar archive": (bytes(257) + b"ustar" + bytes(250), "a tar archive of torch 0.1"),
    "a text": (b"hello\n", "neither a zip file nor a pickle"),
    "nothing": (b"", "neither a zip file nor a pickle"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD_FILES)
def test_damaged_files_are_refused(name, write):
    content, cause = BAD_FILES[name]
    path = write("model.pt", content)
    with pytest.raises(CheckpointError, match=r"model\.pt: ") as caught, tensors_of(path) as tensors:
        tensors.read("weight", *tensors.shapes["weight"])
    assert cause in str(caught.value)


def test_a_list_of_members_that_is_too_long_is_not_read(write):
    for mark in (b"PK\5\6", b"PK\6\6"):
        content = bytearray(saved({"weight": torch.ones(2)}, new=True))
        at = content.rfind(mark)
        for where, width in ((12, 4), (40, 8)):
            if (mark == b"PK\6\6") == (width == 8):
                content[at + where : at + where + width] = (2**30).to_bytes(width, "little")
        path = write("model.pt", bytes(content))
        if mark == b"PK\6\6":
            assert "a list of members of more than" in cause_of(path)


@pytest.mark.parametrize("new", [True, False])
def test_a_file_that_was_cut_or_changed_is_read_or_refused(new, write):
    good = saved({"weight": torch.arange(6.0).view(2, 3), "more": [1, "a", None, {"b": (2.5,)}]}, new=new)
    draw = random.Random(3)
    files = [good[:end] for end in range(0, len(good), 41)]
    for _ in range(150):
        changed = bytearray(good)
        for _ in range(draw.choice((1, 1, 5))):
            changed[draw.randrange(len(good))] = draw.randrange(256)
        files.append(bytes(changed))
    refused = 0
    for content in files:
        path = write("model.pt", content)
        try:
            with tensors_of(path) as tensors:
                for name, shape in tensors.shapes.items():
                    tensors.read(name, *shape)
        except CheckpointError:
            refused += 1
    assert refused > len(good) // 41 - 2


def test_records_hold_what_was_given_and_nothing_else(write):
    content = b"\x80\x02" + TRAP + b")\x81}X\x01\x00\x00\x00aK\x07sb."
    with opened(write("model.pt", legacy(content))) as file:
        assert str(file.root.name) == f"{Trap.__module__}.Trap" and file.root.state == {"a": 7}
        assert file.root.attribute("a") == 7 and file.root.attribute("b") is None
    assert not CANARY.exists()


def test_a_pipe_and_a_folder_are_refused_at_once(tmp_path):
    assert "is a folder, not a file" in cause_of(tmp_path)
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe")
        assert "is a pipe, not a file" in cause_of(tmp_path / "pipe")
    assert "cannot be read (No such file" in cause_of(tmp_path / "missing.pt")


def test_the_writer_of_these_tests_makes_what_torch_reads():
    # the older format has what the storage is a view of as well
    for content in (zipped(GOOD, STORAGES, version=b"3"), legacy(state(tensor(storage(more=b"N"))), STORAGES)):
        found = torch.load(io.BytesIO(content), weights_only=True)
        assert found["weight"].tolist() == [[0, 1, 2], [3, 4, 5]]
