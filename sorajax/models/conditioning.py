"""How a model reads the frames that a request fixes: three ways, one interface.

    FrameClocks    every latent frame has its own clock, and fixed frames stand at time 0 (our models, Wan 2.2 TI2V 5B)
    MaskChannels   a mask and the latents of fixed frames are channels beside the noisy latents (Wan image-to-video)
    Replacement    one clock for all frames; fixed frames are replaced at every step (models of text alone)

A model's config holds one of them, and all code calls this object: nothing else distinguishes models.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, ClassVar, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, UInt8

from sorajax.diffusion import fixed_frames
from sorajax.diffusion.fixed_frames import FixedLatents, Latent, Velocity, no_fixed_frames
from sorajax.errors import BadRequest
from sorajax.media.video import Frames
from sorajax.models.velocity import ExtraInputs

RUN_UP = 2  # latent frames of a still before a tail: a causal encoder needs a past


@dataclass(frozen=True, eq=False)
class ConditioningFrames:
    """Frames of a clip that a request fixes, uint8 sRGB [t y x 3] of the size to be made.

    head begins the clip: stride * n + 1 frames. tail ends it: any number. source_clip is the whole clip, which is fixed
    approximately: `strength` 0 keeps it, 1 ignores it; a head or tail replaces its frames there. region (true) holds
    the pixels of the source clip that are generated anew, all by default. exact: the fixed pixels themselves are in the
    result, not their reconstruction by the autoencoder.
    """

    head: Frames | None = None
    tail: Frames | None = None
    source_clip: Frames | None = None
    strength: float = 1.0
    region: Bool[np.ndarray, "y x"] | None = None
    exact: bool = True

    def __post_init__(self) -> None:
        if self.source_clip is None and (self.strength < 1 or self.region is not None):
            raise BadRequest("a strength or a mask needs a clip to edit: give one with --edit")
        if self.region is not None and not self.region.any():
            raise BadRequest("the mask is empty: make white what should be replaced, black what should stay")


class Encoders(NamedTuple):
    """The encoders from pixels to a model's inputs."""

    latents: Callable[[UInt8[np.ndarray, "f y x 3"] | Float[np.ndarray, "f y x 3"]], Float[np.ndarray, "t h w c"]]
    """stride * n + 1 frames to n + 1 normalised latent frames."""
    image: Callable[[UInt8[np.ndarray, "y x 3"]], Float[Array, "i e"]] | None = None
    """A picture to the tokens that the transformer reads, for models with an image encoder."""


class Conditioning:
    """The interface, as models with a clock per frame implement it."""

    name: ClassVar[str] = ""
    """In config.json."""
    frame_clocks: ClassVar[bool] = True
    """Whether latent frames have clocks of their own."""
    needs_first_frame: ClassVar[bool] = False
    """Whether the model can begin with nothing but a picture."""
    reads_frames: ClassVar[bool] = False
    """Whether a window of a film needs the frames of its fixed latents."""

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other)

    def __hash__(self) -> int:
        return hash(type(self))

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"

    def in_channels(self, latent_channels: int, stride: int) -> int:
        """Channels that the transformer reads; `stride` is the number of frames in a latent frame."""
        return latent_channels

    def last_frame_copies(self, stride: int) -> int:
        """How many copies of a picture make a tail of one frame: a latent frame of them, where latents are fixed."""
        return stride

    def supported(self, frames: ConditioningFrames) -> ConditioningFrames:
        """The part of these frames that the model can read."""
        return frames

    def inputs(
        self, frames: ConditioningFrames | None, shape: tuple[int, ...], stride: int, encoders: Encoders, name: str
    ) -> tuple[FixedLatents, ExtraInputs]:
        """Fixed latents of shape [b t h w c] and extra inputs for a clip. Raises BadRequest, naming the model, where it
        cannot read these frames."""
        known = no_fixed_frames(shape) if frames is None else fixed_latents(frames, shape, stride, encoders.latents)
        return known, ExtraInputs()

    def window_inputs(
        self, known: FixedLatents, frames: Frames, stride: int, encoders: Encoders
    ) -> tuple[FixedLatents, ExtraInputs]:
        """The same for a window of a film, whose fixed latents and their frames, [stride * n + 1 y x 3], exist."""
        return known, ExtraInputs()

    def initial(self, known: FixedLatents, noise: Latent) -> Latent:
        """The latents from which sampling begins; see `fixed_frames.initial`."""
        return fixed_frames.initial(known, noise, self.frame_clocks)

    def hold_fixed(self, velocity: Velocity, known: FixedLatents, noise: Latent) -> Velocity:
        """The velocity that holds fixed frames; see `fixed_frames.hold_fixed`."""
        return fixed_frames.hold_fixed(velocity, known, noise, self.frame_clocks)


class FrameClocks(Conditioning):
    """Fixed frames stand at time 0 of their own clocks. Trained by fixing random frames (`random_fixed_frames`)."""

    name = "clock"


class Replacement(Conditioning):
    """One clock for all frames: fixed frames follow their own straight path from noise to data beside the others
    (Lugmayr et al. 2022, eq. 8, in flow form). Needs no training."""

    name = "replaced"
    frame_clocks = False


