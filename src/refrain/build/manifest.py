"""What a run's figures depend on besides its settings."""

import os
import platform
import socket
import sys
import time
from typing import Any

import numpy
import torch

import refrain
from refrain.config import Experiment
from refrain.data import Corpus


def manifest(experiment: Experiment, corpus: Corpus, command: str) -> dict[str, Any]:
    """Versions, machine, seed, command and the sha256 of the text, as plain data."""
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else None
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
        "cuda": device,
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
                    "file": str(split.source.path),
                    "bytes": split.source.stop - split.source.start,
                    "sha256": split.sha256,
                    "tokens": len(split.tokens),
                    "lines": split.lines,
                    "unseen": split.unseen,
                }
                for name, split in corpus.splits.items()
            },
        },
    }
