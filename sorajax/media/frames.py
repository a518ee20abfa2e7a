"""Frames of a file in memory: their type, a growing buffer, and what a reader returns."""

from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Int, UInt8

Frames = UInt8[np.ndarray, "t h w 3"]


class Content(NamedTuple):
    """The frames of a file, its frame rate, and its metadata."""

    frames: Frames
    fps: float
    metadata: dict[str, Any]


class FrameBuffer:
    """Consecutive frames of one size in a growing array, so that a clip is in memory only once."""

    def __init__(self) -> None:
        self.first, self.count = 0, 0  # index of the first frame in the buffer, and number of frames in it
        self.array: Frames = np.empty((0, 0, 0, 3), np.uint8)

    def add(self, picture: UInt8[np.ndarray, "h w 3"]) -> None:
        """Appends a frame. Raises ValueError where its size differs from the previous ones."""
        if not self.array.size:
            self.array = np.empty((16, *picture.shape), np.uint8)
        if picture.shape != self.array.shape[1:]:
            raise ValueError("its frames have several sizes")
        if self.count == len(self.array):
            self.array.resize((self.count + self.count // 8 + 16, *picture.shape), refcheck=False)
        self.array[self.count] = picture
        self.count += 1

    def drop(self) -> None:
        """Drops all frames so far; the indices of later ones do not change."""
        self.first, self.count = self.first + self.count, 0

    def take(self, indices: Int[np.ndarray, " t"]) -> Frames:
        """The frames of these indices; a view where they are consecutive."""
        offsets = indices - self.first
        row = slice(int(offsets[0]), int(offsets[0]) + len(offsets))
        return self.array[row if np.array_equal(offsets, np.arange(row.start, row.stop)) else offsets]
