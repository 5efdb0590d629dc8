"""Makes the models that come with refrain: trains, rounds and measures them, and puts them in the package.

    make models
    python models/build.py [NAME ...]

A recipe is NAME.toml in this folder. A run that is finished in runs/models is not trained again. On the same machine
and the same Python the same files come out; another Python has another documentation, so other models.
"""

import contextlib
import hashlib
import io
import json
import os
import platform
import shutil
import sys
from pathlib import Path

from refrain.cli.app import main
from refrain.config import TaggerExperiment
from refrain.runs import find
from refrain.runs.card import card
from refrain.runs.named import BUNDLED
from refrain.runs.tagger_summary import tagger_card
from refrain.storage.run_layout import steps_in

HERE = Path(__file__).resolve().parent
VERSION = 1
"""Of the models; raised when they are made anew."""
# in place of what names the machine
OF_NO_MACHINE = {"host": "", "command": "make models", "platform": platform.system()}
TEXT = {
    "python-docs": (
        "It was trained on Python's own documentation: the language reference in `pydoc_data` and the docstrings of "
        "the standard library of Python {python}, which are © Python Software Foundation and licensed under the "
        "Python Software Foundation License Version 2. It reads words in lower case, with punctuation marks apart."
    ),
    "python-names": (
        "It was trained on source code: the top modules of the standard library of Python {python}, which are © Python "
        "Software Foundation and licensed under the Python Software Foundation License Version 2. The kinds of the "
        "names are those that Python's own parser finds."
    ),
}
EXAMPLE = {
    "python-docs": "refrain generate python-docs --prompt 'the function returns' --tokens 40 --top-p 0.9 --no-unk",
    "python-names": "echo 'def area ( self ) : return len ( self . rows )' | refrain tag python-names --tokenised",
}
SAMPLE = {
    "python-docs": "return the number of items in the list .",
    "python-names": "def area ( self , width ) : return width * len ( self . rows )",
}
ENDS = "`best/` contains settings"


def command(*words: object) -> str:
    """Run a command of refrain, and return what it prints."""
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        status = main([str(word) for word in words])
    if status:
        raise SystemExit(status)
    return printed.getvalue()


def measured(run: Path, split: str) -> dict[str, object]:
    """The figures of a split of the run's corpus."""
    found = json.loads(command("evaluate", run, "--split", split, "--json"))
    return {name: value for name, value in found.items() if name not in ("run", "checkpoint", "corpus", "split")}


def build(name: str, work: Path) -> None:
    """Make one model and put it in the package."""
    whole, small = work / name, work / f"{name}-int8"
    if not (whole / "summary.json").exists():
        command("train", HERE / f"{name}.toml", "--out", whole, "--force")
    command("compress", whole, "--weights", "int8", "--out", small, "--force")
    target = BUNDLED / name
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    for file in ("recipe.toml", "metrics.jsonl"):
        shutil.copy(whole / file, target)
    shutil.copy(small / "config.json", target)
    (step,) = steps_in(small / "checkpoints")
    copied = target / "checkpoints" / step.name
    shutil.copytree(step, copied)
    without_paths(copied)
    (target / "best").write_text(f"checkpoints/{step.name}\n")
    describe(name, whole, target)


def without_paths(checkpoint: Path) -> None:
    """Take the path of the whole model out of a checkpoint, and write the vocabulary without blanks."""
    manifest = json.loads((checkpoint / "manifest.json").read_text())
    training = json.loads((checkpoint / "training.json").read_text())
    vocabulary = json.loads((checkpoint / "vocabulary.json").read_text())
    contents = {
        "training.json": json.dumps({name: value for name, value in training.items() if name != "compressed_from"}),
        "vocabulary.json": json.dumps(vocabulary, separators=(",", ":")),
    }
    for file, content in contents.items():
        (checkpoint / file).write_text(content)
        digest = hashlib.sha256(content.encode()).hexdigest()
        manifest["files"][file] = {"bytes": len(content.encode()), "sha256": digest}
    (checkpoint / "manifest.json").write_text(json.dumps(manifest, indent=1))


def describe(name: str, whole: Path, target: Path) -> None:
    """Write the figures of the rounded model, its manifest and its card."""
    manifest = json.loads((whole / "manifest.json").read_text())
    manifest |= OF_NO_MACHINE
    for split in manifest["data"]["splits"].values():
        split["file"] = Path(split["file"]).name
    (target / "manifest.json").write_text(json.dumps(manifest, indent=2) + "\n")
    summary = json.loads((whole / "summary.json").read_text())
    figures = {split: measured(target, split) for split in ("valid", "test")}
    summary |= {"run": name, "weights": "int8", **figures}
    summary |= {"exact": figures} if "exact" in summary else {}
    summary.pop("peak_memory_bytes")
    (target / "summary.json").write_text(json.dumps(summary, indent=2) + "\n")
    experiment = find(target).experiment
    write_card = tagger_card if isinstance(experiment, TaggerExperiment) else card
    text = write_card(summary, experiment, manifest)
    about = TEXT[name].format(python=manifest["python"])
    before, _, _ = text.partition("```sh")
    usage = [
        "```sh",
        EXAMPLE[name],
        f"refrain evaluate {name}",
        "```",
        "",
        f"Made by `make models` from `{name}.toml`.",
    ]
    note = "The matrices are rounded to int8, and the figures are those of the rounded model."
    (target / "README.md").write_text("\n".join([before.rstrip(), "", note, about, "", *usage]) + "\n")


def sample(name: str) -> dict[str, object]:
    """What the model makes of a fixed text, which depends on no version of Python."""
    words = SAMPLE[name]
    source = HERE.parent / "runs" / "models" / "sample.txt"
    source.write_text(words + "\n")
    if name == "python-docs":
        found = json.loads(command("score", BUNDLED / name, source, "--json"))
        return {"text": words, "nats": round(found["nats"], 4)}
    lines = [line.split("\t") for line in command("tag", BUNDLED / name, source, "--tokenised").splitlines()]
    return {"text": words, "tags": [line[4] for line in lines if len(line) > 4]}


def record() -> None:
    """Write the manifest of all models: their version, figures, samples and the sha256 of every file."""
    models = {}
    for target in sorted(path for path in BUNDLED.iterdir() if path.is_dir()):
        manifest = json.loads((target / "manifest.json").read_text())
        summary = json.loads((target / "summary.json").read_text())
        figure = "accuracy" if summary.get("task") == "tagger" else "perplexity"
        files = sorted(path for path in target.rglob("*") if path.is_file())
        models[target.name] = {
            "python": manifest["python"],
            "refrain": manifest["refrain"],
            figure: {split: summary[split][figure] for split in ("valid", "test")},
            "sample": sample(target.name),
            "files": {
                path.relative_to(target).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files
            },
        }
    (BUNDLED / "models.json").write_text(json.dumps({"version": VERSION, "models": models}, indent=1) + "\n")


if __name__ == "__main__":
    os.chdir(HERE.parent)
    place = Path("runs") / "models"
    place.mkdir(parents=True, exist_ok=True)
    for each in sys.argv[1:] or sorted(path.stem for path in HERE.glob("*.toml")):
        build(each, place)
    record()
