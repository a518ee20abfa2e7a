"""The world: a synthetic universe with ground truth. This file defines its scenes; `draw.py` renders them.

A `Scene` is a pytree of numbers with a leading batch axis. Attributes that captions name are indices into the tuples
below; all others (positions, phases, jitter) are sampled as fractions, so that a scene fits any frame size. The unit of
length is the frame's shorter side, the origin its centre, x points right, y down; the unit of time is the second.

Held out from training: `(3 * colour + 7 * shape + motion) % 10 == 0`, a tenth of all (colour, shape, motion) triples.
This is a Latin-square hash: every pair (colour, shape), (colour, motion), (shape, motion) occurs in training, so
held-out triples measure compositional generalisation and nothing else.

Conventions:

- Extents: a shape of radius r is a ball of radius r, a box of half side 0.88 r, a triangle with corners 1.25 r and a
  star with tips 1.25 r (inner corners half of that) from the centre, a ring from 0.5 r to r. At 64x64 a small star is
  14 pixels across, so the five can be told apart. Radii vary by 5%.
- Gravity is 1.6 times the pace squared, without jitter. Heights are random.
- Spins and circles are clockwise. Objects that do not spin are upright. Bounces start at or after the highest point.
- Objects rest and bounce on the floor line; `moves` reflects elastically at the edges of the frame.
- The camera pans from 0.18 before the centre to 0.5 beyond it (4 s), then back. It is static in events and cuts.
- Collisions: two small objects of equal size, each a ball, box or ring (these touch along the line of flight), that
  approach each other, or one of which stands still. The wall hides small objects that move sideways at a normal or
  quick pace (a large one would never be fully hidden, a slow one would not reappear within 2 s).
- Two objects of a relation stay in their halves of the frame, with motions that preserve the relation; normal pace.
- A shot of a cut lasts about one second, too short to distinguish a fall from a bounce: no falls, normal pace.
- Dots and floor are the background mixed with 12% and 28% white (12% black would be invisible).
"""

from dataclasses import dataclass, fields
from typing import Any, Literal, NamedTuple

import jax
import numpy as np
from jaxtyping import Bool, Float, Int

COLOURS = ("red", "orange", "yellow", "green", "cyan", "blue", "purple", "white")
SHAPES = ("ball", "box", "triangle", "star", "ring")
SIZES = ("small", "large")
BACKGROUNDS = ("black", "grey", "navy", "brown", "forest")
MOTIONS = (
    "moves left",
    "moves right",
    "moves up",
    "moves down",
    "bounces",
    "falls",
    "spins",
    "grows",
    "shrinks",
    "circles",
    "stands still",
)
PACES = ("slowly", "normally", "quickly")
CAMERAS = ("static", "pans left", "pans right", "zooms in", "zooms out")
STYLES = ("flat", "sketch", "neon", "film")
RELATIONS = ("none", "left of", "right of", "above", "below")
EVENTS = ("none", "collides", "passes behind a wall")

COLOUR_RGB = np.array(
    [
        (220, 40, 40),
        (250, 140, 30),
        (245, 215, 50),
        (40, 170, 70),
        (40, 210, 220),
        (50, 90, 230),
        (150, 60, 200),
        (245, 245, 245),
    ],
    np.float32,
)
BACKGROUND_RGB = np.array(
    [(12, 12, 14), (84, 84, 88), (16, 24, 72), (84, 56, 32), (20, 60, 36)],
    np.float32,
)
RADIUS = np.array((0.09, 0.16), np.float32)
PACE_SCALE = np.array((0.6, 1.0, 1.6), np.float32)

LEFT, RIGHT, UP, DOWN, BOUNCES, FALLS, SPINS, GROWS, SHRINKS, CIRCLES, STILL = range(len(MOTIONS))
COLLIDES, WALL = 1, 2

Split = Literal["train", "held_out", "all"]


class Scene(NamedTuple):
    """A batch of clips; `s` = 2 shots and `o` = 2 objects are always stored, and ignored beyond `shots` and
    `objects`."""

    colour: Int[np.ndarray, "b o"]
    shape: Int[np.ndarray, "b o"]
    size: Int[np.ndarray, "b o"]
    motion: Int[np.ndarray, "b s o"]
    pace: Int[np.ndarray, "b s o"]
    background: Int[np.ndarray, "b s"]
    camera: Int[np.ndarray, " b"]
    style: Int[np.ndarray, " b"]
    relation: Int[np.ndarray, " b"]
    event: Int[np.ndarray, " b"]
    objects: Int[np.ndarray, " b"]
    shots: Int[np.ndarray, " b"]
    radius: Float[np.ndarray, "b o"]
    rate: Float[np.ndarray, "b s o"]  # pace times jitter: scales all speeds except gravity's
    height: Float[np.ndarray, "b s o"]  # of a bounce or fall, units
    orbit: Float[np.ndarray, "b s o"]  # radius of a circle, units
    phase: Float[np.ndarray, "b s o"]  # in [0, 1], of periodic motions
    place: Float[np.ndarray, "b s o xy"]  # in [0, 1], fraction of the permitted range
    cut: Float[np.ndarray, " b"]  # seconds
    meeting: Float[np.ndarray, "b two"]  # in [0, 1]: time and place of a collision
    wall: Float[np.ndarray, " b"]  # x of its centre, units
    drift: Float[np.ndarray, " b"]  # camera speed relative to the nominal one
    seed: Int[np.ndarray, " b"]  # of the film grain


