"""How long threads that have nothing to do keep their cores.

The threads with which torch and the kernels compute wait for each other at barriers. GNU's OpenMP, which torch's builds
for Linux contain, lets them wait for about ten milliseconds before they give up their cores. If another program needs a
core meanwhile, it takes that of the thread that is waited for, and every barrier may last until the system changes its
mind.
"""

import os

LOOKS = "10000"
"""How often a thread looks whether a barrier is open before it sleeps, which takes a fraction of a millisecond.

Ten times fewer are hardly better beside another program, and cost time where there is none: sleeping threads must be
woken.
"""

CHOSEN = ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")


def wait_briefly() -> None:
    """Make threads sleep at barriers after a short while, unless the user has chosen something else.

    OpenMP reads the environment when it is loaded, so this has no effect after torch has been imported.
    """
    if not any(name in os.environ for name in CHOSEN):
        os.environ["GOMP_SPINCOUNT"] = LOOKS
