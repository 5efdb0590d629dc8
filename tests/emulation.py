"""Kernels of another processor under its emulator: `pytest --emulate LEVEL` runs the tests of kernels with them.

The library is that of a wheel for the level. Python, torch and the references run on this processor; only calls of
kernels go to the emulator, with a copy of the memory that they read and write.
"""

import contextlib
import ctypes
import pathlib
import shutil
import struct
import threading

import processes
import pytest
import torch
from wheel_builder import build

from refrain.nn.kernels import call, integer, packed_linear
from refrain.nn.kernels import compile as native
from refrain.nn.kernels.levels import LEVELS
from refrain.nn.kernels.prebuilt import source_files
from refrain.optim import native as update

HERE = pathlib.Path(__file__).parent
# the processor that the emulator shows, for a level; without one, the emulator's simplest
PROCESSORS = {"neon": ["-cpu", "cortex-a57"], "neon_bf16": ["-cpu", "max"]}
# arguments of kernels that are structures with addresses: their class -> the structure, and the tensors it points to
STRUCTURES = {
    packed_linear.PackedMatrix: (lambda packed: packed._matrix, lambda packed: (packed._packed, packed._scales)),
    # the addresses of its tensors were asked for when it was made
    update.Parts: (lambda parts: parts.structs, lambda parts: ()),
}


def tools(level):
    """The compiler and the emulator for a level, or None where one of them is missing."""
    found = [shutil.which(name) for name in (f"{level.machine}-linux-gnu-g++", f"qemu-{level.machine}")]
    return found if all(found) else None


@contextlib.contextmanager
def emulated(name, folder, sources=None):
    """All calls of kernels go to the library of a level, under the emulator of its processor, until the body ends."""
    level = next((level for level in LEVELS if level.name == name and level.name in PROCESSORS), None)
    if level is None:
        pytest.exit(f"--emulate {name}: there is no emulator; use {', '.join(PROCESSORS)}", 2)
    if tools(level) is None:
        pytest.exit(f"--emulate {name} needs {level.machine}-linux-gnu-g++ and qemu-{level.machine}", 2)
    compiler, emulator = tools(level)
    library, driver = folder / f"{name}.so", folder / "driver"
    build.build_library(level, source_files() if sources is None else sources, [compiler], library)
    # OpenMP is loaded by the driver, as by torch
    build.run([compiler, "-O1", "-fopenmp", "-Wl,--no-as-needed", HERE / "emulation.cpp", "-ldl", "-o", driver])
    words = [emulator, *PROCESSORS[name], "-L", f"/usr/{level.machine}-linux-gnu", driver, library]
    with processes.conversation(words) as process, pytest.MonkeyPatch.context() as patch:
        remote = Library(process)
        patch.setattr(torch.Tensor, "data_ptr", remote.remembering(torch.Tensor.data_ptr))
        for owner, (structure, tensors) in STRUCTURES.items():
            patch.setattr(owner, "data_ptr", remote.remembering_structures(structure, tensors))
        patch.setattr(native, "_prebuilt", lambda: remote)
        for cached in (native.load, call.kernel, integer.lanes):
            cached.cache_clear()
        yield remote
        for cached in (native.load, call.kernel, integer.lanes):
            cached.cache_clear()


class Library:
    """The library in the emulator, in the place of a `ctypes.CDLL`."""

    def __init__(self, process):
        self._process = process
        self._sizes = {}
        self._structures = {}
        self._lock = threading.RLock()
        self.calls = 0

    def remembering(self, data_ptr):
        """`Tensor.data_ptr`, which remembers how much memory begins there."""

        def remember(tensor):
            address = data_ptr(tensor)
            self._structures.pop(address, None)
            last = sum((size - 1) * stride for size, stride in zip(tensor.shape, tensor.stride(), strict=True))
            self._sizes[address] = (last + 1) * tensor.element_size() if tensor.numel() else 0
            return address

        return remember

    def remembering_structures(self, structure, tensors):
        """A `data_ptr` that remembers a structure, and the memory to which it points."""

        def remember(argument):
            for tensor in tensors(argument):
                if tensor is not None:
                    tensor.data_ptr()
            content = structure(argument)
            address, size = ctypes.addressof(content), ctypes.sizeof(content)
            words = struct.unpack(f"<{size // 8}q", bytes(content)[: size // 8 * 8])
            self._sizes[address] = size
            self._structures[address] = [word for word in words if word and word in self._sizes]
            return address

        return remember

    def __getattr__(self, name):
        with self._lock:
            self._send(name, [], [])
            if not self._number():
                raise AttributeError(name)
        function = Function(self, name)
        setattr(self, name, function)
        return function

    def call(self, name, types, words):
        """Call a function, and put what it has written into the memory of this process."""
        with self._lock:
            return self._call(name, types, words)

    def _call(self, name, types, words):
        self.calls += 1
        pointers = [word for kind, word in zip(types, words, strict=True) if kind is ctypes.c_void_p and word]
        memories = dict.fromkeys([*pointers, *(part for word in pointers for part in self._structures.get(word, []))])
        arguments = [(int(kind is ctypes.c_void_p), word or 0) for kind, word in zip(types, words, strict=True)]
        self._send(name, memories, arguments)
        assert self._number(), name
        result = self._number()
        for address in memories:
            content = self._read(self._sizes[address])
            if address not in self._structures:
                ctypes.memmove(address, content, len(content))
        return result

    def _send(self, name, memories, arguments):
        parts = [numbers(len(name)), name.encode(), numbers(len(memories))]
        for address in memories:
            size = self._sizes[address]
            parts += [numbers(address, size, address in self._structures), ctypes.string_at(address, size)]
        parts += [numbers(len(arguments)), *(numbers(*argument) for argument in arguments)]
        self._process.stdin.write(b"".join(parts))
        self._process.stdin.flush()

    def _read(self, size):
        content = self._process.stdout.read(size)
        assert len(content) == size, "the emulator has ended"
        return content

    def _number(self):
        return struct.unpack("<q", self._read(8))[0]


class Function:
    """A function of the library, in the place of one of ctypes."""

    def __init__(self, library, name):
        self._library = library
        self._name = name
        self.argtypes = None
        self.restype = ctypes.c_int

    def __call__(self, *words):
        # one that takes nothing still has to be called
        types = self.argtypes or [ctypes.c_int64]
        result = self._library.call(self._name, types, words or [0])
        return self.restype(result).value


def numbers(*values):
    return struct.pack(f"<{len(values)}q", *values)
