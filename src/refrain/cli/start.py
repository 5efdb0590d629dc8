"""The entry point of the command, which imports the rest when it is called."""

import sys
from collections.abc import Sequence


def run(arguments: Sequence[str] | None = None) -> None:
    """Run a command, that of `sys.argv` if none is given, and exit with its status."""
    try:
        from .app import run as run_command
    except KeyboardInterrupt:
        # Ctrl-C before there is anything to stop
        print("refrain: stopped", file=sys.stderr)
        sys.exit(130)
    run_command(arguments)
