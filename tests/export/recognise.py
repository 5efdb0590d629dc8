"""Run by test_sherpa.py in a process of its own: sherpa-onnx ends its process at an error.

Reads from standard input JSON: the folder of a transducer, and a list of [how, language model or nothing, scale], where
how is one of MODES.
Writes JSON: [the tokens that were recognised, their log-probabilities by the language model] for each.
"""

import json
import sys
from pathlib import Path

import numpy as np
import sherpa_onnx
from transducer import CHUNK, RATE

PATHS = 100_000
MODES = ("fusion", "again", "offline")


def recognise(folder, mode, lm, scale):
    online = mode != "offline"
    kind, name = (sherpa_onnx.OnlineRecognizer, "online") if online else (sherpa_onnx.OfflineRecognizer, "offline")
    recognizer = kind.from_transducer(
        tokens=str(folder / "tokens.txt"),
        encoder=str(folder / f"encoder-{name}.onnx"),
        decoder=str(folder / "decoder.onnx"),
        joiner=str(folder / "joiner.onnx"),
        decoding_method="modified_beam_search",
        max_active_paths=PATHS,
        num_threads=1,
        lm=str(lm) if lm else "",
        lm_scale=scale,
        **({"lm_shallow_fusion": mode == "fusion"} if online else {}),
    )
    stream = recognizer.create_stream()
    # a chunk and no more: frames of 25 ms every 10 ms
    samples = np.sin(np.arange(int(RATE * (0.025 + 0.01 * (CHUNK - 1)))) / 9)
    stream.accept_waveform(RATE, samples.astype(np.float32))
    if not online:
        recognizer.decode_stream(stream)
        return stream.result.tokens, []
    stream.input_finished()
    steps = 0
    while recognizer.is_ready(stream):
        recognizer.decode_stream(stream)
        steps += 1
    assert steps == 1, steps
    return recognizer.tokens(stream), recognizer.lm_probs(stream) if lm and mode == "fusion" else []


given = json.load(sys.stdin)
json.dump([recognise(Path(given["folder"]), *case) for case in given["cases"]], sys.stdout)