@dataclass(frozen=True)
class WorldMix:
    """Probabilities, in [0, 1], of the attributes of sampled scenes; a curriculum is a sequence of these.

    Raises ValueError for values outside [0, 1].
    """

    two_objects: float = 0.25
    collides: float = 0.35  # of the scenes with two objects
    wall: float = 0.08
    two_shots: float = 0.08
    camera: float = 0.25  # of the scenes without event or cut
    style: float = 0.25
    slowly: float = 0.25
    quickly: float = 0.25
    held_still: float = 1 / len(MOTIONS)  # probability of the motion `stands still`
    small_stars: float = 0.0  # share of small stars, the shape with the finest details: to train autoencoders
    turning: float = 0.0  # share of spins and circles, whose frames change most within a latent: for autoencoders, too
    falling: float = 0.0  # share of bounces and falls, in which gravity shows: for rewards

    def __post_init__(self):
        for field in fields(self):
            value = getattr(self, field.name)
            if not 0 <= value <= 1:
                raise ValueError(f"WorldMix.{field.name} is {value}: a probability lies between 0 and 1")


FULL = WorldMix()
CORE = WorldMix(two_objects=0, wall=0, two_shots=0, camera=0, style=0)


def held_out(colour, shape, motion) -> Bool[np.ndarray, "..."]:
    """Whether a triple of attribute indices is held out from training (the hash of the module's docstring)."""
    return (3 * np.asarray(colour) + 7 * np.asarray(shape) + np.asarray(motion)) % 10 == 0


def _choose(rng: np.random.Generator, shape, options) -> Int[np.ndarray, "..."]:
    return np.asarray(options)[rng.integers(0, len(options), shape)]


def _draw(rng: np.random.Generator, n: int, mix: WorldMix) -> Scene:
    """Samples n scenes of a mix, of any split, including impossible ones (see `_possible`)."""
    happens = lambda probability: rng.random(n) < probability  # noqa: E731
    two = happens(mix.two_objects)
    collides = two & happens(mix.collides)
    wall = ~two & happens(mix.wall)
    cut = ~two & ~wall & happens(mix.two_shots)
    event = np.where(collides, COLLIDES, np.where(wall, WALL, 0))
    relation = np.where(two & ~collides, rng.integers(1, len(RELATIONS), n), 0)

    colour = rng.integers(0, len(COLOURS), (n, 2))
    colour[:, 1] = (colour[:, 0] + rng.integers(1, len(COLOURS), n)) % len(COLOURS)
    shape = rng.integers(0, len(SHAPES), (n, 2))
    size = rng.integers(0, len(SIZES), (n, 2))
    motion = np.where(rng.random((n, 2, 2)) < mix.held_still, STILL, rng.integers(0, len(MOTIONS) - 1, (n, 2, 2)))
    pace = np.digitize(rng.random((n, 2, 2)), [mix.slowly, 1 - mix.quickly])
    background = rng.integers(0, len(BACKGROUNDS), (n, 2))
    background[:, 1] = (background[:, 0] + rng.integers(1, len(BACKGROUNDS), n)) % len(BACKGROUNDS)

    sideways = rng.integers(0, 2, n)
    shape = np.where(collides[:, None], _choose(rng, (n, 2), (0, 1, 4)), shape)
    size = np.where((collides | wall)[:, None], 0, size)
    if mix.small_stars:  # without it the random stream is unchanged
        fine = (rng.random((n, 2)) < mix.small_stars) & ~(collides | wall)[:, None]
        shape, size = np.where(fine, SHAPES.index("star"), shape), np.where(fine, SIZES.index("small"), size)
    if mix.turning:
        is_turning = rng.random((n, 2, 2)) < mix.turning
        motion = np.where(is_turning, _choose(rng, (n, 2, 2), (SPINS, CIRCLES)), motion)
    if mix.falling:
        is_falling = rng.random((n, 2, 2)) < mix.falling
        motion = np.where(is_falling, _choose(rng, (n, 2, 2), (BOUNCES, FALLS)), motion)
    motion[:, 0, 0] = np.where(collides | wall, sideways, motion[:, 0, 0])
    reaction = np.where(rng.random(n) < 0.3, STILL, 1 - sideways)
    motion[:, 0, 1] = np.where(collides, reaction, motion[:, 0, 1])
    pace[wall] = _choose(rng, (int(wall.sum()), 1, 1), (1, 1, 2))
    pace[collides] = pace[collides][:, :1, :1]
    pace[cut | (relation > 0)] = 1
    pace = np.where(motion == STILL, 1, pace)

    jitter = lambda width, shape: np.asarray(rng.uniform(1 - width, 1 + width, shape), np.float32)  # noqa: E731
    uniform = lambda low, high, shape: np.asarray(rng.uniform(low, high, shape), np.float32)  # noqa: E731
    radius = RADIUS[size] * jitter(0.05, (n, 2))
    radius[:, 1] = np.where(collides, radius[:, 0], radius[:, 1])
    rate = PACE_SCALE[pace] * jitter(0.15, (n, 2, 2))
    rate[wall] = np.maximum(rate[wall], 2 * PACE_SCALE[pace[wall]] - rate[wall])  # none too slow to reappear
    scene = Scene(
        colour=colour,
        shape=shape,
        size=size,
        motion=motion,
        pace=pace,
        background=background,
        camera=np.where((event == 0) & ~cut & happens(mix.camera), rng.integers(1, len(CAMERAS), n), 0),
        style=np.where(happens(mix.style), rng.integers(1, len(STYLES), n), 0),
        relation=relation,
        event=event,
        objects=1 + two,
        shots=1 + cut,
        radius=radius,
        rate=rate,
        height=uniform(0.35, 0.55, (n, 2, 2)),
        orbit=uniform(0.2, 0.3, (n, 2, 2)),
        phase=uniform(0, 1, (n, 2, 2)),
        place=uniform(0, 1, (n, 2, 2, 2)),
        cut=uniform(0.9, 1.1, n),
        meeting=uniform(0, 1, (n, 2)),
        wall=uniform(-0.08, 0.08, n),
        drift=jitter(0.15, n),
        seed=rng.integers(0, 2**31, n),
    )
    return jax.tree.map(lambda leaf: leaf.astype(np.int32) if leaf.dtype.kind in "ib" else leaf, scene)


