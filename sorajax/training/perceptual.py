"""Perceptual distances between a reconstruction and its video, without trained networks or downloads.

    cs(x, y) = (2 cov(x, y) + C2) / (var x + var y + C2)        l(x, y) = (2 mx my + C1) / (mx^2 + my^2 + C1)
    structure = 1 - mean over scales of cs, and of l * cs at the last
    flicker   = | (y[t + 1] - y[t]) - (x[t + 1] - x[t]) |

Moments are taken under a Gaussian window (Wang et al. 2004, eqs. 6 and 9), on scales that halve (Wang, Simoncelli &
Bovik 2003, section 3). An l1 error forgives blur, because little amplitude lies in fine texture. `cs` measures an error
against the contrast around it, as the eye does: what fades or is invented in a quiet place costs as much as at an
edge. Zhao et al. 2017 found l1 with it the best of the losses without a network. Two departures from the 2003 paper:

- scales are averaged, not multiplied: a product of powers has no gradient where structures disagree, as they do early
- equally: its weights were fitted to one distance from the screen, and a sample is looked at enlarged

`structure` sees each frame by itself; `flicker` sees what frames do in time. Pixels are in [-1, 1], a range of 2.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

RANGE = 2.0
C1, C2 = (0.01 * RANGE) ** 2, (0.03 * RANGE) ** 2
WINDOW, SIGMA = 11, 1.5
SCALES = 5

Features = Callable[[Float[Array, "b t h w 3"]], Any]
"""Clips -> a pytree of feature maps, channels last: a network of the user's own."""


def structure(video: Float[Array, "b t h w c"], made: Float[Array, "b t h w c"]) -> Float[Array, ""]:
    """Distance of structure in [0, 2]: 0 for equal clips, 1 for unrelated ones. As many of 5 scales as fit a window."""
    scales = 1
    while scales < SCALES and min(video.shape[2:4]) >> scales >= WINDOW:
        scales += 1
    total = jnp.float32(0)
    for scale in range(scales):
        if scale:
            video, made = halved(video), halved(made)
        luminance, contrast = similarity(video, made)
        total += 1 - jnp.mean(contrast if scale < scales - 1 else luminance * contrast)
    return total / scales


def ssim(video: Float[Array, "b t h w c"], made: Float[Array, "b t h w c"]) -> Float[Array, " b"]:
    """Structural similarity of each clip, the mean over frames and channels (Wang et al. 2004, eq. 13); 1 if equal."""
    luminance, contrast = similarity(video, made)
    return jnp.mean(luminance * contrast, axis=(1, 2, 3, 4))


def flicker(video: Float[Array, "b t h w c"], made: Float[Array, "b t h w c"]) -> Float[Array, " b"]:
    """Mean absolute difference of each clip between the reconstruction's changes from frame to frame and the video's,
    in [-1, 1] units; 0 for an image."""
    if video.shape[1] == 1:
        return jnp.zeros(video.shape[0])
    return jnp.mean(jnp.abs(jnp.diff(made, axis=1) - jnp.diff(video, axis=1)), axis=(1, 2, 3, 4))


def feature_distance(
    features: Features, video: Float[Array, "b t h w 3"], made: Float[Array, "b t h w 3"]
) -> Float[Array, ""]:
    """Squared difference of unit-length features, summed over layers (Zhang et al. 2018, eq. 1, with equal weights)."""

    def unit(x: Float[Array, "... c"]) -> Float[Array, "... c"]:
        return x * jax.lax.rsqrt(jnp.sum(jnp.square(x), -1, keepdims=True) + 1e-10)

    pairs = zip(jax.tree.leaves(features(video)), jax.tree.leaves(features(made)), strict=True)
    return sum((jnp.mean(jnp.sum(jnp.square(unit(x) - unit(y)), -1)) for x, y in pairs), jnp.float32(0))


