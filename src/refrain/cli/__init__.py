"""The command line: a file a subcommand, each imported when it is called."""

from .app import run as run
