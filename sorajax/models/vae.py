"""The causal video autoencoder: pixels <-> latents, whole or streamed.

    latent = (mean(video) - config.mean) / config.std          video = decode(latent)

Temporal convolutions are causal, so latent frame 0 encodes pixel frame 0 alone and each further one the next group of
frames (four, at the open models' strides): 4n+1 frames <-> n+1 latent frames. A module maps `(x, cache)` to
`(y, cache)`. The cache holds the last input frames of every temporal convolution; an empty one (`{}`) means that x
starts the video. Carrying it through `lax.scan` gives the same result as one pass over the whole video.

Weight-compatible, by config, with the Wan 2.1 autoencoder (Wan team 2025, section 4.1) and with the Wan 2.2 one of
higher compression, whose shortcuts are those of DC-AE (Chen et al. 2024, section 3.1).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from einops import rearrange
from jaxtyping import Array, Float

from sorajax.devices.sharding import BATCH, other_axes, shard
from sorajax.models.attention import attend
from sorajax.models.layers import ChannelNorm, Dense, Module, convolve

Cache = Mapping[str, Any]
SAME = ((1, 1), (1, 1))


@dataclasses.dataclass(frozen=True)
class VAEConfig:
    """Shape of an autoencoder; the defaults are Wan 2.1. Raises ValueError where the lengths of fields do not agree."""

    base: int = 96
    """Channels of the first level."""
    multipliers: tuple[int, ...] = (1, 2, 4, 4)
    """Channels of each level, in units of `base`."""
    strides: tuple[tuple[int, int], ...] = ((1, 2), (2, 2), (2, 2))
    """(temporal, spatial) stride after each level but the last: 1 or 2 each."""
    residual_blocks: int = 2
    """Residual blocks per encoder level; a decoder level has one more."""
    decoder_base: int = 0
    """`base` of the decoder; 0: the same as `base`."""
    shortcuts: bool = False
    """Wan 2.2's form: each level has a parameter-free shortcut, which averages in the encoder and repeats in the
    decoder, and up-sampling keeps the number of channels instead of halving it."""
    pixel_patch: int = 1
    """Side of the square pixel patches that are first moved into channels."""
    latent_channels: int = 16
    mean: tuple[float, ...] = ()
    """Per-channel mean of raw latents over the training data; empty: zero."""
    std: tuple[float, ...] = ()
    """Per-channel standard deviation of raw latents; empty: one."""
    dtype: str = "float32"
    """Compute dtype of the convolutions."""

    def __post_init__(self):
        if len(self.strides) != len(self.multipliers) - 1:
            raise ValueError(
                f"{len(self.multipliers)} levels need {len(self.multipliers) - 1} strides, "
                f"not {len(self.strides)}: set `strides` between the levels of `multipliers`"
            )
        for name in ("mean", "std"):
            if len(getattr(self, name)) not in (0, self.latent_channels):
                raise ValueError(
                    f"`{name}` has {len(getattr(self, name))} values for {self.latent_channels} latent "
                    "channels: give one per channel, or none"
                )

    @property
    def stride(self) -> tuple[int, int, int]:
        """Pixels per latent position along (time, rows, columns)."""
        time, space = (int(np.prod([s[axis] for s in self.strides])) for axis in (0, 1))
        return time, space * self.pixel_patch, space * self.pixel_patch

    def latent_shape(self, frames: int, height: int, width: int) -> tuple[int, int, int, int]:
        """Latent shape (t, h, w, c) of a clip of this size in pixels. Raises ValueError where strides do not fit."""
        time, rows, columns = self.stride
        if frames < 1 or (frames - 1) % time:
            near = max(round((frames - 1) / time), 0) * time + 1
            raise ValueError(f"{frames} frames cannot be encoded: the VAE takes {time}n+1, e.g. {near}")
        for name, size, unit in (("height", height, rows), ("width", width, columns)):
            if size < unit or size % unit:
                raise ValueError(
                    f"{name} {size} cannot be encoded: the VAE takes multiples of {unit}, "
                    f"e.g. {max(round(size / unit), 1) * unit}"
                )
        return (frames - 1) // time + 1, height // rows, width // columns, self.latent_channels


class CausalConv(Module):
    """Causal convolution: output frame t depends on input frames t - kt + 1 .. t; zero padding before the first."""

    features: int
    kernel: tuple[int, int, int] = (3, 3, 3)

    @nn.compact
    def __call__(self, x: Float[Array, "b t h w c"], cache: Array | None):
        kernel, bias = conv_parameters(self, self.kernel, x.shape[-1], self.features)
        padded_frames = self.kernel[0] - 1
        if padded_frames:
            previous = jnp.zeros((x.shape[0], padded_frames, *x.shape[2:]), x.dtype) if cache is None else cache
            x = jnp.concatenate([previous, x], 1)
        rows, columns = self.kernel[1] // 2, self.kernel[2] // 2
        y = convolve(x, kernel, padding=((rows, rows), (columns, columns))) + bias.astype(x.dtype)
        return y, x[:, x.shape[1] - padded_frames :]


def conv_parameters(module: nn.Module, window: tuple[int, int, int], inputs: int, outputs: int):
    """Kernel (kt, kh, kw, inputs, outputs) and bias (outputs,) of a convolution, as `module`'s parameters."""
    kernel = module.param("kernel", nn.initializers.lecun_normal(in_axis=(0, 1, 2, 3)), (*window, inputs, outputs))
    return kernel, module.param("bias", nn.initializers.zeros, (outputs,))


