"""What a stranger could put into a run folder: each payload plants something, with a canary that would sing."""

import hashlib
import io
import json
import os
import pathlib
import pickle
import stat
import zipfile

import numpy as np
import pytest

PYTHON = "import pathlib\npathlib.Path({canary!r}).write_text('executed')\n"
ESCAPES = "\x1b]0;owned\x07\x1b[2J\r\x00"


class Canary:
    """Writes a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (pathlib.Path.write_text, (self.path, "executed"))


class Place:
    """A run folder to plant in, a folder outside it, and the canary."""

    def __init__(self, run, outside, canary):
        self.run, self.outside, self.canary = run, outside, canary
        self.steps = sorted((run / "checkpoints").iterdir())
        self.python = PYTHON.format(canary=str(canary))
        self.pickled = pickle.dumps(Canary(canary), protocol=0)

    def put(self, name, content, *, sealed=True):
        """Replace a file in every checkpoint; a sealed one has the right hash."""
        content = content.encode() if isinstance(content, str) else content
        for folder in self.steps:
            (folder / name).unlink(missing_ok=True)
            (folder / name).write_bytes(content)
            if sealed:
                self.list_file(folder, name, content)

    def list_file(self, folder, name, content):
        manifest = json.loads((folder / "manifest.json").read_text())
        manifest["files"][name] = {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
        (folder / "manifest.json").write_text(json.dumps(manifest))

    def edit(self, name, change):
        """Change a document of every checkpoint and, where it has one, of the run."""
        for folder in [*self.steps, self.run]:
            if (folder / name).is_file() and not (folder == self.run and name == "manifest.json"):
                document = json.loads((folder / name).read_text())
                change(document)
                content = json.dumps(document).encode()
                (folder / name).write_bytes(content)
                if folder != self.run and name != "manifest.json":
                    self.list_file(folder, name, content)

    def lead(self, name, target):
        """Put a link in the place of a file or folder."""
        path = self.run / name
        if path.is_dir() and not path.is_symlink():
            path.rename(self.run.parent / f"moved-{path.name}-{os.getpid()}-{len(list(self.run.parent.iterdir()))}")
        else:
            path.unlink(missing_ok=True)
        path.symlink_to(target)


def pickles(place):
    for name in ("model.safetensors", "training.safetensors", "config.json", "training.json", "vocabulary.json"):
        place.put(name, place.pickled)


def pickle_as_weights(place):
    place.put("model.safetensors", place.pickled)


def pickle_as_state(place):
    place.put("training.json", place.pickled)
    place.put("training.safetensors", place.pickled)


def surplus_pickles(place):
    for name in ("model.pt", "model.pkl", "pytorch_model.bin", "training.pth", ".metadata", "optimizer.pt"):
        place.put(name, place.pickled)
        (place.run / name).write_bytes(place.pickled)


def object_arrays(place):
    buffer = io.BytesIO()
    np.save(buffer, np.array([Canary(place.canary)], dtype=object), allow_pickle=True)
    for name in ("best.npy", "model.safetensors"):
        place.put(name, buffer.getvalue())


def torch_archives(place):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("archive/data.pkl", place.pickled)
        archive.writestr("archive/version", "3")
        archive.writestr("archive/code/__torch__.py", place.python)
        archive.writestr("archive/constants.pkl", place.pickled)
    for name in ("model.pt", "model.safetensors", "training.safetensors"):
        place.put(name, buffer.getvalue())


def yaml_tags(place):
    text = f"!!python/object/apply:pathlib.Path.touch [!!python/object/apply:pathlib.Path [{place.canary}]]\n"
    for name in ("config.yaml", "config.json"):
        place.put(name, text)
        (place.run / name).write_text(text)


def python_modules(place):
    names = ("sitecustomize", "usercustomize", "conftest", "torch", "numpy", "json", "refrain", "__init__", "__main__")
    for folder in (place.run, *place.steps):
        for name in names:
            (folder / f"{name}.py").write_text(place.python)
        (folder / "hostile.pth").write_text(place.python.replace("\n", ";", 1))


def entry_points(place):
    for folder in (place.run, *place.steps):
        (folder / "hostile.py").write_text(place.python)
        information = folder / "hostile-1.0.dist-info"
        information.mkdir()
        (information / "METADATA").write_text("Metadata-Version: 2.1\nName: hostile\nVersion: 1.0\n")
        groups = ("pydantic", "refrain", "refrain.recipes", "refrain.units", "torch.backends", "console_scripts")
        (information / "entry_points.txt").write_text("".join(f"[{name}]\nhostile = hostile:main\n" for name in groups))


def network_by_name(place):
    def change(document):
        document["network"] = {"kind": "own", "class": "os:system", "function": "os.system"}

    place.edit("config.json", change)


def methods_by_name(place):
    def change(document):
        document["methods"] = ["os.system", "subprocess:run"]
        document["stateful"]["os.system"] = {"$tensor": "__import__('os')"}

    place.edit("training.json", change)


def names_that_lead_outside(place):
    def change(document):
        document["experiment"]["name"] = f"../../{place.outside.name}"

    place.edit("config.json", change)


def manifest_that_leads_outside(place):
    for folder in place.steps:
        place.list_file(folder, "../../../outside/precious.txt", b"precious\n")


def corpus_of_a_device(place):
    def change(document):
        document["experiment"]["data"]["corpus"] = "/dev/zero"

    place.edit("config.json", change)


def linked_checkpoints(place):
    place.lead("checkpoints", place.outside / "run" / "checkpoints")


def linked_best(place):
    place.lead("best", place.outside / "run" / "checkpoints" / place.steps[-1].name)


def best_in_a_circle(place):
    place.lead("best", "best")


def linked_step(place):
    for step in place.steps:
        place.lead(f"checkpoints/{step.name}", place.outside / "run" / "checkpoints" / step.name)


def linked_weights(place):
    for step in place.steps:
        there = place.outside / "run" / "checkpoints" / step.name
        for name in ("model.safetensors", "training.json"):
            place.lead(f"checkpoints/{step.name}/{name}", there / name)


def linked_metrics(place):
    place.lead("metrics.jsonl", place.outside / "precious.txt")


def linked_lock(place):
    place.lead(".lock", place.outside / "precious.txt")


def linked_records(place):
    for name in ("summary.json", "README.md", "recipe.toml", "config.json", "manifest.json"):
        place.lead(name, place.outside / "run" / name)


def linked_folders(place):
    for name in ("samples", "tensorboard"):
        place.lead(name, place.outside)


def linked_leftovers(place):
    for name in (".tmp-best", ".tmp-config.json-1", "checkpoints/.tmp-step-000000001-1", "damaged-step-000000001"):
        place.lead(name, place.outside)


def pipes(place, *names):
    if not hasattr(os, "mkfifo"):
        pytest.skip("no pipes on this system")
    for name in names:
        path = place.run / name
        path.unlink(missing_ok=True)
        os.mkfifo(path)


def pipes_as_weights(place):
    pipes(place, *(f"checkpoints/{step.name}/model.safetensors" for step in place.steps))


def pipes_as_documents(place):
    pipes(place, "config.json", "manifest.json")
    pipes(place, *(f"checkpoints/{step.name}/manifest.json" for step in place.steps))


def pipes_as_logs(place):
    pipes(place, "metrics.jsonl", ".lock", "summary.json")


def devices(place):
    """Links to /dev/zero, and a device file where this user may make one."""
    for step in place.steps:
        place.lead(f"checkpoints/{step.name}/manifest.json", "/dev/zero")
    place.lead("config.json", "/dev/zero")
    (place.run / "metrics.jsonl").unlink()
    try:
        os.mknod(place.run / "metrics.jsonl", 0o600 | stat.S_IFCHR, os.makedev(1, 5))
    except (OSError, AttributeError):
        place.lead("metrics.jsonl", "/dev/zero")


def control_characters(place):
    def vocabulary(document):
        if "words" in document:
            document["words"][-1] = ESCAPES

    def config(document):
        document["experiment"]["name"] = ESCAPES
        document["task"] = ESCAPES

    place.edit("vocabulary.json", vocabulary)
    place.edit("config.json", config)


def control_characters_in_names(place):
    for step in place.steps:
        place.list_file(step, f"weights{ESCAPES}", b"")
        place.list_file(step, "\ud800", b"")
    (place.run / "checkpoints" / "step-000000999\x1b[31m\n").mkdir()


def seeds_that_lead_outside(place):
    plan = {
        "seeds": [f"../../{place.outside.name}/run", 1],
        "config": json.loads((place.run / "config.json").read_text()),
        "from": str(place.outside / "run"),
        "recipe": "",
        "command": "rm -rf /",
    }
    (place.run / "seeds.json").write_text(json.dumps(plan))


def huge_headers(place):
    header = {f"t{index}": {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]} for index in range(100_000)}
    content = json.dumps(header).encode()
    place.put("model.safetensors", len(content).to_bytes(8, "little") + content)


def lying_headers(place):
    sizes = {"shape": [1 << 40, 1 << 40], "data_offsets": [0, 1 << 62], "dtype": "F32"}
    content = json.dumps({"embedding.weight": sizes}).encode()
    place.put("model.safetensors", len(content).to_bytes(8, "little") + content)
    place.put("training.safetensors", (1 << 63).to_bytes(8, "little"))


def huge_models(place):
    def change(document):
        model = document["experiment"]["model"]
        model["hidden_sizes"] = [8] * 100_000
        model["embedding_size"] = 1 << 30

    place.edit("config.json", change)


def deep_documents(place):
    for name, content in (("training.json", "[" * 200_000), ("vocabulary.json", '{"a":' * 200_000)):
        place.put(name, content)


def huge_numbers(place):
    for name in ("config.json", "training.json", "vocabulary.json"):
        place.put(name, '{"format": ' + "9" * 1_000_000 + "}")
    (place.run / "config.json").write_text('{"format": ' + "9" * 1_000_000 + "}")


PAYLOADS = [
    pickles,
    pickle_as_weights,
    pickle_as_state,
    surplus_pickles,
    object_arrays,
    torch_archives,
    yaml_tags,
    python_modules,
    entry_points,
    network_by_name,
    methods_by_name,
    names_that_lead_outside,
    manifest_that_leads_outside,
    corpus_of_a_device,
    linked_checkpoints,
    linked_best,
    best_in_a_circle,
    linked_step,
    linked_weights,
    linked_metrics,
    linked_lock,
    linked_records,
    linked_folders,
    linked_leftovers,
    pipes_as_weights,
    pipes_as_documents,
    pipes_as_logs,
    devices,
    control_characters,
    control_characters_in_names,
    seeds_that_lead_outside,
    huge_headers,
    lying_headers,
    huge_models,
    deep_documents,
    huge_numbers,
]
