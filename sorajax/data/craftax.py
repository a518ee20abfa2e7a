"""Plays of Craftax-Classic (Matthews et al. 2024, arXiv:2402.16801), a game by other authors, recorded.

A folder holds `frames.npy` (uint8 [clips t 64 64 3]) and `plays.npz` (actions [clips t] and prompts), written in this
order; `plays.encode_frames` adds the latents. The game draws 63x63 pixels: 7x9 tiles of 7 pixels and below them two
rows of nine inventory cells; a row and a column of black are added. A random player holds keys.

Needs the extra `craftax`.
"""

from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int, UInt8

from sorajax.data.plays import FRAMES, PLAYS
from sorajax.errors import BadRequest
from sorajax.files import write_atomically

ACTIONS = (
    "nothing",
    "left",
    "right",
    "up",
    "down",
    "do",
    "sleep",
    "place stone",
    "place table",
    "place furnace",
    "place plant",
    "make wood pickaxe",
    "make stone pickaxe",
    "make iron pickaxe",
    "make wood sword",
    "make stone sword",
    "make iron sword",
)
CHANCES = (0.05, *(0.15,) * 4, 0.25, *(0.1 / 11,) * 11)
HOLD = 3
"""Frames for which the player holds a key, on average."""
PROMPT = "a survival game seen from above"
SIZE = 64
TOGETHER = 16
"""Games that are played in parallel."""


def game() -> Any:
    """The game with pictures. Raises BadRequest where the package is missing."""
    if find_spec("craftax") is None:
        raise BadRequest('Craftax is not installed: run pip install "sorajax[craftax]"')
    from craftax.craftax_classic.envs.craftax_pixels_env import CraftaxClassicPixelsEnvNoAutoReset

    return CraftaxClassicPixelsEnvNoAutoReset()


def padded(pixels: Float[np.ndarray, "*b 63 63 3"]) -> UInt8[np.ndarray, "*b 64 64 3"]:
    """The game's pictures in [0, 1] as frames, with black below and to the right."""
    frames = np.round(np.asarray(pixels) * 255).astype(np.uint8)
    *before, height, width, _ = frames.shape
    edges = [(0, 0)] * len(before) + [(0, SIZE - height), (0, SIZE - width), (0, 0)]
    return np.pad(frames, edges)


def held_actions(rng: np.random.Generator, num: int, frames: int) -> Int[np.ndarray, "b t"]:
    """Actions of a player who holds random keys."""
    changes = rng.random((num, frames)) < 1 / HOLD
    changes[:, 0] = True
    keys = rng.choice(len(ACTIONS), (num, frames), p=CHANCES)
    since = np.maximum.accumulate(np.where(changes, np.arange(frames), 0), axis=1)
    return np.take_along_axis(keys, since, 1).astype(np.int32)


def plays(
    count: int, frames: int, seed: int, say: Callable[[str], None] = print
) -> tuple[UInt8[np.ndarray, "b t h w 3"], Int[np.ndarray, "b t"]]:
    """`count` clips of `frames` frames of random plays, and the action that led to each frame. Clips follow one another
    in their game; one in which a game ends is left out."""
    env = game()
    rules, rng, key = env.default_params, np.random.default_rng(seed), jax.random.key(seed)

    @jax.jit
    def go_on(states: Any, actions: Any, key: jax.Array) -> Any:
        def step(carry: Any, chosen: Any) -> Any:
            states, key = carry
            key, own = jax.random.split(key)
            keys = jax.random.split(own, TOGETHER)
            pixels, states, _, ended, _ = jax.vmap(env.step, (0, 0, 0, None))(keys, states, chosen, rules)
            return (states, key), (pixels, ended)

        return jax.lax.scan(step, (states, key), actions)

    @jax.jit
    def begun(key: jax.Array) -> Any:
        return jax.vmap(env.reset, (0, None))(jax.random.split(key, TOGETHER), rules)[1]

    @jax.jit
    def renewed(states: Any, fresh: Any, ended: Any) -> Any:
        def chosen(old: jax.Array, new: jax.Array) -> jax.Array:
            return jnp.where(ended.reshape(-1, *(1,) * (old.ndim - 1)), new, old)

        return jax.tree.map(chosen, states, fresh)

    states = begun(key)
    clips, chosen = list[Any](), list[Any]()
    while sum(map(len, clips)) < count:
        actions = held_actions(rng, TOGETHER, frames)
        (states, key), (pixels, ended) = go_on(states, jnp.asarray(actions.T), key)
        whole = ~np.asarray(ended).any(0)
        if not whole.all():
            key, own = jax.random.split(key)
            states = renewed(states, begun(own), ~whole)
        clips.append(padded(np.moveaxis(np.asarray(pixels), 0, 1)[whole]))
        chosen.append(actions[whole])
        if len(clips) % 10 == 1:
            say(f"{sum(map(len, clips))}/{count} clips recorded")
    return np.concatenate(clips)[:count], np.concatenate(chosen)[:count]


def record(directory: Path, count: int, frames: int, seed: int, say: Callable[[str], None] = print) -> None:
    """Records `count` clips into a folder, unless it has as many."""
    if (directory / PLAYS).exists() and len(np.load(directory / FRAMES, mmap_mode="r")) >= count:
        return
    clips, actions = plays(count, frames, seed, say)
    directory.mkdir(parents=True, exist_ok=True)

    def write(path: Path) -> None:
        with path.open("wb") as file:
            np.save(file, clips)

    write_atomically(directory / FRAMES, write)
    prompts = np.full(count, PROMPT)
    write_atomically(directory / PLAYS, lambda path: np.savez(path, actions=actions, prompts=prompts))
