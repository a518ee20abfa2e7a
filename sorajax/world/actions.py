"""The interactive world: one object is steered left, right and up, and policies hold keys at random.

Physics is that of `physics.py`, in its units. With the state (x, y, v) of the object's centre and its vertical speed v,
y pointing down, and the time dt = 1 / fps between frames:

- left, right:  x changes by RUN * dt, also in the air, and stops at the edges of the frame
- jump:         from the floor, v = -sqrt(2 * GRAVITY * JUMP), so that the object rises by JUMP and is back after
                2 * sqrt(2 * JUMP / GRAVITY) = 1.41 s; in the air it does nothing
- in the air:   y += v * dt + GRAVITY / 2 * dt^2, v += GRAVITY * dt: exact at every frame; the object rests on the floor
                from the frame on in which it would be below it

The action of a frame is the one that led to it, so the action of a first frame has no effect.
"""

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from sorajax.world.draw import SceneFeatures, draw_truth
from sorajax.world.physics import BASE, FLOOR, GRAVITY, SIDE, Truth
from sorajax.world.scenes import (
    BACKGROUNDS,
    COLOURS,
    CORE,
    RADIUS,
    SHAPES,
    SIZES,
    STILL,
    Scene,
    Split,
    attributes,
    sample_scenes,
)

ACTIONS = ("nothing", "left", "right", "jump")
NOTHING, TO_LEFT, TO_RIGHT, JUMPS = range(len(ACTIONS))
RUN = 0.5  # units per second
JUMP = 0.4  # units
TAKE_OFF = (2 * GRAVITY * JUMP) ** 0.5  # units per second
HOLD = 0.6  # seconds for which a policy holds a key, on average
CHANCES = (0.2, 0.3, 0.3, 0.2)  # of the actions of a policy
PLAIN = SceneFeatures(objects=1, shots=False, camera=False, style=False, events=False)


class Body(NamedTuple):
    """The steered object: its centre in units, y down, and its vertical speed in units per second."""

    x: Float[Array, " b"]
    y: Float[Array, " b"]
    speed: Float[Array, " b"]


class Limits(NamedTuple):
    """Range of the object's centre: from `left` to `right`, and at `ground` while it rests."""

    left: Float[Array, " b"]
    right: Float[Array, " b"]
    ground: Float[Array, " b"]


def steered_scenes(rng: np.random.Generator, num: int, split: Split = "all") -> Scene:
    """Random scenes of one object that stands on the floor until it is steered."""
    scene = sample_scenes(rng, num, split, CORE)
    return scene._replace(motion=np.full_like(scene.motion, STILL))


def limits_of(scene: Scene, height: int, width: int) -> Limits:
    """The limits of the first object of each scene, in frames of this size in pixels."""
    unit = min(height, width)
    radius, shape = jnp.asarray(scene.radius)[:, 0], jnp.asarray(scene.shape)[:, 0]
    edge = width / unit / 2 - jnp.asarray(SIDE)[shape] * radius
    return Limits(-edge, edge, height / unit / 2 - FLOOR - jnp.asarray(BASE)[shape] * radius)


def at_rest(scene: Scene, limits: Limits) -> Body:
    """The objects on the floor, where the scene places them."""
    place = jnp.asarray(scene.place)[:, 0, 0, 0]
    x = limits.left + place * (limits.right - limits.left)
    return Body(x, limits.ground, jnp.zeros_like(x))


def advance(body: Body, action: Int[Array, " b"], limits: Limits, fps: float = 8.0) -> Body:
    """The state one frame later."""
    dt = 1 / fps
    step = RUN * dt * ((action == TO_RIGHT).astype(jnp.float32) - (action == TO_LEFT).astype(jnp.float32))
    rests = body.y >= limits.ground
    speed = jnp.where(rests, jnp.where(action == JUMPS, -TAKE_OFF, 0.0), body.speed)
    flies = ~rests | (speed < 0)
    y = jnp.where(flies, body.y + speed * dt + GRAVITY / 2 * dt**2, limits.ground)
    lands = y >= limits.ground
    return Body(
        jnp.clip(body.x + step, limits.left, limits.right),
        jnp.minimum(y, limits.ground),
        jnp.where(flies & ~lands, speed + GRAVITY * dt, 0.0),
    )


