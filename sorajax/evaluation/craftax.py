"""How well models know Craftax-Classic: the next frame, given the true frames before it and the true actions.

Beside the PSNR, a reader says what the frame shows: for each tile of the map but the player's the block whose texture
is nearest, and for each cell of the inventory the number whose picture is nearest. Textures and pictures are the
game's own. A frame that is made counts as right in a tile or cell where the reader reads the same in the true frame;
figures of changes count only tiles and cells that read otherwise in the frame before. A mob or the night changes what
is read, in both frames alike.

Rows: the frame before in place of the next one; the true next frame through an autoencoder, which is the most that a
model with it can have; the models.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int, UInt8

from sorajax.data.craftax import PROMPT, game, padded, plays
from sorajax.evaluation import markdown
from sorajax.evaluation.markdown import Measured
from sorajax.evaluation.options import Craftax
from sorajax.interactive.session import LearnedWorld, after, following, open_player
from sorajax.models.folder import BUNDLED, WORLD
from sorajax.models.vae import VAE
from sorajax.training.autoencoder import load_vae, reconstructed

TILE = 7  # pixels
ROWS, COLUMNS = 7, 9  # tiles of the map; the player is in the middle
CELLS = 2  # rows of the inventory
WINDOW = 9  # frames of a clip where no model says how many it sees
BATCH = 16


class Read(NamedTuple):
    """The reader's results on frames."""

    tiles: Int[np.ndarray, "n 62"]
    cells: Int[np.ndarray, "n cells"]


def measure(options: Craftax) -> Measured:
    """Plays the game, has each model make the last frame of each clip, and prints the table."""
    worlds = {name: opened(name) for name in options.models}
    frames = max([WINDOW, *(world.config.window for world in worlds.values())])
    clips, actions = plays(options.num, frames, options.seed, lambda line: None)
    read = reader()
    before, true = clips[:, -2], clips[:, -1]
    found = {"the frame before": compared(read, before, before, true)}
    for name in options.vaes:
        config, params = load_vae(BUNDLED.get(name, Path(name)))
        made = in_batches(lambda part, config=config, params=params: pixels(through(config, params, part)), true)
        found[f"autoencoder `{name}`"] = compared(read, made, before, true)
    for name, world in worlds.items():
        found[f"`{name}`"] = compared(read, next_frames(world, clips, actions, options.seed), before, true)
    text = table(found)
    print(text)
    settings = f"num {options.num}, seed {options.seed}"
    return Measured(found, {"craftax": text}, settings, Path(options.models[0]) if options.models else WORLD)


def opened(name: str) -> LearnedWorld:
    """A trained model. Raises ValueError for the simulator."""
    world = open_player(name)
    if not isinstance(world, LearnedWorld):
        raise ValueError(f"--models {name} is not allowed: name the folder of a run of configs/play_dit.py")
    return world


def through(config: Any, params: Any, frames: Any) -> Any:
    """Frames after encoding and decoding, each by itself."""
    return reconstructed(config, params, frames[:, None].astype(np.float32) / 127.5 - 1)[:, 0]


def pixels(frames: Any) -> UInt8[np.ndarray, "n h w 3"]:
    """Frames in [-1, 1] as pixels."""
    return np.round((np.clip(np.asarray(frames), -1, 1) + 1) * 127.5).astype(np.uint8)


def in_batches(step: Callable[..., np.ndarray], *arrays: np.ndarray) -> np.ndarray:
    """The results of a function of arrays with equally many rows, of batches of one size, so that it compiles once."""
    parts = []
    for start in range(0, len(arrays[0]), BATCH):
        rows = np.arange(start, start + BATCH) % len(arrays[0])
        parts.append(step(*(array[rows] for array in arrays)))
    return np.concatenate(parts)[: len(arrays[0])]


def next_frames(
    world: LearnedWorld, clips: UInt8[np.ndarray, "b t h w 3"], actions: Int[np.ndarray, "b t"], seed: int
) -> UInt8[np.ndarray, "b h w 3"]:
    """The last frame of each clip as the model makes it, from the true frames before it."""
    config, base, networks = world.config, world.base, world.networks
    text = world.begin([PROMPT] * BATCH, seed).state.text
    encode = jax.jit(lambda video: VAE(base.vae).apply({"params": networks.vae}, video, method="encode"))
    known = slice(-config.window, -1)
    key = jax.random.key(seed)

    def made(part: np.ndarray, chosen: np.ndarray) -> np.ndarray:
        past = part[:, known].reshape(-1, 1, *part.shape[2:]).astype(np.float32) / 127.5 - 1
        latent: Any = encode(past)
        latent = latent.reshape(BATCH, config.window - 1, *latent.shape[2:])
        state = after(config, networks, text, latent, jnp.asarray(chosen[:, known]), key)
        return np.asarray(following(config, base, networks, state, jnp.asarray(chosen[:, -1]))[1])

    return in_batches(made, clips, actions)