class FrameConv(Module):
    """2-D convolution of each frame."""

    features: int
    kernel: int = 3
    stride: int = 1
    padding: tuple[tuple[int, int], tuple[int, int]] = SAME

    @nn.compact
    def __call__(self, x: Float[Array, "b t h w c"]) -> Float[Array, "b t h2 w2 o"]:
        kernel, bias = conv_parameters(self, (1, self.kernel, self.kernel), x.shape[-1], self.features)
        return convolve(x, kernel, (1, self.stride, self.stride), self.padding) + bias.astype(x.dtype)


class TimeDown(Module):
    """Halves the frame rate: frame 0 is unchanged; each later pair of frames, and the frame before it, give one."""

    @nn.compact
    def __call__(self, x: Float[Array, "b t h w c"], cache: Array | None):
        kernel, bias = conv_parameters(self, (3, 1, 1), x.shape[-1], x.shape[-1])
        inputs = x if cache is None else jnp.concatenate([cache, x], 1)
        frames = [x[:, :1]] if cache is None else []
        if inputs.shape[1] > 1:
            frames.append(convolve(inputs, kernel, (2, 1, 1)) + bias.astype(x.dtype))
        return jnp.concatenate(frames, 1), x[:, -1:]


class TimeUp(Module):
    """Doubles the frame rate: the video's first frame is unchanged, each later one becomes two."""

    @nn.compact
    def __call__(self, x: Float[Array, "b t h w c"], cache: Array | None):
        c = x.shape[-1]
        kernel, bias = conv_parameters(self, (3, 1, 1), c, 2 * c)
        start = cache is None
        later = x[:, 1:] if start else x
        previous = jnp.zeros((len(x), 2, *x.shape[2:]), x.dtype) if cache is None else cache
        inputs = jnp.concatenate([previous, later], 1)
        frames = [x[:, :1]] if start else []
        if later.shape[1]:
            doubled = convolve(inputs, kernel) + bias.astype(x.dtype)
            frames.append(rearrange(doubled, "b t h w (two c) -> b (t two) h w c", two=2))
        return jnp.concatenate(frames, 1), inputs[:, -2:]