def trace_actions(
    scene: Scene, actions: Int[Array, "b t"], height: int, width: int, fps: float = 8.0
) -> tuple[Truth, Body]:
    """The ground truth of frames that these actions led to, and the states [t b]; the first frame is at rest."""
    limits = limits_of(scene, height, width)
    start = at_rest(scene, limits)

    def step(body: Body, action: Array) -> tuple[Body, Body]:
        after = advance(body, action, limits, fps)
        return after, after

    _, later = jax.lax.scan(step, start, jnp.asarray(actions)[:, 1:].T)
    states = jax.tree.map(lambda first, rest: jnp.concatenate([first[None], rest]), start, later)
    return truth_of(scene, states), states


def truth_of(scene: Scene, states: Body) -> Truth:
    """The ground truth of states [t b], as the renderer takes it."""
    x, y = states.x.T, states.y.T
    second = jnp.zeros_like(x)
    centre = jnp.stack([jnp.stack([x, second], -1), jnp.stack([y, second], -1)], -1)
    radius = jnp.broadcast_to(jnp.asarray(scene.radius)[:, None], (*x.shape, 2))
    visible = jnp.broadcast_to(jnp.array([1.0, 0.0]), radius.shape)
    return Truth(
        centre, radius, jnp.zeros_like(radius), visible, second, jnp.ones_like(x), jnp.zeros(x.shape, jnp.int32)
    )


@partial(jax.jit, static_argnames=("height", "width"))
def render_actions(
    scene: Scene, actions: Int[Array, "b t"], height: int, width: int, fps: float = 8.0
) -> tuple[Float[Array, "b t h w c"], Truth]:
    """Clips in [-1, 1] of scenes that are steered by `actions`, and their ground truth."""
    truth, _ = trace_actions(scene, actions, height, width, fps)
    return draw_truth(scene, truth, height, width, needs=PLAIN), truth


@partial(jax.jit, static_argnames=("height", "width"))
def render_state(scene: Scene, body: Body, height: int, width: int) -> Float[Array, "b h w c"]:
    """One frame of each scene, in [-1, 1]."""
    states = jax.tree.map(lambda leaf: leaf[None], body)
    return draw_truth(scene, truth_of(scene, states), height, width, needs=PLAIN)[:, 0]


def held_keys(rng: np.random.Generator, num: int, frames: int, fps: float = 8.0) -> Int[np.ndarray, "b t"]:
    """Actions of a player who holds random keys for `HOLD` seconds on average; the first one is nothing."""
    changes = rng.random((num, frames)) < 1 / (HOLD * fps)
    changes[:, 0] = True
    keys = rng.choice(len(ACTIONS), (num, frames), p=CHANCES)
    since = np.maximum.accumulate(np.where(changes, np.arange(frames), 0), axis=1)
    actions = np.take_along_axis(keys, since, 1).astype(np.int32)
    actions[:, 0] = NOTHING
    return actions


def play_prompts(scene: Scene, rng: np.random.Generator | None = None) -> list[str]:
    """A prompt for each scene, such as "a large red ball on a grey floor"; with a generator, sizes and articles are
    left out at random."""
    found = []
    for row in attributes(scene):
        thing, ground = row["shots"][0]["objects"][0], row["shots"][0]["background"]
        words = [thing["size"], thing["colour"], thing["shape"]]
        if rng is not None and rng.random() < 0.3:
            words = words[1:]
        place = f"on a {ground} floor" if rng is None or rng.random() < 0.7 else f"on {ground}"
        article = "a " if rng is None or rng.random() < 0.8 else ""
        found.append(f"{article}{' '.join(words)} {place}")
    return found


def scene_of(prompt: str, seed: int = 0) -> Scene:
    """A scene that fits a prompt: words of colour, shape, size and background count, and what it leaves open is random.

    Raises ValueError where the prompt names no shape.
    """
    words = prompt.lower().replace(",", " ").replace(".", " ").split()
    scene = steered_scenes(np.random.default_rng(seed), 1)

    def named(options: Sequence[str]) -> int | None:
        return next((options.index(word) for word in words if word in options), None)

    shape = named(SHAPES)
    if shape is None:
        raise ValueError(f"the prompt {prompt!r} names no object: use one of {', '.join(SHAPES)}")
    changes = {"shape": shape, "colour": named(COLOURS), "size": named(SIZES)}
    for name, value in changes.items():
        if value is not None:
            leaf = getattr(scene, name).copy()
            leaf[:, 0] = value
            scene = scene._replace(**{name: leaf})
    if (ground := named(BACKGROUNDS)) is not None:
        scene = scene._replace(background=np.full_like(scene.background, ground))
    return scene._replace(radius=RADIUS[scene.size])
