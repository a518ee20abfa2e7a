"""Pixels that a person hands over: brought to a size and rate, and put back into the clip that is made of them."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Bool, UInt8

from sorajax.media.video import Frames, Video
from sorajax.models.conditioning import ConditioningFrames

STILL = 12.0  # of 255: a pixel that changes by much less stands still,
LOST = 32.0  # of 255: what the autoencoder does to a pixel is less; more is an object that lies elsewhere
AROUND = 5  # if so do all in a square of this side around it: the edge of what moves away changes little


def put_back(
    conditioning: ConditioningFrames, frames: UInt8[np.ndarray, "b t y x 3"]
) -> UInt8[np.ndarray, "b t y x 3"]:
    """The sampled frames with the given pixels in their places, and the others in the given ones' colours."""
    if not conditioning.exact:
        return frames
    said = np.zeros(frames.shape[1:4], bool)
    pixels = np.zeros(frames.shape[1:], np.uint8)
    if conditioning.head is not None:
        said[: len(conditioning.head)], pixels[: len(conditioning.head)] = True, conditioning.head
    if conditioning.tail is not None:
        said[-len(conditioning.tail) :], pixels[-len(conditioning.tail) :] = True, conditioning.tail
    if conditioning.source_clip is not None and conditioning.region is not None:
        pixels = np.where(said[..., None], pixels, conditioning.source_clip)
        said |= ~conditioning.region
    if not said.any():
        return frames
    if conditioning.region is not None:
        shift = pixels[said].mean(0) - frames[:, said].mean(1)
        matched = np.clip(np.round(frames + shift[:, None, None, None]), 0, 255).astype(np.uint8)
        return np.where(said[..., None], pixels, matched)
    ends = [] if conditioning.head is None else [(len(conditioning.head) - 1, conditioning.head[-1])]
    ends += [] if conditioning.tail is None else [(len(pixels) - len(conditioning.tail), conditioning.tail[0])]
    return np.where(said[..., None], pixels, np.stack([in_colours_of(ends, clip) for clip in frames]))


def in_colours_of(ends: Sequence[tuple[int, UInt8[np.ndarray, "y x 3"]]], clip: Frames) -> Frames:
    """A decoded clip without what the autoencoder did to the given frames, (number in the clip, pixels), at its ends.

    The mean difference of each channel is taken back everywhere, and that of each pixel where the picture around it
    stands still since the given frame, so that neither a seam nor a still background shows where the given frames end.
    A difference far beyond what the autoencoder makes is not taken back: it would paste a ghost of the given object.
    Between two ends the nearer one counts more.
    """
    from scipy import ndimage

    moved, weights = [], []
    for number, conditioning in ends:
        difference = conditioning.astype(np.float32) - clip[number]
        shift = difference.mean((0, 1))
        change = np.abs(clip.astype(np.float32) - clip[number]).max(-1, keepdims=True)
        change = ndimage.maximum_filter(change, (1, AROUND, AROUND, 1))
        own = difference - shift
        own *= np.exp(-np.square(np.abs(own).max(-1, keepdims=True) / LOST))
        moved.append(shift + own * np.exp(-np.square(change / STILL)))
        weights.append(1 / np.maximum(np.abs(np.arange(len(clip)) - number), 0.5))
    share = np.stack(weights) / np.sum(weights, 0)
    corrected = clip + np.einsum("et,etyxc->tyxc", share, np.stack(moved))
    return np.clip(np.round(corrected), 0, 255).astype(np.uint8)


def fitted(video: Video, width: int, height: int, fps: float) -> Frames:
    """Frames of a clip at another size and rate: resized to cover, cut at the middle, the nearest frame in time."""
    from PIL import Image

    count = max(1, round(len(video.frames) * fps / video.fps))
    chosen = np.minimum(((np.arange(count) + 0.5) * video.fps / fps).astype(int), len(video.frames) - 1)
    _, y, x, _ = video.frames.shape
    if (x, y) == (width, height):
        return video.frames if np.array_equal(chosen, np.arange(len(video.frames))) else video.frames[chosen]
    scale = max(width / x, height / y)
    size = max(width, round(x * scale)), max(height, round(y * scale))
    left, top = (size[0] - width) // 2, (size[1] - height) // 2
    clip = np.empty((count, height, width, 3), np.uint8)
    for place, number in enumerate(chosen):
        image = Image.fromarray(video.frames[number]).resize(size, Image.Resampling.LANCZOS)
        clip[place] = np.asarray(image)[top : top + height, left : left + width]
    return clip


def read_mask(path: str | Path, width: int, height: int) -> Bool[np.ndarray, "y x"]:
    """White is true, what is transparent is not. A mask of another size is resized as the clip is. Raises OSError or
    ValueError."""
    return fitted_mask(Video.load(path, behind="black").frames[0].mean(-1) > 127, width, height)


def fitted_mask(mask: Bool[np.ndarray, "y x"], width: int, height: int) -> Bool[np.ndarray, "y2 x2"]:
    """A mask at another size, resized and cut as `fitted` does."""
    white = np.repeat((mask[None, :, :, None] > 0) * np.uint8(255), 3, -1)
    return fitted(Video(white, 1.0), width, height, 1.0)[0].mean(-1) > 127
