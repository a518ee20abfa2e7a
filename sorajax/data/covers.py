"""Clips for training the watermark: scenes of the world, pictures with a moving camera, and drawn textures.

Drawn textures are dead leaves (Lee, Mumford and Huang 2001): discs of all sizes that hide one another, each with noise
of a spectrum 1 / |f|^a. They have the statistics of photographs, of which none are needed.
"""

from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import grain
import numpy as np
from jaxtyping import Float, UInt8

from sorajax.data.buckets import Bucket
from sorajax.data.loader import batches
from sorajax.data.worlds import WorldBatch
from sorajax.media.formats import PICTURES
from sorajax.world.draw import EVERYTHING, draw
from sorajax.world.scenes import FULL, Split, sample_scenes

FASTEST = 6.0
"""The camera's highest speed in pixels per frame."""


@dataclass(frozen=True)
class CoverData:
    """Which clips are made. Each batch has clips of one kind."""

    buckets: tuple[Bucket, ...] = field(default=(Bucket(9, 256, 256, batch_size=4),))
    world: float = 0.5
    """Share of batches of the world; half of the others are pictures where there is a folder."""
    pictures: Path | None = None
    """A folder of the user's own pictures."""
    split: Split = "train"
    seed: int = 0
    threads: int = 1
    prefetch: int = 4

    def batches(self) -> grain.IterDataset:
        """Endless batches of clips, uint8 [b t h w 3]."""
        return batches(self.make, self.buckets, self.seed, self.threads, self.prefetch)

    def make(self, bucket: Bucket, rng: np.random.Generator) -> WorldBatch:
        """One batch."""
        t, h, w = bucket.size
        if rng.random() < self.world:
            pixels = world_clips(rng, bucket.batch_size, t, h, w, self.split)
        else:
            stills = [self.still(rng, h, w) for _ in range(bucket.batch_size)]
            pixels = np.stack([moved_over(still, t, h, w, rng) for still in stills])
        return WorldBatch(pixels=pixels, bucket=bucket)

    def still(self, rng: np.random.Generator, height: int, width: int) -> UInt8[np.ndarray, "h w 3"]:
        """A picture, or a drawn one."""
        if self.pictures is not None and rng.random() < 0.5:
            found = picture_files(self.pictures)
            return scaled(opened(found[rng.integers(len(found))]), height, width, rng)
        return dead_leaves(rng, height + 32, width + 32)


def world_clips(
    rng: np.random.Generator, count: int, frames: int, height: int, width: int, split: Split
) -> UInt8[np.ndarray, "b t h w 3"]:
    """Rendered scenes."""
    import jax

    scenes = sample_scenes(rng, count, split, FULL)
    drawn = jax.jit(draw, static_argnames=("frames", "height", "width", "needs"))
    clips, _ = drawn(scenes, frames, height, width, 8.0, 0, EVERYTHING)
    return np.round((np.asarray(clips) + 1) * 127.5).astype(np.uint8)


@cache
def picture_files(folder: Path) -> list[Path]:
    """The pictures in a folder. Raises ValueError where there are none."""
    found = sorted(path for path in folder.rglob("*") if path.suffix.lower() in PICTURES)
    if not found:
        raise ValueError(f"data.pictures {folder} holds no picture: name a folder with {', '.join(PICTURES)}")
    return found


@cache
def opened(path: Path) -> UInt8[np.ndarray, "h w 3"]:
    """A picture in RGB."""
    from PIL import Image

    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))


def scaled(
    picture: UInt8[np.ndarray, "y x 3"], height: int, width: int, rng: np.random.Generator
) -> UInt8[np.ndarray, "h w 3"]:
    """A picture in a random size, of which a frame covers a quarter or more, mirrored or not."""
    from PIL import Image

    factor = max(height / picture.shape[0], width / picture.shape[1]) * rng.uniform(1.02, 2.0)
    size = (max(width, round(picture.shape[1] * factor)), max(height, round(picture.shape[0] * factor)))
    resized = np.asarray(Image.fromarray(picture).resize(size, Image.Resampling.BICUBIC))
    return resized[:, ::-1] if rng.random() < 0.5 else resized


def dead_leaves(rng: np.random.Generator, height: int, width: int, discs: int = 120) -> UInt8[np.ndarray, "h w 3"]:
    """A drawn picture: discs over discs, with texture and shading, at a random contrast."""
    texture = np.stack([noise(rng, height, width, rng.uniform(0.5, 2.0)) for _ in range(3)])
    picture = rng.uniform(0, 255, 3) + rng.uniform(0, 30) * texture[0][..., None]
    y, x = np.ogrid[:height, :width]
    for radius in min(height, width) / 2 / (1 + 30 * np.sort(rng.random(discs)) ** 2):
        centre = rng.uniform(0, height), rng.uniform(0, width)
        top, left = (max(0, int(c - radius)) for c in centre)
        part = np.s_[top : int(centre[0] + radius) + 2, left : int(centre[1] + radius) + 2]
        yy, xx = y[part[0]] - centre[0], x[:, part[1]] - centre[1]
        inside = np.clip(radius - np.sqrt(yy * yy + xx * xx), 0, 1)[..., None]
        paint = rng.uniform(0, 255, 3) + rng.uniform(0, 25) * texture[rng.integers(3)][part][..., None]
        paint = paint + rng.normal(0, 40) * (yy / radius)[..., None] * rng.uniform(-1, 1)
        picture[part] += inside * (paint - picture[part])
    picture = (picture - 128) * rng.uniform(0.2, 1.0) + 128
    return np.clip(np.round(picture), 0, 255).astype(np.uint8)


def noise(rng: np.random.Generator, height: int, width: int, power: float) -> Float[np.ndarray, "h w"]:
    """Noise of unit variance whose spectrum falls as 1 / |f|^power."""
    f = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None])
    f[0, 0] = np.inf
    made = np.fft.irfft2(np.fft.rfft2(rng.normal(size=(height, width))) / f**power, (height, width))
    return made / made.std()


def moved_over(
    picture: UInt8[np.ndarray, "y x 3"], frames: int, height: int, width: int, rng: np.random.Generator
) -> UInt8[np.ndarray, "t h w 3"]:
    """A clip of a camera that stands still, or moves in a straight line over a picture and turns at its border."""
    room = np.array(picture.shape[:2]) - (height, width)
    speed = rng.uniform(-FASTEST, FASTEST, 2) * (rng.random() < 0.7)
    path = rng.uniform(0, room + 1) + speed * np.arange(frames)[:, None]
    path = np.abs((path + room) % np.maximum(2 * room, 1) - room).astype(int)
    return np.stack([picture[y : y + height, x : x + width] for y, x in path])
