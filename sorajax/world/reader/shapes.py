"""Shape, position, size and angle of one object from its alpha.

Moments give an initial pose (the area determines the radius; the phase of the 3rd, 4th or 5th angular moment the angle
of triangle, box and star). Then templates of the five shapes in three looks at a few radii are compared with the alpha.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from scipy import ndimage

from sorajax.world.draw import distance, ink
from sorajax.world.physics import BOX, CORNER

FILL, OUTLINE, GLOW = range(3)
FOLDS = (0, 4, 3, 5, 0)  # rotational symmetry of ball, box, triangle, star, ring
# Area of a shape of radius 1, with the hole filled.
AREAS = np.array(
    (np.pi, 4 * BOX**2, 3 * 3**0.5 / 4 * CORNER**2, 5 * CORNER**2 / 2 * np.sin(np.pi / 5), np.pi), np.float32
)
SCALES = np.array((0.84, 0.9, 0.96, 1.02, 1.08, 1.15), np.float32)
# Angle of the first corner (radians, y down) of an upright shape, whose phase the angular moment measures.
UPRIGHT = np.array((0, np.pi / 4, -np.pi / 2, -np.pi / 2, 0), np.float32)


class Poses(NamedTuple):
    """Poses from moments, per frame and for each shape hypothesis."""

    centre: Float[np.ndarray, "t two"]  # units, the origin at the frame's centre
    radius: Float[np.ndarray, "t shape"]
    angle: Float[np.ndarray, "t shape"]
    strength: Float[np.ndarray, "t shape"]  # of the angular moment, 0 to 1


def grid(height: int, width: int):
    """Pixel centres x [w] and y [h] in units."""
    unit = min(height, width)
    return (np.arange(width) + 0.5 - width / 2) / unit, (np.arange(height) + 0.5 - height / 2) / unit


def poses(alpha: Float[np.ndarray, "t h w"], present) -> Poses:
    """Poses from the moments of the filled silhouettes; zero where the object is not present."""
    t, h, w = alpha.shape
    x_axis, y_axis = grid(h, w)
    unit = min(h, w)
    centre, radius = np.zeros((t, 2)), np.full((t, 5), 1e-3)
    angle, strength = np.zeros((t, 5)), np.zeros((t, 5))
    bodies = _bodies(alpha)
    for i in np.flatnonzero(present):
        rows, columns = (np.flatnonzero((bodies[i] > 0).any(axis)) for axis in (1, 0))
        if not len(rows):
            continue
        box = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
        body, y, x = bodies[i][box], y_axis[box[0]], x_axis[box[1]]
        total = body.sum()
        if total < 3:
            continue
        cx, cy = (body.sum(0) * x).sum() / total, (body.sum(1) * y).sum() / total
        centre[i] = cx, cy
        radius[i] = np.sqrt(total / unit**2 / AREAS)
        z = (x[None, :] - cx) + 1j * (y[:, None] - cy)
        for shape, fold in enumerate(FOLDS):
            if fold:
                moment = (body * z**fold).sum() / max((body * np.abs(z) ** fold).sum(), 1e-9)
                angle[i, shape] = (np.angle(moment) / fold - UPRIGHT[shape]) % (2 * np.pi / fold)
                strength[i, shape] = np.abs(moment)
    return Poses(centre, radius, angle, strength)


def _bodies(alpha: Float[np.ndarray, "t h w"]) -> Float[np.ndarray, "t h w"]:
    """Silhouettes with filled holes: 1 inside, fractional at the contour, 0 outside."""
    near, around = ndimage.generate_binary_structure(3, 1), np.ones((1, 3, 3), bool)
    near[[0, 2]] = False  # neighbours in the same frame only
    ranked = np.sort(np.where(alpha > 0.2, alpha, np.inf).reshape(len(alpha), -1), 1)
    ninth = (0.9 * (np.isfinite(ranked).sum(1) - 1)).clip(0).astype(int)
    peak = np.take_along_axis(ranked, ninth[:, None], 1)
    peak = np.where(np.isfinite(peak), np.maximum(peak, 0.3), 1)[..., None]
    solid = np.clip(alpha / peak, 0, 1)
    ink = solid > 0.45
    padded = np.pad(ink, ((0, 0), (2, 2), (2, 2)))
    closed = ndimage.binary_closing(padded, near)[:, 2:-2, 2:-2] | ink
    filled = ndimage.binary_fill_holes(closed, near)
    core, rim = ndimage.binary_erosion(filled, near), ndimage.binary_dilation(filled, around)
    return np.where(rim, np.where(filled & ((solid < 0.45) | core), 1.0, solid), 0.0)


@partial(jax.jit, static_argnames=("height", "width"))
def _errors(alpha, centre, radius, angle, height: int, width: int) -> Float[Array, "look shape scale t"]:
    """Squared error of every template (look, shape, scale) per frame, relative to the object's squared alpha."""
    unit = min(height, width)
    x, y = (jnp.asarray(axis, jnp.float32) for axis in grid(height, width))
    alpha = jnp.clip(alpha, 0, 1)
    weight = jnp.square(alpha).sum((1, 2)) + 1e-6
    dx, dy = x[None, None, :] - centre[:, 0, None, None], y[None, :, None] - centre[:, 1, None, None]

    def template_errors(shape, scale):
        cosine, sine = (f(angle[:, shape])[:, None, None] for f in (jnp.cos, jnp.sin))
        size = (radius[:, shape] * scale)[:, None, None]
        gap = distance(shape, cosine * dx + sine * dy, cosine * dy - sine * dx, size)
        return jnp.stack([jnp.square(alpha - ink(look, gap, unit)).sum((1, 2)) / weight for look in range(3)])

    # The shape is a Python number here, so that only its own distance function is computed.
    errors = [jax.lax.map(partial(template_errors, shape), jnp.asarray(SCALES)) for shape in range(len(FOLDS))]
    return jnp.stack(errors).transpose(2, 0, 1, 3)


class Fit(NamedTuple):
    """Mean error of each look and shape at its best scale, and that scale."""

    error: Float[np.ndarray, "look shape"]
    scale: Float[np.ndarray, "look shape"]


CHECKED = 6


def fit(alpha: Float[np.ndarray, "t h w"], pose: Poses, usable) -> Fit:
    """Fits all templates to six of the usable frames, spread over the clip."""
    frames = np.flatnonzero(usable)
    # Large shapes are easier to classify: uses the half of the frames where the object is largest.
    large = frames[np.argsort(-pose.radius[frames, 0])][: max(CHECKED, len(frames) // 2)]
    selected = np.sort(large)[np.linspace(0, len(large) - 1, CHECKED).round().astype(int)]
    arrays = (alpha[selected], pose.centre[selected], pose.radius[selected], pose.angle[selected])
    errors = np.asarray(_errors(*(a.astype(np.float32) for a in arrays), *alpha.shape[1:]))
    error = errors.mean(-1)  # look shape scale
    best = error.argmin(-1)
    return Fit(error.min(-1), SCALES[best])
