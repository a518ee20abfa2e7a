"""Position of a frame's only object: the centroid of the pixels that are brighter than any background."""

import numpy as np
from jaxtyping import Float, UInt8

BRIGHT = 145
"""Every object has a channel above it, no background, dots and floor line included."""


def places(frames: UInt8[np.ndarray, "n h w 3"]) -> Float[np.ndarray, "n xy"]:
    """The object's place in each frame, in units from the centre, y down; not a number where nothing is bright."""
    _, height, width, _ = frames.shape
    unit = min(height, width)
    bright = np.maximum(frames.max(-1).astype(np.float32) - BRIGHT, 0)
    total = bright.sum((1, 2))
    x = (np.arange(width) + 0.5 - width / 2) / unit
    y = (np.arange(height) + 0.5 - height / 2) / unit
    with np.errstate(invalid="ignore"):
        return np.stack([(bright.sum(1) @ x) / total, (bright.sum(2) @ y) / total], -1)