def _present(scene: Scene) -> Bool[np.ndarray, "b s o"]:
    """Mask of the (shot, object) pairs that occur in the clip."""
    shots = np.arange(2)[None, :, None] < scene.shots[:, None, None]
    objects = np.arange(2)[None, None, :] < scene.objects[:, None, None]
    return shots & objects


def _possible(scene: Scene) -> Bool[np.ndarray, " b"]:
    """Mask of the scenes whose captions can be verified: no spinning ball or ring (the spin would be invisible), no
    motion that breaks a relation, and in cuts no fall and a different motion in each shot."""
    motion, shape, relation = scene.motion, scene.shape[:, None, :], scene.relation[:, None, None]
    fits = ~((motion == SPINS) & np.isin(shape, (0, 4)))
    fits &= ~((relation > 0) & (motion == CIRCLES))
    fits &= ~(np.isin(relation, (1, 2)) & np.isin(motion, (LEFT, RIGHT)))
    fits &= ~(np.isin(relation, (3, 4)) & np.isin(motion, (UP, DOWN, BOUNCES, FALLS)))
    possible = np.all(fits | ~_present(scene), axis=(1, 2))
    cut = scene.shots == 2
    possible &= ~(cut & np.any(motion[:, :, 0] == FALLS, axis=1))
    return possible & ~(cut & (motion[:, 0, 0] == motion[:, 1, 0]))


def sample_scenes(rng: np.random.Generator, n: int, split: Split = "train", mix: WorldMix = FULL) -> Scene:
    """Samples n scenes. `train` contains no held-out triple; in `held_out` the first object of the first shot is one;
    `all` has both. Raises ValueError for another split."""
    if split not in ("train", "held_out", "all"):
        raise ValueError(f"unknown split {split!r}: choose train, held_out or all")
    batches, missing = [], n
    while missing > 0:
        scene = _draw(rng, max(64, int(missing * (14 if split == "held_out" else 1.6))), mix)
        is_held_out = held_out(scene.colour[:, None], scene.shape[:, None], scene.motion) & _present(scene)
        keep = _possible(scene)
        if split == "train":
            keep &= ~is_held_out.any((1, 2))
        elif split == "held_out":
            keep &= is_held_out[:, 0, 0]
        rows = np.flatnonzero(keep)[:missing]
        batches.append(jax.tree.map(lambda leaf, rows=rows: leaf[rows], scene))
        missing -= len(rows)
    return jax.tree.map(lambda *leaves: np.concatenate(leaves)[:n], *batches) if batches else _draw(rng, 0, mix)


def attributes(scene: Scene) -> list[dict[str, Any]]:
    """Attributes of every clip in words: a dict per clip, with a list of objects per shot under `shots`."""
    clips: list[dict[str, Any]] = []
    for i in range(len(scene.objects)):
        shots = [
            {
                "background": BACKGROUNDS[scene.background[i, s]],
                "objects": [
                    {
                        "colour": COLOURS[scene.colour[i, o]],
                        "shape": SHAPES[scene.shape[i, o]],
                        "size": SIZES[scene.size[i, o]],
                        "motion": MOTIONS[scene.motion[i, s, o]],
                        "pace": PACES[scene.pace[i, s, o]],
                    }
                    for o in range(scene.objects[i])
                ],
            }
            for s in range(scene.shots[i])
        ]
        clips.append(
            {
                "shots": shots,
                "camera": CAMERAS[scene.camera[i]],
                "style": STYLES[scene.style[i]],
                "relation": RELATIONS[scene.relation[i]],
                "event": EVENTS[scene.event[i]],
            }
        )
    return clips
