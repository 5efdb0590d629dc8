"""Files of torch.save that tests make byte by byte, in both formats, around any pickle."""

import io
import pickle
import zipfile

import torch

MAGIC = 0x1950A86A20F9469CFC6C
MACHINE = {"protocol_version": 1001, "little_endian": True, "type_sizes": {"short": 2, "int": 4, "long": 4}}


def legacy(content, storages=(), machine=MACHINE, magic=MAGIC, protocol=1001):
    """A file of the format before torch 1.6: a pickle, and storages as (key, length, bytes)."""
    head = b"".join(pickle.dumps(value, 2) for value in (magic, protocol, machine))
    keys = pickle.dumps([key for key, _, _ in storages], 2)
    parts = [length.to_bytes(8, "little") + data for _, length, data in storages]
    return head + content + keys + b"".join(parts)


def zipped(content, storages=(), compression=zipfile.ZIP_STORED, **members):
    """A file of the zip format: a pickle, and storages as (key, length, bytes)."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as archive:
        archive.writestr("model/data.pkl", content)
        for key, _, data in storages:
            archive.writestr(f"model/data/{key}", data)
        for name, data in members.items():
            archive.writestr(f"model/{name}", data)
    return file.getvalue()


def saved(value, *, new):
    """What torch.save writes in one of its formats."""
    file = io.BytesIO()
    torch.save(value, file, _use_new_zipfile_serialization=new)
    return file.getvalue()
