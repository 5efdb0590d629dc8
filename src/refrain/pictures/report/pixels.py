"""Small pictures as PNG files, for pages that are written where matplotlib may be missing.

R rows and C columns of a picture.
"""

import struct
import zlib

import numpy as np
from numpy.typing import NDArray

from refrain.pictures.canvas import BLUE_RGB, VERMILION_RGB

# how strongly a part of a matrix is drawn that is zero because a unit is dead
GONE = 0.35
# shares are rounded to these steps, so that pictures of random zeros stay small
STEPS = 12


def shares_png(shares: NDArray[np.float32]) -> bytes:
    """Draw the composition of the blocks of a matrix: blue is non-zero, orange belongs to a dead unit.

    What is zero otherwise is transparent, so that the picture fits a white page and a dark one.

    Args:
        shares: (3, R, C) from `refrain.sparsity.report.block_shares`.
    """
    kept, lost, gone = np.round(shares * STEPS) / STEPS
    orange = np.minimum(lost + GONE * gone, 1)
    alpha = np.minimum(kept + orange, 1)
    blue = kept / np.maximum(kept + orange, 1e-9)
    colours = blue[..., None] * np.array(BLUE_RGB) + (1 - blue[..., None]) * np.array(VERMILION_RGB)
    pixels = np.concatenate([colours, 255 * alpha[..., None]], axis=2)
    # the colour of what is not seen costs space
    pixels[alpha == 0] = 0
    return png(pixels.round().clip(0, 255).astype(np.uint8))


def png(pixels: NDArray[np.uint8]) -> bytes:
    """Return a PNG file (ISO/IEC 15948) of eight bits a channel.

    Args:
        pixels: (R, C, 4): red, green, blue and opacity.
    """
    rows, columns = pixels.shape[:2]
    head = struct.pack(">IIBBBBB", columns, rows, 8, 6, 0, 0, 0)
    # each row begins with the number of its filter, none
    lines = np.concatenate([np.zeros((rows, 1), np.uint8), pixels.reshape(rows, -1)], axis=1)
    parts = [(b"IHDR", head), (b"IDAT", zlib.compress(lines.tobytes(), 9)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(_part(name, data) for name, data in parts)


def _part(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
