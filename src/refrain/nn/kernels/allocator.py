"""Whether the C library keeps large blocks of memory that are freed."""

import ctypes
import platform

# parameters of mallopt in the GNU C library
TRIM_THRESHOLD, MMAP_THRESHOLD, MMAP_MAX = -1, -3, -4
LARGEST, NEVER = 1 << 30, (1 << 31) - 1
USUAL_MMAP, USUAL_TRIM, USUAL_MAPS = 32 * 2**20, 64 * 2**20, 65536


def keep_freed_memory(keep: bool = True) -> bool:
    """Let this process keep large blocks that it frees, instead of returning them to the system.

    A training step frees its gradients and then allocates as much again. The system would hand out each block page by
    page, filled with zeros, which for a tensor of 60 MB takes eight times as long as writing it. Only the GNU C library
    has such a setting.

    Args:
        keep: False restores what the library does in a process that has freed a large block.

    Returns:
        Whether the C library accepted the setting.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    try:
        set_option = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False
    # older versions refuse so high a threshold; there, mapping single blocks is switched off instead
    done = bool(set_option(MMAP_THRESHOLD, LARGEST if keep else USUAL_MMAP))
    if not done or not keep:
        done = bool(set_option(MMAP_MAX, 0 if keep else USUAL_MAPS))
    return bool(set_option(TRIM_THRESHOLD, NEVER if keep else USUAL_TRIM)) and done
