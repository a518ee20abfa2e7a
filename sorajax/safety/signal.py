"""The watermark's signal: waves that repeat in tiles, added to the luma of every frame, and how they are read back.

Lengths are in units: a frame has `units(h, w)` of them on its shorter side, so resizing changes no length. The signal

    q(y, x) = Re sum_k A_k C_k exp(2 pi i (k_y y + k_x x) / TILE),    LOW <= |k| <= HIGH

has one complex wave per frequency k, of learned amplitude A_k and of phase C_k, |C_k| = 1, which carries the message.
It repeats every TILE units, and any two thirds of a frame hold a whole tile. A mark is

    frame + strength * g q,     g: a learned gain, from the mean and the spread of luma in blocks.

The reader removes the picture from a frame (a linear filter, local contrast and a small convolutional network), and
correlates what is left, r, with each wave: F_k = sum r exp(-2 pi i ...). A shift of s units, as by a crop, turns each
F_k by exp(2 pi i k s / TILE).

All functions take numpy's or jax's arrays: `safety.watermark` uses the first, `training.objectives.watermark` the
second. `params` is {"amplitude", "weight", "gain", "reader"}, as `init` makes it.
"""

from typing import Any

import numpy as np
from jaxtyping import Complex, Float

TILE = 128
LOW, HIGH = 7.0, 14.0
K = int(HIGH)
SHAPE = (2 * K + 1, K + 1)
"""Waves are in arrays of this shape: k_y from -K to K, k_x from 0 to K."""
SIZES = ((176, 128), (352, 256), (2**31, 512))
"""(pixels, units): a frame whose shorter side is below so many pixels has so many units."""
PIXEL = 2
"""Units of a pixel of the reader."""
BLOCK = 8
"""Units of a block of the gain."""
WIDTH = 32
"""Channels of the reader."""
LAYERS = (1, 2, 4, 8, 1)
"""Dilations of the reader's layers."""
LUMA = (0.299, 0.587, 0.114)


def band() -> Float[np.ndarray, "y x"]:
    """1 for the frequencies in use, of which each pair k, -k is there once; 0 for others."""
    ky, kx = wave_numbers()
    size = np.hypot(ky, kx)
    return ((size >= LOW) & (size <= HIGH) & ((kx > 0) | (ky > 0))).astype(np.float32)


def wave_numbers() -> tuple[np.ndarray, np.ndarray]:
    """k_y and k_x of the arrays of waves."""
    ky, kx = np.meshgrid(np.arange(-K, K + 1), np.arange(K + 1), indexing="ij")
    return ky, kx


def units(height: int, width: int) -> int:
    """Units on the shorter side of a frame that is marked."""
    return next(number for below, number in SIZES if min(height, width) < below)


def waves(positions: Any, highest_first: bool) -> Any:
    """exp(2 pi i k position / TILE) [... positions, k]; k from -K where `highest_first`, else from 0."""
    xp = positions.__array_namespace__()
    angles = (2 * np.pi / TILE) * positions[..., None] * xp.arange(-K if highest_first else 0, K + 1)
    return xp.exp(1j * angles.astype(xp.float32))


def signal(params: Any, phases: Complex[Any, "*b y x"], y: Any, x: Any) -> Float[Any, "*b h w"]:
    """q at the positions y [h] and x [w], in units."""
    mixed = waves(y, True) @ (amplitude(params) * phases) @ waves(x, False).T
    return mixed.real


def amplitude(params: Any) -> Float[Any, "y x"]:
    """A, of root mean square 1 within the band."""
    xp = params["amplitude"].__array_namespace__()
    size = band() * xp.exp(params["amplitude"])
    return size * (band().sum() / (size**2).sum()) ** 0.5


def correlations(response: Float[Any, "*b h w"], y: Any, x: Any) -> Complex[Any, "*b y x"]:
    """F, from the reader's response to a frame with pixels at the positions y [*b h] and x [*b w]."""
    rows, columns = waves(-y, True), waves(-x, False)
    return rows.swapaxes(-1, -2) @ response @ columns * band()


def gain(params: Any, luma: Float[Any, "t h w"], size: float) -> Float[Any, "t h w"]:
    """g of each pixel, from 1/2 to 2. size: units of a pixel."""
    xp = luma.__array_namespace__()
    h, w = luma.shape[-2:]
    down = [pooling(n, max(1, round(n * size / BLOCK))) for n in (h, w)]
    mean, square = (down[0] @ part @ down[1].T for part in (luma, luma * luma))
    spread = xp.log(xp.maximum(square - mean * mean, 0) + 1)
    hidden = xp.stack([spread / 4 - 0.5, mean / 128 - 1], -1)
    hidden = xp.maximum(convolve(hidden, params["gain"]["in"]) + params["gain"]["bias"], 0)
    found = xp.exp(0.69 * xp.tanh(convolve(hidden, params["gain"]["out"])[..., 0]))
    up = [interpolation(len(one), n) for one, n in zip(down, (h, w), strict=True)]
    return up[0] @ found @ up[1].T