def similarity(
    x: Float[Array, "b t h w c"], y: Float[Array, "b t h w c"]
) -> tuple[Float[Array, "b t h2 w2 c"], Float[Array, "b t h2 w2 c"]]:
    """Luminance, and contrast with structure, wherever the window lies inside the frame."""
    x, y = x.astype(jnp.float32), y.astype(jnp.float32)
    moments = blurred(jnp.concatenate([x, y, x * x, y * y, x * y]))
    mean_x, mean_y, square_x, square_y, product = jnp.split(moments, 5)
    variance_x, variance_y = square_x - mean_x * mean_x, square_y - mean_y * mean_y
    covariance = product - mean_x * mean_y
    light_x, light_y = mean_x + 1, mean_y + 1  # no longer signed: black is 0
    luminance = (2 * light_x * light_y + C1) / (light_x * light_x + light_y * light_y + C1)
    return luminance, (2 * covariance + C2) / (variance_x + variance_y + C2)


def blurred(x: Float[Array, "b t h w c"]) -> Float[Array, "b t h2 w2 c"]:
    """Under the Gaussian window, which shrinks to frames that are smaller than it.

    Each axis is one product with a band matrix: depthwise convolutions are slow on every backend, and variances, small
    differences of large numbers, need its full float32 precision.
    """
    rows, columns = band(x.shape[2]), band(x.shape[3])
    x = jnp.einsum("bthwc,hr->btrwc", x, rows, precision="highest")
    return jnp.einsum("bthwc,wr->bthrc", x, columns, precision="highest")


def band(size: int) -> Float[Array, "size places"]:
    """The window at each of its places along an axis, as columns that sum to 1."""
    taps = min(WINDOW, size)
    offset = jnp.arange(size)[:, None] - jnp.arange(size - taps + 1)
    weight = jnp.exp(-jnp.square((offset - (taps - 1) / 2) / SIGMA) / 2) * ((offset >= 0) & (offset < taps))
    return weight / jnp.sum(weight, 0)


def halved(x: Float[Array, "b t h w c"]) -> Float[Array, "b t h2 w2 c"]:
    """Half the rows and columns, each the mean of two; an odd last one is left out."""
    b, t, h, w, c = x.shape
    x = x[:, :, : h // 2 * 2, : w // 2 * 2]
    return jnp.mean(x.reshape(b, t, h // 2, 2, w // 2, 2, c), axis=(3, 5))


def psnr(error: Float[Array, "b t h w c"]) -> Float[Array, ""]:
    """Peak signal-to-noise ratio in dB of an error in [-1, 1] units, the mean over clips."""
    return jnp.mean(-10 * jnp.log10(jnp.mean(jnp.square(error), axis=(1, 2, 3, 4)) / 4 + 1e-10))


def quality(video: Float[Array, "b t h w c"], made: Float[Array, "b t h w c"]) -> dict[str, Float[Array, ""]]:
    """PSNR, SSIM and, of more than one frame, flicker: means over clips in [-1, 1]."""
    found = {"psnr": psnr(made - video), "ssim": jnp.mean(ssim(video, made))}
    return found if video.shape[1] == 1 else found | {"flicker": jnp.mean(flicker(video, made))}


def texture_loss(
    weights: Any, video: Float[Array, "b t h w 3"], made: Float[Array, "b t h w 3"], features: Any
) -> tuple[Float[Array, ""], dict[str, Float[Array, ""]]]:
    """The loss of texture that l1 blurs in real video: the sum of `weights.structure`, `.flicker` and `.features` times
    each distance, and the distances. Terms without a weight are not computed."""
    found: dict[str, Float[Array, ""]] = {}
    if weights.structure:
        found["structure"] = structure(video, made)
    if weights.flicker:
        found["flicker"] = jnp.mean(flicker(video, made))
    if weights.features:
        found["features"] = feature_distance(features, video, made)
    return sum((getattr(weights, name) * value for name, value in found.items()), jnp.float32(0)), found
