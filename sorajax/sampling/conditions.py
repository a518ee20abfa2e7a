"""What a person hands over besides words: images and clips, in pixels, laid on the clip to be made.

    head    begins the clip       animate a still, extend forward, connect, edit: the end of the window before
    tail    ends the clip         extend backward, connect, fill in between
    rough   is the whole clip     edit: it keeps what `strength` leaves of it, and stays as it is outside `region`;
                                  with a head or a tail on it, connect, fill and extend backward: what lies between

`known_of` says the same in latents, which is all that a sampler sees.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float, UInt8

from sorajax.diffusion.fixed_frames import Known
from sorajax.errors import BadRequest
from sorajax.media.video import Frames, Video

STILL = 12.0  # of 255: a pixel that changes by much less stands still,
LOST = 32.0  # of 255: what the autoencoder does to a pixel is less; more is an object that lies elsewhere
AROUND = 5  # if so do all in a square of this side around it: the edge of what moves away changes little
RUN_UP = 2  # latent frames of a still before a tail: a causal encoder needs a past


@dataclass(frozen=True, eq=False)
class ConditioningFrames:
    """Known frames, uint8 sRGB [t y x 3] of the size to be made. Raises BadRequest where they cannot be laid on a clip.

    strength: 0 leaves `source_clip` as it is, 1 ignores it. region: true for the pixels that are made anew.
    exact: the given pixels themselves are in the result, not what the autoencoder makes of them.
    """

    head: Frames | None = None
    tail: Frames | None = None
    source_clip: Frames | None = None
    strength: float = 1.0
    region: Bool[np.ndarray, "y x"] | None = None
    exact: bool = True

    def __post_init__(self) -> None:
        if not 0 <= self.strength <= 1:
            raise BadRequest(f"strength {self.strength} is not allowed: 0 keeps the clip, 1 ignores it; use e.g. 0.6")
        if self.source_clip is None and (self.strength < 1 or self.region is not None):
            raise BadRequest("a strength or a mask needs a clip to edit: give one with --edit")
        if self.region is not None and not self.region.any():
            raise BadRequest("the mask is empty: make white what should be replaced, black what should stay")

    def put_back(self, frames: UInt8[np.ndarray, "b t y x 3"]) -> UInt8[np.ndarray, "b t y x 3"]:
        """The sampled frames with the given pixels in their places, and the others in the given ones' colours."""
        if not self.exact:
            return frames
        said = np.zeros(frames.shape[1:4], bool)
        pixels = np.zeros(frames.shape[1:], np.uint8)
        if self.head is not None:
            said[: len(self.head)], pixels[: len(self.head)] = True, self.head
        if self.tail is not None:
            said[-len(self.tail) :], pixels[-len(self.tail) :] = True, self.tail
        if self.source_clip is not None and self.region is not None:
            pixels = np.where(said[..., None], pixels, self.source_clip)
            said |= ~self.region
        if not said.any():
            return frames
        if self.region is not None:
            shift = pixels[said].mean(0) - frames[:, said].mean(1)
            matched = np.clip(np.round(frames + shift[:, None, None, None]), 0, 255).astype(np.uint8)
            return np.where(said[..., None], pixels, matched)
        ends = [] if self.head is None else [(len(self.head) - 1, self.head[-1])]
        ends += [] if self.tail is None else [(len(pixels) - len(self.tail), self.tail[0])]
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


def known_of(
    conditioning: ConditioningFrames,
    shape: tuple[int, ...],
    stride: int,
    encode: Callable[[Frames], Float[np.ndarray, "t h w c"]],
) -> Known:
    """What is known of latents of shape [b t h w c], each latent frame `stride` frames but the first, which is one.

    A head and a tail lie on what is rough. A head has stride * n + 1 frames. A tail may have any number: the first few
    of stride * n + few belong to a latent frame that is not known, and are the encoder's past, so that it sees motion;
    with stride * n frames the past is still. Before that a still runs up, because latents at the beginning of a clip
    are unlike all others. `encode` turns stride * n + 1 frames into n + 1 latents.
    """
    _, t, h, w, _ = shape
    latent, mask = np.zeros(shape[1:], np.float32), np.zeros((t, h, w), bool)
    if conditioning.source_clip is not None:
        latent[:] = encode(conditioning.source_clip)
        if conditioning.region is not None:
            height, width = conditioning.region.shape
            rows, columns = -(-height // h), -(-width // w)
            region = np.pad(conditioning.region, ((0, h * rows - height), (0, w * columns - width)), "edge")
            mask[:] = ~region.reshape(h, rows, w, columns).any((1, 3))
    if conditioning.head is not None:
        head = encode(conditioning.head)
        latent[: len(head)], mask[: len(head)] = head, True
    if conditioning.tail is not None:
        count = len(conditioning.tail) // stride
        past = np.repeat(conditioning.tail[:1], stride * RUN_UP + (1 - len(conditioning.tail)) % stride, 0)
        latent[-count:], mask[-count:] = encode(np.concatenate([past, conditioning.tail]))[-count:], True
    known = mask if conditioning.region is not None else mask.all((1, 2))
    start = jnp.float32(conditioning.strength)
    return Known(jnp.broadcast_to(latent, shape), jnp.broadcast_to(known, (shape[0], *known.shape)), start)


def channels_of(
    conditioning: ConditioningFrames,
    shape: tuple[int, ...],
    stride: int,
    encode: Callable[[Float[np.ndarray, "t y x 3"]], Float[np.ndarray, "t h w c"]],
    kept: Known | None = None,
) -> Float[np.ndarray, "t h w k"]:
    """What is known as Wan's image-to-video models read it, on channels beside latents of shape [b t h w c].

    First the mask of the `stride` pixel frames of each latent frame (the first frame's counts for all of its group),
    then the latents of the clip with grey where nothing is known; `kept` ones, of one clip, take their places.
    """
    t, h, w = shape[1:4]
    assert conditioning.head is not None
    pixels = np.zeros(((t - 1) * stride + 1, *conditioning.head.shape[1:]), np.float32)
    said = np.zeros(len(pixels), np.float32)
    pixels[: len(conditioning.head)], said[: len(conditioning.head)] = conditioning.head / np.float32(127.5) - 1, 1
    if conditioning.tail is not None:
        pixels[-len(conditioning.tail) :], said[-len(conditioning.tail) :] = (
            conditioning.tail / np.float32(127.5) - 1,
            1,
        )
    mask = np.concatenate([np.repeat(said[:1], stride), said[1:]]).reshape(t, 1, 1, stride)
    latents = encode(pixels)
    if kept is not None:
        latents = np.where(kept.mask[0][:, None, None, None], kept.latent[0], latents)
    return np.concatenate([np.broadcast_to(mask, (t, h, w, stride)), latents], -1)


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
