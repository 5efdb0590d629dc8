"""What a training needs of its process: torch's usual modes, and no other training, which would draw its numbers."""

import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import torch

from refrain.errors import UserError

# the thread that trains may train another model inside, as a method of the first
_training = threading.RLock()


@contextmanager
def usual_modes() -> Iterator[None]:
    """Train with gradients and without autocast inside, whatever the modes of the caller.

    Raises:
        UserError: when another thread of this process trains. Both would draw from torch's generator, and neither could
            be repeated.
    """
    if not _training.acquire(blocking=False):
        raise UserError("another thread of this process trains a model; train one at a time, or each in a process")
    try:
        with ExitStack() as stack:
            stack.enter_context(torch.inference_mode(False))
            stack.enter_context(torch.enable_grad())
            for device in ("cpu", "cuda"):
                if torch.is_autocast_enabled(device):
                    stack.enter_context(torch.autocast(device, enabled=False))
            yield
    finally:
        _training.release()