def reader() -> Callable[[UInt8[np.ndarray, "n h w 3"]], Read]:
    """A function that reads frames, by pictures that the game draws of known states."""
    env = game()
    _, state = env.reset(jax.random.key(0), env.default_params)
    nobody = {name: getattr(state, name).replace(mask=jnp.zeros_like(getattr(state, name).mask)) for name in MOBS}
    state = state.replace(**nobody, light_level=jnp.float32(1), is_sleeping=jnp.bool_(False))
    draw = jax.jit(env.get_obs)
    blocks = [draw(state.replace(map=jnp.full_like(state.map, block))) for block in range(BLOCKS)]
    textures = tiles(padded(np.stack(blocks)), 0, 1)[:, 0]
    stats = ("player_health", "player_food", "player_drink", "player_energy")

    def drawn(number: int) -> Any:
        inventory = jax.tree.map(lambda leaf: jnp.full_like(jnp.asarray(leaf), number), state.inventory)
        return draw(state.replace(inventory=inventory, **{stat: jnp.int32(number) for stat in stats}))

    numbers = tiles(padded(np.stack([drawn(number) for number in range(10)])), ROWS, ROWS + CELLS)
    used = np.flatnonzero(np.ptp(numbers, axis=0).max(-1))

    def read(frames: UInt8[np.ndarray, "n h w 3"]) -> Read:
        shown = np.delete(tiles(frames, 0, ROWS), ROWS * COLUMNS // 2, axis=1)
        cells = tiles(frames, ROWS, ROWS + CELLS)[:, used]
        of_map = nearest(shown, textures[:, None])
        return Read(of_map, nearest(cells, numbers[:, used]))

    return read


MOBS = ("zombies", "cows", "skeletons", "arrows")
BLOCKS = 17


def tiles(frames: UInt8[np.ndarray, "n h w 3"], first: int, last: int) -> Float[np.ndarray, "n tiles p"]:
    """The tiles of some rows, as vectors."""
    shown = frames[:, first * TILE : last * TILE, : COLUMNS * TILE].astype(np.float32)
    cut = shown.reshape(len(frames), last - first, TILE, COLUMNS, TILE, 3).swapaxes(2, 3)
    return cut.reshape(len(frames), (last - first) * COLUMNS, -1)


def nearest(shown: Float[np.ndarray, "n tiles p"], pictures: Float[np.ndarray, "k tiles p"]) -> Int[np.ndarray, "n t"]:
    """The number of the picture that is nearest to each tile; `pictures` may be the same for all tiles."""
    distances = [np.square(shown - picture).sum(-1) for picture in pictures]
    return np.argmin(distances, axis=0)


def compared(read: Callable[..., Read], made: np.ndarray, before: np.ndarray, true: np.ndarray) -> dict[str, Any]:
    """The figures of frames that were made in place of the true ones."""
    error = float(np.square(made.astype(np.float32) - true).mean())  # of all frames, since some do not change at all
    figures: dict[str, Any] = {"psnr": 10 * float(np.log10(255**2 / max(error, 1e-3)))}
    for name, shown, old, right in zip(Read._fields, read(made), read(before), read(true), strict=True):
        changed = old != right
        figures[name] = float(np.mean(shown == right))
        figures[f"changed {name}"] = float(np.mean((shown == right)[changed])) if changed.any() else None
        figures[f"changes of {name}"] = int(changed.sum())
    return figures


def table(found: dict[str, Any]) -> str:
    """A row for each way to make the next frame."""

    def percent(value: float | None) -> str:
        return "-" if value is None else f"{100 * value:.1f} %"

    columns = ("tiles", "changed tiles", "cells", "changed cells")
    rows = [
        [name, f"{row['psnr']:.1f} dB", *(percent(row[column]) for column in columns)] for name, row in found.items()
    ]
    titles = ("map tiles right", "of those that change", "inventory cells right", "of those that change")
    return markdown.table(["next frame", "PSNR", *titles], rows)
