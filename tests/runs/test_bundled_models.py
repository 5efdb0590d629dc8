"""The models that come with refrain: their files, cards and manifest agree, and they still say what they said."""

import fnmatch
import hashlib
import json
import pathlib
import subprocess
import sys
import tomllib

import pytest

import refrain
from refrain.recipes import recipe
from refrain.runs import find
from refrain.runs.named import BUNDLED, bundled_names

ROOT = pathlib.Path(__file__).parents[2]
MODELS = json.loads((BUNDLED / "models.json").read_text())["models"]
LARGEST = 3_000_000
# of the int8 kernels of other processors
TOLERANCE = 0.05


def files_of(name):
    return {path.relative_to(BUNDLED / name).as_posix(): path for path in sorted((BUNDLED / name).rglob("*"))}


def test_the_manifest_lists_every_model_and_file():
    assert bundled_names() == sorted(MODELS) == sorted(path.stem for path in (ROOT / "models").glob("*.toml"))
    total = 0
    for name, model in MODELS.items():
        files = {key: path for key, path in files_of(name).items() if path.is_file()}
        # neither a wheel nor Windows has links
        assert not any(path.is_symlink() for path in files_of(name).values())
        assert {key: hashlib.sha256(path.read_bytes()).hexdigest() for key, path in files.items()} == model["files"]
        total += sum(path.stat().st_size for path in files.values())
    assert total < LARGEST


def test_the_wheel_has_every_file():
    patterns = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]["refrain"]
    assert "runs/bundled/**/*" in patterns
    for name in MODELS:
        for path in files_of(name).values():
            assert any(
                fnmatch.fnmatch(path.relative_to(ROOT / "src" / "refrain").as_posix(), each) for each in patterns
            )


@pytest.mark.parametrize("name", MODELS)
def test_the_card_has_the_figures_of_the_manifest(name):
    model = MODELS[name]
    card = (BUNDLED / name / "README.md").read_text()
    summary = json.loads((BUNDLED / name / "summary.json").read_text())
    for split in ("valid", "test"):
        for key, form in (
            ("accuracy", lambda value: f"{100 * value:.2f} %"),
            ("perplexity", lambda value: f"{value:.2f}"),
        ):
            if key in model:
                (row,) = [line for line in card.splitlines() if line.startswith(f"| {split} ")]
                assert form(model[key][split]) in row
                assert summary[split][key] == model[key][split]
    assert f"Python {model['python']}" in card and "Python Software Foundation License Version 2" in card
    assert "/" not in json.loads((BUNDLED / name / "manifest.json").read_text())["host"]


@pytest.mark.parametrize("name", MODELS)
def test_nothing_in_a_model_names_the_machine_that_made_it(name):
    for key, path in files_of(name).items():
        if path.is_file() and path.suffix in (".json", ".jsonl", ".toml", ".md") and "vocabulary" not in key:
            text = path.read_text()
            assert not any(f'"{start}' in text for start in ("/", "runs/", "C:")), key


@pytest.mark.parametrize("name", MODELS)
def test_the_settings_are_those_of_the_recipe(name):
    assert recipe(ROOT / "models" / f"{name}.toml") == find(name).experiment


def test_the_language_model_scores_a_text_as_before():
    lm, sample = refrain.load("python-docs"), MODELS["python-docs"]["sample"]
    assert lm.weights == "int8"
    assert lm.score(sample["text"]).nats == pytest.approx(sample["nats"], abs=TOLERANCE)
    written = lm.generate("the function returns", tokens=30, top_p=0.9, allow_unknown=False, seed=1)[0]
    assert written.startswith("the function returns ") and "<unk>" not in written


def test_the_tagger_tags_a_text_as_before():
    tagger, sample = refrain.load("python-names"), MODELS["python-names"]["sample"]
    assert tagger.tag([sample["text"].split()]) == [sample["tags"]]


def test_a_model_is_found_without_torch():
    code = (
        "import sys, refrain.runs as runs\n"
        "assert runs.find('python-docs').path.name == 'python-docs'\n"
        "assert 'torch' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)
