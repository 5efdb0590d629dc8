"""The command `refrain --install-completion`."""

from typing import Literal


def install_completion(*, shell: Literal["bash", "zsh", "fish", "powershell"] | None = None) -> None:
    """Complete commands and options in your shell.

    Writes a script to the shell's folder for completions, and adds a line that loads it to the shell's startup file.

    Parameters
    ----------
    shell
        The shell. The default is the one that the command is called from.
    """
    from cyclopts.completion.detect import ShellDetectionError

    from refrain.errors import UserError

    from .app import app
    from .output import print_line

    try:
        path = app().install_completion(shell=shell)
    except ShellDetectionError:
        raise UserError(
            "your shell is not one that is known; name one: --shell bash, zsh, fish or powershell"
        ) from None
    print_line(f"{path}: open a new shell to use it")