def response(params: Any, luma: Float[Any, "b h w"]) -> Float[Any, "b h w"]:
    """The reader's residual of frames, with the picture suppressed, divided by its local energy, so that places where
    much of the picture remains count little. luma: 0 to 255, in pixels of PIXEL units."""
    xp = luma.__array_namespace__()
    detail = luma - blur(luma, 4.0)
    contrast = xp.sqrt(blur(detail * detail, 6.0) + 0.25)
    plain = detail / contrast
    hidden = xp.stack([plain, detail / 8, xp.log(contrast) - 1], -1)
    reader = params["reader"]
    for number, dilation in enumerate(LAYERS):
        layer = reader[f"layer_{number}"]
        new = xp.maximum(convolve(hidden, layer["kernel"], dilation) + layer["bias"], 0)
        hidden = new + hidden if number else new
    left = blur(plain, 0.8) + (hidden @ reader["out"])[..., 0]
    left = blur(left, 0.8) - blur(left, 2.3)
    energy = blur(left * left, 3.5)
    return left / (energy / energy.mean((-2, -1), keepdims=True) + 0.1)


def convolve(x: Float[Any, "b h w c"], kernel: Float[Any, "3 3 c o"], dilation: int = 1) -> Float[Any, "b h w o"]:
    """A convolution of one size, with zeros outside, as one product of matrices."""
    xp, (_, h, w, _) = x.__array_namespace__(), x.shape
    padded = xp.pad(x, ((0, 0), (dilation,) * 2, (dilation,) * 2, (0, 0)))
    starts = [(i * dilation, j * dilation) for i in range(3) for j in range(3)]
    taps = [padded[:, top : top + h, left : left + w] for top, left in starts]
    return xp.concatenate(taps, -1) @ kernel.reshape(-1, kernel.shape[-1])


def blur(image: Float[Any, "*b h w"], sigma: float) -> Float[Any, "*b h w"]:
    """Convolution with a Gaussian, which is normalised at the border."""
    return gaussian(image.shape[-2], sigma) @ image @ gaussian(image.shape[-1], sigma).T


def gaussian(size: int, sigma: float) -> Float[np.ndarray, "n n"]:
    """The matrix that blurs a row."""
    distance = np.subtract.outer(np.arange(size), np.arange(size))
    weight = np.exp(-0.5 * np.square(distance / sigma))
    return (weight / weight.sum(1, keepdims=True)).astype(np.float32)


def pooling(size: int, blocks: int) -> Float[np.ndarray, "blocks n"]:
    """The matrix that averages a row of `size` pixels in blocks."""
    edges = np.linspace(0, size, blocks + 1)
    pixels = np.arange(size)
    share = np.clip(np.minimum(edges[1:, None], pixels + 1) - np.maximum(edges[:-1, None], pixels), 0, 1)
    return (share / share.sum(1, keepdims=True)).astype(np.float32)


def interpolation(blocks: int, size: int) -> Float[np.ndarray, "n blocks"]:
    """The matrix that interpolates a row of blocks linearly to `size` pixels."""
    places = np.clip((np.arange(size) + 0.5) * blocks / size - 0.5, 0, blocks - 1)
    return np.maximum(1 - np.abs(places[:, None] - np.arange(blocks)), 0).astype(np.float32)


def resampling(xp: Any, size: int, first: Any, step: Any, number: int, width: Any = 0.0) -> Float[Any, "number n"]:
    """The matrix that resamples a row of `size` pixels at first + (i + 1/2) step, with a triangle of at least `width`
    pixels and at least one step of half width."""
    places = first + (xp.arange(number) + 0.5) * step - 0.5
    half = xp.maximum(xp.maximum(step, width), 1.0)
    weight = xp.maximum(1 - xp.abs(places[:, None] - xp.arange(size)) / half, 0)
    return (weight / weight.sum(1, keepdims=True)).astype(xp.float32)


def init(rng: np.random.Generator) -> dict[str, Any]:
    """The initial parameters: all amplitudes and gains equal, and a network whose output is zero."""

    def kernel(inside: int, outside: int) -> np.ndarray:
        return rng.normal(0, (2 / (9 * inside)) ** 0.5, (3, 3, inside, outside)).astype(np.float32)

    def layer(number: int) -> dict[str, np.ndarray]:
        made = kernel(WIDTH if number else 3, WIDTH)
        return {"kernel": made * (0.5 if number else 1), "bias": np.zeros(WIDTH, np.float32)}

    reader: dict[str, Any] = {f"layer_{number}": layer(number) for number in range(len(LAYERS))}
    gains = {"in": kernel(2, 8), "bias": np.zeros(8, np.float32), "out": np.zeros((3, 3, 8, 1), np.float32)}
    return {
        "amplitude": np.zeros(SHAPE, np.float32),
        "weight": np.zeros(SHAPE, np.float32),
        "gain": gains,
        "reader": {**reader, "out": np.zeros((WIDTH, 1), np.float32)},
    }
