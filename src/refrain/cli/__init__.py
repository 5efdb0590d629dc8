"""The command line: a file a subcommand, each imported when it is called."""

from .start import run as run