class Residual(Module):
    """Residual block: norm, SiLU and causal convolution, twice, plus a shortcut."""

    features: int

    @nn.compact
    def __call__(self, x: Float[Array, "b t h w c"], cache: Cache):
        new: dict[str, Any] = {}
        y = nn.silu(ChannelNorm(name="norm1")(x))
        y, new["conv1"] = CausalConv(self.features, name="conv1")(y, cache.get("conv1"))
        y = nn.silu(ChannelNorm(name="norm2")(y))
        y, new["conv2"] = CausalConv(self.features, name="conv2")(y, cache.get("conv2"))
        if x.shape[-1] != self.features:
            x, _ = CausalConv(self.features, (1, 1, 1), name="shortcut")(x, None)
        return x + y, new


class FrameAttention(Module):
    """Single-head self-attention over the positions of each frame."""

    @nn.compact
    def __call__(self, x: Float[Array, "b t h w c"]) -> Float[Array, "b t h w c"]:
        b, t, h, w, c = x.shape
        y = ChannelNorm(name="norm")(x)
        qkv = Dense(3 * c, dtype=x.dtype, name="qkv")(y).reshape(b * t, h * w, 1, 3 * c)
        q, k, v = jnp.split(qkv, 3, -1)
        q = shard(q, BATCH, other_axes(len(q)))
        k, v = (shard(a, BATCH) for a in (k, v))
        y = attend(q, k, v).reshape(x.shape)
        return x + Dense(c, dtype=x.dtype, name="out")(y)


class Middle(Module):
    """Residual block, attention, residual block, at the lowest resolution."""

    @nn.compact
    def __call__(self, x: Float[Array, "b t h w c"], cache: Cache):
        new: dict[str, Any] = {}
        x, new["first"] = Residual(x.shape[-1], name="first")(x, cache.get("first", {}))
        x = FrameAttention(name="attention")(x)
        x, new["second"] = Residual(x.shape[-1], name="second")(x, cache.get("second", {}))
        return x, new


def average_down(x: Float[Array, "b t h w c"], features: int, time: int, space: int) -> Float[Array, "b t2 h2 w2 o"]:
    """The encoder's parameter-free shortcut: moves blocks of (time, space, space) into channels and averages groups of
    neighbouring channels (DC-AE, Chen et al. 2024, section 3.1).

    A clip's first frame forms a block with zeros before it.
    """
    x = jnp.pad(x, ((0, 0), (-x.shape[1] % time, 0), (0, 0), (0, 0), (0, 0)))
    x = rearrange(x, "b (t p) (h q) (w r) c -> b t h w (c p q r)", p=time, q=space, r=space)
    return jnp.mean(x.reshape(*x.shape[:-1], features, -1), -1)


