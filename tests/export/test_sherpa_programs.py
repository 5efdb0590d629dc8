"""A language model in the programs of sherpa-onnx: what they recognise is what brute force finds."""

import json
import os
import shutil
import subprocess
import sysconfig
import wave

import pytest

pytest.importorskip("onnx", reason="ONNX files are written with onnx")
pytest.importorskip("onnxruntime", reason="ONNX files are run with onnxruntime")

import transducer
from recogniser_models import MODES, SCALE, draw_transducer, expected_text, own_scores, write_export

# where pip puts programs, which need not be among those that a shell finds
FOLDERS = os.pathsep.join([sysconfig.get_path("scripts"), os.environ.get("PATH", "")])
PROGRAMS = {name: shutil.which(name, path=FOLDERS) for name in ("sherpa-onnx", "sherpa-onnx-offline")}
pytestmark = pytest.mark.skipif(None in PROGRAMS.values(), reason="needs sherpa-onnx-bin")

CASES = [("LSTM of uneven widths", ""), ("GRU of odd width", " renamed"), ("GRU of uneven widths", " int8")]


def recognise(folder, mode, *options):
    """The last line of JSON that a program prints for the speech."""
    online = mode != "offline"
    kind, name = ("online", "sherpa-onnx") if online else ("offline", "sherpa-onnx-offline")
    command = [
        PROGRAMS[name],
        f"--tokens={folder / 'tokens.txt'}",
        f"--encoder={folder / f'encoder-{kind}.onnx'}",
        f"--decoder={folder / 'decoder.onnx'}",
        f"--joiner={folder / 'joiner.onnx'}",
        "--decoding-method=modified_beam_search",
        "--max-active-paths=100000",
        "--num-threads=1",
        *options,
        *(["--lm-shallow-fusion=false"] if mode == "again" else []),
        str(folder / "speech.wav"),
    ]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert ran.returncode == 0, ran.stderr
    # the online program prints its result to standard error
    found = [line for line in (ran.stdout + ran.stderr).splitlines() if line.startswith("{")]
    return json.loads(found[-1])


@pytest.fixture(scope="module")
def speech(tmp_path_factory):
    """A folder with a transducer and a file of speech, and the scores of all texts by the transducer."""
    folder = tmp_path_factory.mktemp("programs")
    frames, pairs = draw_transducer()
    transducer.write(folder, frames, pairs)
    with wave.open(str(folder / "speech.wav"), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(transducer.RATE)
        # the online program adds silence; both together are more than one chunk and less than two
        file.writeframes(bytes(2 * transducer.RATE // 10))
    return folder, transducer.texts(frames, pairs)


@pytest.mark.parametrize("mode", MODES)
def test_without_a_language_model_the_text_is_that_of_the_transducer(speech, mode):
    folder, alone = speech
    assert recognise(folder, mode)["tokens"] == [transducer.NAMES[token] for token in transducer.best(alone)]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(("name", "ending"), CASES)
def test_the_programs_find_the_text_that_brute_force_finds(speech, name, ending, mode):
    folder, alone = speech
    path = folder / f"{name}{ending}{mode}.onnx"
    write_export(path, name, ending, mode)
    found = recognise(folder, mode, f"--lm={path}", f"--lm-scale={SCALE}")
    expected = expected_text(alone, name, ending, mode)
    assert expected != transducer.best(alone)
    assert found["tokens"] == [transducer.NAMES[token] for token in expected]
    if mode == "fusion":
        own = own_scores(name, ending, expected)[:-1]
        # numbers are printed with six digits; in int8 the inputs of matmuls are rounded as well
        assert found["lm_probs"] == pytest.approx(own, abs=0.15 if ending == " int8" else 1e-4)


def test_a_scale_of_zero_changes_nothing(speech):
    folder, alone = speech
    for mode in MODES:
        path = folder / f"none-{mode}.onnx"
        write_export(path, "LSTM", "", mode)
        found = recognise(folder, mode, f"--lm={path}", "--lm-scale=0")
        assert found["tokens"] == [transducer.NAMES[token] for token in transducer.best(alone)]
