"""The memory that a system needs in a process of its own, in which nothing else is.

It is the largest resident set of the process, less that of an interpreter that does nothing.
"""

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from refrain.errors import UserError

# run after the code of a system. The resource module would count the memory of this process as well
_PEAK = """
try:
    with open("/proc/self/status") as status:
        print(next(int(line.split()[1]) for line in status if line.startswith("VmHWM")))
except (OSError, StopIteration):
    print(0)
"""
NOTHING = ""
KENLM = """
import sys
import kenlm
model = kenlm.Model(sys.argv[1])
sum(model.score(line.rstrip("\\n"), bos=True, eos=True) for line in sys.stdin)
"""
NETWORK = """
import sys
import refrain
from refrain.evaluation import score_lines
lm = refrain.load(sys.argv[1], weights=sys.argv[2])
list(score_lines(lm.stepper, lm.vocabulary, sys.stdin.read().removesuffix("\\n").split("\\n")))
"""
NGRAMS = """
import sys
from pathlib import Path
from refrain.data import vocabulary_from
from refrain.evaluation.interpolation import ngram_nats
from refrain.evaluation.ngram.words import read_word_model
from refrain.runs import find_language_model
vocabulary = vocabulary_from(find_language_model(sys.argv[1]).checkpoint.document("vocabulary"))
texts = sys.stdin.read().removesuffix("\\n").split("\\n")
ngram_nats(read_word_model(Path(sys.argv[2]), vocabulary), vocabulary, texts)
"""


def peak_bytes(code: str, arguments: Sequence[str | Path], texts: Sequence[str]) -> int | None:
    """The largest resident set of a process that runs some code.

    Args:
        code: Python.
        arguments: what it finds in `sys.argv`.
        texts: lines that it finds in its standard input.

    Returns:
        Bytes, or None where the system does not tell.

    Raises:
        UserError: when the code fails.
    """
    # the modules of this process, and none of the working folder
    path = os.pathsep.join(filter(None, sys.path))
    done = subprocess.run(
        [sys.executable, "-P", "-c", code + _PEAK, *map(str, arguments)],
        input="".join(f"{text}\n" for text in texts),
        capture_output=True,
        text=True,
        encoding="utf-8",
        errors="surrogateescape",
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONUTF8": "1", "PYTHONPATH": path},
    )
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise UserError(f"a process whose memory is measured failed with status {done.returncode}: {last}")
    return 1024 * int(done.stdout.split()[-1]) or None


def own_memory(code: str, arguments: Sequence[str | Path], texts: Sequence[str]) -> int | None:
    """The largest resident set of a process that runs some code, less that of one that runs none; see `peak_bytes`."""
    whole, bare = peak_bytes(code, arguments, texts), peak_bytes(NOTHING, [], [])
    return None if whole is None or bare is None else whole - bare
