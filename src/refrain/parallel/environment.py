"""What torch's launcher, torchrun, tells a process by environment variables: its rank, and how many there are."""

import os

from refrain.errors import MachineError, shown


def are_started() -> bool:
    """Whether this process is one of several ranks.

    Raises:
        MachineError: when a variable is no number.
    """
    for name in ("RANK", "WORLD_SIZE"):
        if not os.environ.get(name, "0").isdecimal():
            raise MachineError(
                f"the environment variable {name} must be a whole number (got {shown(os.environ[name])}); start with "
                "torchrun, or remove it"
            )
    return "RANK" in os.environ and int(os.environ.get("WORLD_SIZE", "1")) > 1


def is_first() -> bool:
    """Whether this process is rank 0, or alone."""
    return not are_started() or int(os.environ["RANK"]) == 0


def is_restarted() -> bool:
    """Whether torchrun has started this process again, after another one was lost."""
    # also where it is alone, as the only process or the last that is left
    return "RANK" in os.environ and os.environ.get("TORCHELASTIC_RESTART_COUNT", "0") != "0"
