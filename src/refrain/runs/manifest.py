"""The manifest of a run: versions, machine and text, on which its results depend besides its settings."""

import os
import platform
import socket
import sys
import time
from typing import Any

import numpy
import torch
from torch import nn

import refrain
from refrain.assembly.backend import kernels_used
from refrain.config import AnyExperiment
from refrain.data import Corpus, TaggedCorpus, TaggedSplit
from refrain.data.text.files import size_of
from refrain.nn.kernels.backend import bf16_instructions

# the entries that can change the bits of a run, besides its settings and text
MACHINE = ("torch", "machine", "cpu_capability", "mkldnn", "threads", "ranks", "device", "backend", "kernels")
# words for backends in runs of version 0.1 -> the words of this version
OLD_BACKENDS = {"plain": "torch", "kernels": "native"}


def manifest(
    experiment: AnyExperiment,
    corpus: Corpus | TaggedCorpus,
    model: nn.Module,
    command: str,
    backend: dict[str, str] | None = None,
    ranks: int = 1,
) -> dict[str, Any]:
    """The versions, the machine, the backend of each part, the kernels, the seed, the command and the text's sha256."""
    device = next(model.parameters()).device
    return {
        "refrain": refrain.__version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": numpy.__version__,
        "platform": platform.platform(),
        "machine": platform.machine(),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "mkldnn": torch.backends.mkldnn.is_available(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "ranks": ranks,
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        "backend": backend or {},
        "kernels": kernels_used(backend or {}),
        "bf16_instructions": bf16_instructions(),
        "host": socket.gethostname(),
        "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "command": command or " ".join(sys.argv),
        "seed": experiment.training.seed,
        "data": {
            "corpus": corpus.name,
            "unit": corpus.vocabulary.unit,
            "vocabulary": len(corpus.vocabulary),
            "splits": {
                name: {
                    "file": str(split.source[0].path),
                    "files": len(split.source),
                    "bytes": size_of(split.source),
                    "sha256": split.sha256,
                    "layout": split.layout,
                    "tokens": len(split.tokens),
                    "lines": split.lines,
                    "unseen": split.unseen,
                    **({"skipped": split.skipped} if isinstance(split, TaggedSplit) else {}),
                }
                for name, split in corpus.splits.items()
            },
        },
    }


def changes(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """Describe the differences between two manifests that can change the bits of a run.

    Args:
        before: the manifest of the run, perhaps of version 0.1.
        now: the manifest of this process.
    """
    if "engine" in before:
        before = before | {"backend": recorded_backends(before)}
    # whether kernels are used at all is an entry of the backends
    compared = [name for name in MACHINE if name != "kernels" or (before.get(name) and now.get(name))]
    return [
        f"{name} was {before[name]!r}, is {now[name]!r}"
        for name in compared
        if name in before and before[name] != now[name]
    ]


def recorded_backends(manifest: dict[str, Any]) -> dict[str, str]:
    """The backend of each part of a run's model.

    Args:
        manifest: the manifest of the run, perhaps of version 0.1.
    """
    if "engine" in manifest:
        return {part: _new_words(words) for part, words in manifest["engine"].items()}
    return dict(manifest.get("backend") or {})


def _new_words(words: str) -> str:
    backend, _, precision = words.partition(", ")
    return f"{OLD_BACKENDS.get(backend, backend)}, {precision}"
