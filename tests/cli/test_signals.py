"""A signal ends a command wherever it comes, also where Python drops the exception of its handler."""

import signal
import subprocess
import sys

import pytest

from refrain.training.interrupt import SIGNALS

# the command `recipes`, replaced by one during which a signal comes in a finalizer
COMMAND = """
import signal, time
import refrain.cli.recipes
from refrain.cli import run

class Last:
    def __del__(self):
        signal.raise_signal({number})
        for _ in range(100):
            pass

def recipes():
    first = Last()
    del first
    print("goes on", flush=True)
    time.sleep(60)
    print("ends by itself")

refrain.cli.recipes.recipes = recipes
run(["recipes"])
"""
# what is dropped is no signal
OTHER = """
import sys
from refrain._signals import send_dropped_signals_again

class Last:
    def __init__(self, error):
        self.error = error

    def __del__(self):
        raise self.error

sys.unraisablehook = lambda dropped: print(repr(dropped.exc_value))
send_dropped_signals_again()
send_dropped_signals_again()
for error in (ValueError("wrong"), SystemExit(3), SystemExit("text"), SystemExit(128 + 200), SystemExit(128 + 9)):
    Last(error)
"""


def ended(code):
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_in_a_finalizer_ends_the_command(number):
    found = ended(COMMAND.format(number=int(number)))
    assert found.returncode == (130 if number == signal.SIGINT else 143), found.stderr
    assert "ends by itself" not in found.stdout
    assert "Traceback" not in found.stderr


def test_other_dropped_exceptions_go_to_the_hook_before():
    found = ended(OTHER)
    assert found.returncode == 0 and found.stderr == ""
    assert found.stdout.splitlines() == [
        "ValueError('wrong')",
        "SystemExit(3)",
        "SystemExit('text')",
        "SystemExit(328)",
        "SystemExit(137)",
    ]