def repeat_up(
    x: Float[Array, "b t h w c"], features: int, time: int, space: int, starts: bool
) -> Float[Array, "b t2 h2 w2 o"]:
    """The weightless way up, the reverse: channels are repeated and become blocks; a video's first frame stays one."""
    x = jnp.repeat(x, features * time * space * space // x.shape[-1], -1)
    x = rearrange(x, "b t h w (c p q r) -> b (t p) (h q) (w r) c", p=time, q=space, r=space)
    return x[:, time - 1 :] if starts else x


class Encoder(Module):
    config: VAEConfig

    @nn.compact
    def __call__(self, video: Float[Array, "b t y x 3"], cache: Cache):
        """Pixels in [-1, 1] -> (mean and log-variance on the channels [b t h w 2c], cache)."""
        config = self.config
        new: dict[str, Any] = {}
        q = config.pixel_patch
        x = rearrange(video.astype(config.dtype), "b t (h q) (w r) c -> b t h w (c r q)", q=q, r=q)
        x, new["conv_in"] = CausalConv(config.base, name="conv_in")(x, cache.get("conv_in"))
        for level, multiplier in enumerate(config.multipliers):
            before, time, space = x, 1, 1
            for block in range(config.residual_blocks):
                name = f"level{level}_block{block}"
                x, new[name] = Residual(config.base * multiplier, name=name)(x, cache.get(name, {}))
            if level < len(config.strides):
                time, space = config.strides[level]
                if space == 2:
                    x = FrameConv(x.shape[-1], stride=2, padding=((0, 1), (0, 1)), name=f"level{level}_space")(x)
                if time == 2:
                    name = f"level{level}_time"
                    x, new[name] = TimeDown(name=name)(x, cache.get(name))
            if config.shortcuts:
                x = x + average_down(before, x.shape[-1], time, space)
        x, new["middle"] = Middle(name="middle")(x, cache.get("middle", {}))
        x = nn.silu(ChannelNorm(name="norm_out")(x))
        x, new["conv_out"] = CausalConv(2 * config.latent_channels, name="conv_out")(x, cache.get("conv_out"))
        return Dense(2 * config.latent_channels, dtype=x.dtype, name="moments")(x), new


class Decoder(Module):
    """The decoder, or some of its stages in a row: 0 is the input and the middle, then each level, the last the output.

    All stages have their parameters and their part of the cache under the same names as in the whole.
    """

    config: VAEConfig
    first: int = 0
    stop: int | None = None
    """The first stage that is computed, and the first after them; None: all that follow."""

    @nn.compact
    def __call__(self, x: Float[Array, "b t h w c"], cache: Cache):
        """Raw latents -> (pixels, about [-1, 1], [b T H W 3], cache). Between stages x are features."""
        levels = reversed(range(len(self.config.multipliers)))
        stages: list[Callable] = [self.begin, *(partial(self.level, level) for level in levels), self.end]
        new: dict[str, Any] = {}
        for stage in stages[self.first : self.stop]:
            x = stage(x, cache, new)
        return x, new

    @nn.nowrap
    def begin(self, z: Float[Array, "b t h w c"], cache: Cache, new: dict[str, Any]) -> Float[Array, "b t h w o"]:
        """Latents -> features of the lowest resolution."""
        config = self.config
        x = Dense(config.latent_channels, dtype=config.dtype, name="latent")(z.astype(config.dtype))
        features = (config.decoder_base or config.base) * config.multipliers[-1]
        x, new["conv_in"] = CausalConv(features, name="conv_in")(x, cache.get("conv_in"))
        x, new["middle"] = Middle(name="middle")(x, cache.get("middle", {}))
        return x

    @nn.nowrap
    def level(
        self, level: int, x: Float[Array, "b t h w c"], cache: Cache, new: dict[str, Any]
    ) -> Float[Array, "b t2 h2 w2 o"]:
        """Features of one level -> those of the next, of higher resolution."""
        config, before = self.config, x
        for block in range(config.residual_blocks + 1):
            name = f"level{level}_block{block}"
            features = (config.decoder_base or config.base) * config.multipliers[level]
            x, new[name] = Residual(features, name=name)(x, cache.get(name, {}))
        if level == 0:
            return x
        time, space = config.strides[level - 1]
        if time == 2:
            name = f"level{level}_time"
            x, new[name] = TimeUp(name=name)(x, cache.get(name))
        if space == 2:
            x = x.repeat(2, 2).repeat(2, 3)
            features = x.shape[-1] if config.shortcuts else x.shape[-1] // 2
            x = FrameConv(features, name=f"level{level}_space")(x)
        return x + repeat_up(before, x.shape[-1], time, space, starts=not cache) if config.shortcuts else x

    @nn.nowrap
    def end(self, x: Float[Array, "b t h w c"], cache: Cache, new: dict[str, Any]) -> Float[Array, "b t y x 3"]:
        """Features of the highest resolution -> pixels."""
        x, q = nn.silu(ChannelNorm(name="norm_out")(x)), self.config.pixel_patch
        x, new["conv_out"] = CausalConv(3 * q * q, name="conv_out")(x, cache.get("conv_out"))
        return rearrange(x, "b t h w (c r q) -> b t (h q) (w r) c", q=q, r=q)


class VAE(Module):
    """Encoder and decoder under one parameter tree {"encoder", "decoder"}."""

    config: VAEConfig

    def setup(self):
        self.encoder = Encoder(self.config)
        self.decoder = Decoder(self.config)

    def __call__(self, video: Float[Array, "b t y x 3"]) -> Float[Array, "b t y x 3"]:
        """Reconstruction from the posterior's mean; uses every parameter, for `init`."""
        return self.decode(self.encode(video))

    def moments(self, video: Float[Array, "b t y x 3"]):
        """Pixels in [-1, 1] -> posterior mean and log-variance [b t h w c], raw, float32."""
        moments, _ = self.encoder(video, {})
        mean, log_variance = jnp.split(moments.astype(jnp.float32), 2, -1)
        return mean, jnp.clip(log_variance, -30.0, 20.0)

    def encode(self, video: Float[Array, "b t y x 3"]) -> Float[Array, "b t h w c"]:
        """Pixels in [-1, 1], 4n+1 frames at a temporal stride of 4 -> normalised latents (posterior mean), float32."""
        return normalise(self.moments(video)[0], self.config)

    def decode(self, latent: Float[Array, "b t h w c"]) -> Float[Array, "b t y x 3"]:
        """Normalised latents -> pixels clipped to [-1, 1], float32."""
        return self.decode_part(latent, {})[0]

    def encode_part(self, video, cache: Cache):
        """One step of streamed encoding: first frame 0 alone with `{}`, then groups of one temporal stride each."""
        moments, cache = self.encoder(video, cache)
        return normalise(jnp.split(moments.astype(jnp.float32), 2, -1)[0], self.config), cache

    def decode_part(self, latent, cache: Cache):
        """One step of streamed decoding: any number of latent frames; `{}` starts the video."""
        video, cache = self.decoder(denormalise(latent, self.config), cache)
        return jnp.clip(video.astype(jnp.float32), -1.0, 1.0), cache


def normalise(raw: Float[Array, "... c"], config: VAEConfig) -> Float[Array, "... c"]:
    """Raw latents -> latents of zero mean and unit variance per channel, (raw - mean) / std."""
    return (raw - jnp.array(config.mean or 0.0)) / jnp.array(config.std or 1.0)


def denormalise(latent: Float[Array, "... c"], config: VAEConfig) -> Float[Array, "... c"]:
    """The inverse of `normalise`."""
    return latent * jnp.array(config.std or 1.0) + jnp.array(config.mean or 0.0)


def stream_encode(params, config: VAEConfig, video: Float[Array, "b t y x 3"]) -> Float[Array, "b t2 h w c"]:
    """As `VAE.encode`, one temporal stride at a time in a `lax.scan`, with the activations of one group in memory."""
    part = partial(VAE(config).apply, {"params": params}, method="encode_part")
    first, cache = part(video[:, :1], {})
    groups = rearrange(video[:, 1:], "b (n t) y x c -> n b t y x c", t=config.stride[0])
    _, later = jax.lax.scan(lambda cache, group: part(group, cache)[::-1], cache, groups)
    return jnp.concatenate([first, rearrange(later, "n b t h w c -> b (n t) h w c")], 1)


def stream_decode(params, config: VAEConfig, latent: Float[Array, "b t h w c"]) -> Float[Array, "b t2 y x 3"]:
    """As `VAE.decode`, one latent frame at a time in a `lax.scan`, with the activations of one in memory."""
    part = partial(VAE(config).apply, {"params": params}, method="decode_part")
    first, cache = part(latent[:, :1], {})
    _, later = jax.lax.scan(
        lambda cache, z: part(z[:, None], cache)[::-1], cache, rearrange(latent[:, 1:], "b t h w c -> t b h w c")
    )
    return jnp.concatenate([first, rearrange(later, "n b t y x c -> b (n t) y x c")], 1)
