"""Weights in int8 and without zeros come back as they were, and damage to them is found."""

import hashlib
import json

import pytest
import torch
from safetensors.torch import load, save

from refrain.errors import CheckpointError
from refrain.storage import checkpoint
from refrain.storage.checkpoint import Checkpoint
from refrain.storage.weight_schemes import SCHEMES, Int8Rows, metadata, pack


def draw(*shape, zeros=0.0, seed=1):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator) * (torch.rand(shape, generator=generator) >= zeros)


def rounded(*shape, zeros=0.0):
    multiples = (100 * draw(*shape, zeros=zeros)).clamp(-127, 127).to(torch.int8)
    return Int8Rows(multiples, draw(multiples[..., 0].numel(), seed=2).abs())


def dense(weight):
    if not isinstance(weight, Int8Rows):
        return weight
    return weight.multiples * weight.scales.view(*weight.multiples.shape[:-1], 1)


WEIGHTS = {
    "dense": (draw(7, 5), None),
    "a vector of zeros": (torch.zeros(100), None),
    "few zeros": (draw(20, 30, zeros=0.05), None),
    "other dtype": (draw(7, 50, zeros=0.9).to(torch.bfloat16), None),
    "sparse": (draw(7, 50, zeros=0.9), "sparse"),
    "only zeros": (torch.zeros(3, 11), "sparse"),
    "not in order": (draw(50, 7, zeros=0.9).T, "sparse"),
    "int8": (rounded(7, 5), "int8-rows"),
    "int8, three axes": (rounded(2, 3, 5), "int8-rows"),
    "sparse int8": (rounded(9, 33, zeros=0.8), "sparse-int8-rows"),
}


@pytest.mark.parametrize("kind", WEIGHTS)
def test_a_weight_comes_back_bit_by_bit(tmp_path, kind):
    weight, scheme = WEIGHTS[kind]
    folder = tmp_path / "step-1"
    checkpoint.save(folder, {"model": {"w": weight}}, {})
    read = Checkpoint(folder)
    found = read.tensors("model")["w"]
    assert found.dtype == dense(weight).dtype and torch.equal(found, dense(weight))
    assert read.shapes("model") == {"w": tuple(dense(weight).shape)}
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["files"]["model.safetensors"].get("schemes") == (scheme and [scheme])
    # versions that know no schemes read format 1 alone
    assert manifest["format"] == (1 if scheme is None else 2)
    assert read.has_int8_weights == isinstance(weight, Int8Rows)


def test_a_negative_zero_and_what_is_no_number_stay():
    weight = torch.zeros(4, 40)
    weight[1, 3], weight[2, 5], weight[3, 39] = -0.0, float("nan"), float("inf")
    tensors, schemes = pack({"w": weight})
    assert schemes["w"].name == "sparse" and len(tensors["w:values"]) == 3
    found = checkpoint.unpack(tensors, schemes)["w"]
    assert torch.equal(found.view(torch.int32), weight.view(torch.int32))


@pytest.mark.parametrize("rows", [False, True])
def test_a_bitmap_is_used_where_it_saves_a_tenth(rows):
    """n / 8 + z s bytes against n s, for n entries of s bytes, z of them other than zero."""
    size = 1 if rows else 4
    most = int((0.9 * size - 0.125) / size * 8000)
    for count, sparse in ((most, True), (most + 1, False)):
        entries = torch.zeros(8000)
        entries[:count] = 1
        entries = entries.view(80, 100)
        weight = Int8Rows(entries.to(torch.int8), torch.ones(80)) if rows else entries
        tensors, schemes = pack({"w": weight})
        assert ("w" in schemes and schemes["w"].name.startswith("sparse")) == sparse
        stored = sum(tensor.nbytes for tensor in tensors.values()) - (320 if rows else 0)
        assert stored == (1000 + size * count if sparse else 8000 * size)


def test_only_the_weights_of_the_model_are_stored_so(tmp_path):
    group = {"w": torch.zeros(30, 30)}
    checkpoint.save(tmp_path / "a", {"training": group}, {})
    assert json.loads((tmp_path / "a" / "manifest.json").read_text())["format"] == 1
    assert torch.equal(Checkpoint(tmp_path / "a").tensors("training")["w"], group["w"])


def rewrite(folder, change, **entry):
    """Change the tensors and the metadata of a checkpoint, with the right hashes."""
    path = folder / "model.safetensors"
    tensors = load(path.read_bytes())
    schemes = json.loads(metadata(pack({"w": WEIGHTS[folder.name][0]})[1])["schemes"])
    change(tensors, schemes)
    content = save(tensors, metadata={"schemes": json.dumps(schemes)})
    path.write_bytes(content)
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["files"]["model.safetensors"] |= {
        "bytes": len(content), "sha256": hashlib.sha256(content).hexdigest(), **entry,
    }  # fmt: skip
    (folder / "manifest.json").write_text(json.dumps(manifest))


@pytest.mark.parametrize(
    ("kind", "change"),
    [
        ("sparse", lambda tensors, schemes: tensors.pop("w:values")),
        ("sparse", lambda tensors, schemes: tensors.update({"w:values": tensors["w:values"][:-1]})),
        ("sparse", lambda tensors, schemes: tensors.update({"w:values": tensors["w:values"].double()})),
        ("sparse", lambda tensors, schemes: tensors.update({"w:bitmap": tensors["w:bitmap"][:-1]})),
        ("sparse", lambda tensors, schemes: tensors.update(w=torch.ones(7, 50))),
        ("sparse", lambda tensors, schemes: schemes["w"].update(shape=[2**40, 2**20])),
        ("sparse", lambda tensors, schemes: schemes["w"].update(shape=[350])),
        ("sparse", lambda tensors, schemes: schemes["w"].update(shape="many")),
        ("sparse", lambda tensors, schemes: schemes["w"].update(scheme="other")),
        ("sparse", lambda tensors, schemes: schemes.update(w=3)),
        ("int8", lambda tensors, schemes: tensors.update({"w:scales": torch.ones(6)})),
        ("int8", lambda tensors, schemes: tensors.update({"w:multiples": tensors["w:multiples"][:, :-1].clone()})),
        ("int8", lambda tensors, schemes: tensors.update({"w:multiples": tensors["w:multiples"].float()})),
        ("sparse int8", lambda tensors, schemes: tensors.update({"w:values": tensors["w:values"].float()})),
    ],
)
def test_damage_behind_a_right_hash_is_found(tmp_path, kind, change):
    folder = tmp_path / kind
    checkpoint.save(folder, {"model": {"w": WEIGHTS[kind][0]}}, {})
    rewrite(folder, change)
    with pytest.raises(CheckpointError, match=r"model\.safetensors: damaged"):
        Checkpoint(folder).tensors("model")


@pytest.mark.parametrize(
    ("schemes", "message"),
    [
        (["int4-rows"], r"holds weights stored as int4-rows, but this version reads .*update refrain-lm"),
        ("int8-rows", "damaged"),
        ([8], "damaged"),
    ],
)
def test_a_scheme_of_a_later_version_says_so(tmp_path, schemes, message):
    folder = tmp_path / "int8"
    checkpoint.save(folder, {"model": {"w": WEIGHTS["int8"][0]}}, {})
    rewrite(folder, lambda tensors, schemes: None, schemes=schemes)
    with pytest.raises(CheckpointError, match=message):
        Checkpoint(folder)


def test_every_scheme_is_tried():
    assert {scheme for _, scheme in WEIGHTS.values()} - {None} == set(SCHEMES)