class MaskChannels(Conditioning):
    """The transformer reads a mask and the latents of fixed frames on channels beside the noisy latents, and in some
    models the tokens of the first frame (Wan team 2025, section 5.1)."""

    name = "channels"
    frame_clocks = False
    needs_first_frame = True
    reads_frames = True

    def in_channels(self, latent_channels: int, stride: int) -> int:
        return 2 * latent_channels + stride

    def last_frame_copies(self, stride: int) -> int:
        return 1  # the mask is of pixel frames

    def supported(self, frames: ConditioningFrames) -> ConditioningFrames:
        """The head and the tail: the model has no clock at which a source clip could enter."""
        return replace(frames, source_clip=None, strength=1.0)

    def inputs(
        self, frames: ConditioningFrames | None, shape: tuple[int, ...], stride: int, encoders: Encoders, name: str
    ) -> tuple[FixedLatents, ExtraInputs]:
        if frames is None or frames.head is None or frames.source_clip is not None:
            raise BadRequest(
                f"{name} goes on from a picture, or from a clip's end: say --image, --extend, --between, --connect, "
                "--fill or --storyboard"
            )
        pixels, fixed = self._pixels(frames.head, frames.tail, (shape[1] - 1) * stride + 1)
        return no_fixed_frames(shape), self._extra(
            encoders.latents(pixels), fixed, stride, frames.head[0], shape[0], encoders
        )

    def window_inputs(
        self, known: FixedLatents, frames: Frames, stride: int, encoders: Encoders
    ) -> tuple[FixedLatents, ExtraInputs]:
        """As `inputs` with a head; the latents that exist take the places of encoded ones."""
        shape = known.latent.shape
        pixels, fixed = self._pixels(frames, None, (shape[1] - 1) * stride + 1)
        latents = np.where(known.mask[0][:, None, None, None], known.latent[0], encoders.latents(pixels))
        return no_fixed_frames(shape), self._extra(latents, fixed, stride, frames[0], shape[0], encoders)

    @staticmethod
    def _pixels(head: Frames, tail: Frames | None, count: int) -> tuple[Float[np.ndarray, "f y x 3"], Any]:
        """The clip in [-1, 1] with grey where nothing is fixed, and which of its frames are fixed."""
        pixels, fixed = np.zeros((count, *head.shape[1:]), np.float32), np.zeros(count, np.float32)
        pixels[: len(head)], fixed[: len(head)] = head / np.float32(127.5) - 1, 1
        if tail is not None:
            pixels[-len(tail) :], fixed[-len(tail) :] = tail / np.float32(127.5) - 1, 1
        return pixels, fixed

    @staticmethod
    def _extra(
        latents: Float[np.ndarray, "t h w c"],
        fixed: Any,
        stride: int,
        first: UInt8[np.ndarray, "y x 3"],
        b: int,
        encoders: Encoders,
    ) -> ExtraInputs:
        channels = mask_channels(jnp.asarray(latents)[None], fixed, stride)[0]
        image = None if encoders.image is None else encoders.image(first)
        return ExtraInputs(
            None if image is None else jnp.broadcast_to(image, (b, *image.shape)),
            jnp.broadcast_to(channels, (b, *channels.shape)),
        )


CONDITIONING: dict[str, Conditioning] = {kind.name: kind() for kind in (FrameClocks, MaskChannels, Replacement)}
"""By the name in config.json."""


def mask_channels(
    latents: Float[Array, "b t h w c"], fixed: Float[Any, " f"], stride: int
) -> Float[Array, "b t h w k"]:
    """Channels of an image-to-video model: for each latent frame the mask of its pixel frames (that of the first frame,
    which is alone, counts for all `stride` of its group), then latents of the clip with grey where nothing is fixed."""
    b, t, h, w, _ = latents.shape
    mask = jnp.concatenate([jnp.repeat(fixed[:1], stride), fixed[1:]]).reshape(1, t, 1, 1, stride)
    return jnp.concatenate([jnp.broadcast_to(mask, (b, t, h, w, stride)).astype(latents.dtype), latents], -1)


def fixed_latents(
    frames: ConditioningFrames,
    shape: tuple[int, ...],
    stride: int,
    encode: Callable[[Frames], Float[np.ndarray, "t h w c"]],
) -> FixedLatents:
    """Fixed frames in latents of shape [b t h w c], each latent frame `stride` frames but the first, which is one.

    A head and a tail replace the source clip's frames. The first few of a tail of stride * n + few frames belong to a
    latent frame that is not fixed, and are the encoder's past, so that it sees motion; with stride * n frames the past
    is still. Before that a still runs up, because latents at the beginning of a clip are unlike all others. `encode`
    turns stride * n + 1 frames into n + 1 latents.
    """
    _, t, h, w, _ = shape
    latent, mask = np.zeros(shape[1:], np.float32), np.zeros((t, h, w), bool)
    if frames.source_clip is not None:
        latent[:] = encode(frames.source_clip)
        if frames.region is not None:
            height, width = frames.region.shape
            rows, columns = -(-height // h), -(-width // w)
            region = np.pad(frames.region, ((0, h * rows - height), (0, w * columns - width)), "edge")
            mask[:] = ~region.reshape(h, rows, w, columns).any((1, 3))
    if frames.head is not None:
        head = encode(frames.head)
        latent[: len(head)], mask[: len(head)] = head, True
    if frames.tail is not None:
        count = len(frames.tail) // stride
        past = np.repeat(frames.tail[:1], stride * RUN_UP + (1 - len(frames.tail)) % stride, 0)
        latent[-count:], mask[-count:] = encode(np.concatenate([past, frames.tail]))[-count:], True
    known = mask if frames.region is not None else mask.all((1, 2))
    start = jnp.float32(frames.strength)
    return FixedLatents(jnp.broadcast_to(latent, shape), jnp.broadcast_to(known, (shape[0], *known.shape)), start)
