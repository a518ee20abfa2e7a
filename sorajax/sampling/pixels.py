"""The user's pixels, pasted into the sampled clip where they are fixed, and masks."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Bool, UInt8

from sorajax.media.resize import fit_clip
from sorajax.media.video import Frames, Video
from sorajax.models.conditioning import ConditioningFrames

STILL = 12.0  # of 255: a pixel is still if it and all pixels around it change by much less
NEIGHBOURHOOD = 5  # side of that square in pixels: the edge of an object that moves away changes little by itself
RECONSTRUCTION_ERROR = 32.0  # of 255: the autoencoder changes a pixel by less; a larger difference is another object


def restore_fixed_pixels(
    conditioning: ConditioningFrames, frames: UInt8[np.ndarray, "b t y x 3"]
) -> UInt8[np.ndarray, "b t y x 3"]:
    """Pastes the fixed pixels into sampled frames, and matches the colours of the generated pixels to them.

    Without `conditioning.exact`, frames are returned unchanged.
    """
    if not conditioning.exact:
        return frames
    fixed = np.zeros(frames.shape[1:4], bool)
    pixels = np.zeros(frames.shape[1:], np.uint8)
    if conditioning.head is not None:
        fixed[: len(conditioning.head)], pixels[: len(conditioning.head)] = True, conditioning.head
    if conditioning.tail is not None:
        fixed[-len(conditioning.tail) :], pixels[-len(conditioning.tail) :] = True, conditioning.tail
    if conditioning.source_clip is not None and conditioning.region is not None:
        pixels = np.where(fixed[..., None], pixels, conditioning.source_clip)
        fixed |= ~conditioning.region
    if not fixed.any():
        return frames
    if conditioning.region is not None:
        shift = pixels[fixed].mean(0) - frames[:, fixed].mean(1)
        matched = np.clip(np.round(frames + shift[:, None, None, None]), 0, 255).astype(np.uint8)
        return np.where(fixed[..., None], pixels, matched)
    ends = [] if conditioning.head is None else [(len(conditioning.head) - 1, conditioning.head[-1])]
    ends += [] if conditioning.tail is None else [(len(pixels) - len(conditioning.tail), conditioning.tail[0])]
    return np.where(fixed[..., None], pixels, np.stack([match_colours(ends, clip) for clip in frames]))


def match_colours(ends: Sequence[tuple[int, UInt8[np.ndarray, "y x 3"]]], clip: Frames) -> Frames:
    """Corrects a decoded clip by the autoencoder's error on fixed frames; `ends` are (index in the clip, pixels).

    The mean error of each channel is subtracted everywhere. The error of each pixel is subtracted where the picture
    around it has not changed since the fixed frame. So neither a seam nor a still background shows where the fixed
    frames end. An error far beyond the autoencoder's is kept: to subtract it would paste a ghost of the fixed object.
    Between two ends the nearer one weighs more, by the inverse distance in frames.
    """
    from scipy import ndimage

    corrections, weights = [], []
    for number, pixels in ends:
        difference = pixels.astype(np.float32) - clip[number]
        shift = difference.mean((0, 1))
        change = np.abs(clip.astype(np.float32) - clip[number]).max(-1, keepdims=True)
        change = ndimage.maximum_filter(change, (1, NEIGHBOURHOOD, NEIGHBOURHOOD, 1))
        local = difference - shift
        local *= np.exp(-np.square(np.abs(local).max(-1, keepdims=True) / RECONSTRUCTION_ERROR))
        corrections.append(shift + local * np.exp(-np.square(change / STILL)))
        weights.append(1 / np.maximum(np.abs(np.arange(len(clip)) - number), 0.5))
    share = np.stack(weights) / np.sum(weights, 0)
    corrected = clip + np.einsum("et,etyxc->tyxc", share, np.stack(corrections))
    return np.clip(np.round(corrected), 0, 255).astype(np.uint8)


def read_mask(path: str | Path, width: int, height: int) -> Bool[np.ndarray, "y x"]:
    """Reads a mask from a picture: white is true, black and transparent are false. It is resized as `fit_clip` does.
    Raises OSError or ValueError."""
    return fit_mask(Video.load(path, behind="black").frames[0].mean(-1) > 127, width, height)


def fit_mask(mask: Bool[np.ndarray, "y x"], width: int, height: int) -> Bool[np.ndarray, "y2 x2"]:
    """A mask at another size, resized and cropped as `fit_clip` does."""
    white = np.repeat((mask[None, :, :, None] > 0) * np.uint8(255), 3, -1)
    return fit_clip(Video(white, 1.0), width, height, 1.0)[0].mean(-1) > 127
