"""Clip shapes. A batch holds clips of one shape; a run mixes several, from single images to long wide clips."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Bucket:
    """One shape of clip: frames, rows and columns of pixels; `batch_size` clips a step over all devices.

    `weight` is the share of steps that use this bucket, relative to the other buckets' weights. `crop` is the side in
    pixels of a square cut out around an object after rendering (for autoencoders, which need not see whole frames);
    0 keeps the frame.
    """

    frames: int = 17
    height: int = 64
    width: int = 64
    batch_size: int = 32
    weight: float = 1.0
    crop: int = 0

    def __post_init__(self) -> None:
        if self.frames < 1 or self.frames % 4 != 1:
            near = max(1, (self.frames - 1) // 4 * 4 + 1)
            raise ValueError(f"a bucket of {self.frames} frames: clips have 4n+1 frames, e.g. {near}")
        if min(self.height, self.width, self.batch_size) < 1:
            raise ValueError(f"bucket {self}: height, width and batch_size must be 1 or more")
        if not 0 <= self.crop <= min(self.height, self.width):
            raise ValueError(f"bucket {self}: crop must be 0 (none) or fit into the frame")
        if self.weight <= 0:
            raise ValueError(f"bucket {self}: its weight must be positive")

    @property
    def size(self) -> tuple[int, int, int]:
        """(frames, height, width)."""
        return self.frames, self.height, self.width
