"""Playing: a learned world, or the true one, goes on by a frame for each action.

    player = open_player("play")
    session = player.begin(["a red ball on a grey floor"], seed=0)
    frame = session.frame                       # uint8 [b h w 3]
    frame = session.step([RIGHT])

A session is a batch of plays. Its state is the last frames' latents and actions, or of a model that is causal by frame
their keys and values, so its memory does not grow; it is saved to a file and restored from it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, UInt8

from sorajax.diffusion.flow import interpolate, schedule
from sorajax.diffusion.samplers import SAMPLERS
from sorajax.files import write_atomically
from sorajax.models.folder import BUNDLED, PLAY, load_model
from sorajax.models.play import PlayConfig
from sorajax.models.sora import SoraConfig
from sorajax.models.text import TextEncoder, Tokenizer
from sorajax.models.vae import VAE, VAEConfig
from sorajax.models.velocity import ExtraInputs, read_once, remember, velocity_of
from sorajax.world.actions import ACTIONS, Body, Limits, advance, at_rest, limits_of, render_state, scene_of
from sorajax.world.scenes import Scene

Frame = UInt8[np.ndarray, "b h w 3"]
BEGIN_STEPS = 12  # evaluations for the first frames of a play
SETTLED = 12  # frames before a play begins: a jump has ended by then, and a model undoes errors of its first frames


class Session(Protocol):
    """A batch of plays. `frame` is what is seen now, and `step` makes it what is seen after the next actions."""

    frame: Frame

    def step(self, actions: Sequence[int]) -> Frame:
        """One action for each play, an index of `world.actions.ACTIONS`. Raises ValueError for others."""
        ...


class Player(Protocol):
    """A world in which plays begin."""

    @property
    def fps(self) -> float: ...

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of frames in pixels."""
        ...

    def begin(self, prompts: Sequence[str], seed: int = 0) -> Session:
        """One play for each prompt."""
        ...


class State(NamedTuple):
    """All that a play of a learned world knows: latents of the last frames, the actions that led to them, the text's
    keys and values, and the key of the noise to come."""

    latent: Float[Array, "b t h w c"]
    actions: Int[Array, "b t"]
    text: Any
    key: Array


class CachedState(NamedTuple):
    """The same of a world whose transformer is causal by frame: the last frame's latent, keys and values of the frames
    that the next one attends to, those of the text, and the key."""

    latent: Float[Array, "b 1 h w c"]
    past: Any
    text: Any
    key: Array


class Networks(NamedTuple):
    """Parameters of a learned world."""

    dit: Any
    text: Any
    vae: Any


@dataclass
class LearnedWorld:
    """A trained model to play: its config, that of the model whose text encoder and autoencoder it uses, parameters."""

    config: PlayConfig
    base: SoraConfig
    networks: Networks
    tokenizer: Tokenizer

    @property
    def fps(self) -> float:
        return self.config.fps

    @property
    def size(self) -> tuple[int, int]:
        return self.config.size

    def begin(self, prompts: Sequence[str], seed: int = 0) -> "LearnedSession":
        """One play for each prompt: the model first makes frames in which nothing is done."""
        ids, mask = self.tokenizer.encode(list(prompts))
        state = begin(self.config, self.base, self.networks, jnp.asarray(ids), jnp.asarray(mask), jax.random.key(seed))
        return LearnedSession(self, state)


class LearnedSession:
    """A batch of plays of a learned world."""

    def __init__(self, world: LearnedWorld, state: State | CachedState):
        self.world, self.state = world, state
        self.frame = np.asarray(shown(world.base, world.networks.vae, state.latent[:, -1:]))

    def step(self, actions: Sequence[int]) -> Frame:
        """One action for each play."""
        world = self.world
        chosen = checked(actions, len(self.frame), world.config.dit.actions)
        self.state, frame = following(world.config, world.base, world.networks, self.state, chosen)
        self.frame = np.asarray(frame)
        return self.frame

    def save(self, path: Path) -> None:
        """Writes the state to an .npz file."""
        leaves = [np.asarray(leaf) for leaf in jax.tree.leaves(self.state[:-1])]
        key = np.asarray(jax.random.key_data(self.state.key))
        write_atomically(path, lambda file: np.savez(file, *leaves, key=key))

    def restore(self, path: Path) -> None:
        """Goes on from a state that was saved. Raises ValueError where it is of plays of another shape."""
        with np.load(path) as file:
            leaves, key = [file[f"arr_{n}"] for n in range(len(file.files) - 1)], file["key"]
        own, structure = jax.tree.flatten(self.state[:-1])
        if [leaf.shape for leaf in leaves] != [leaf.shape for leaf in own]:
            raise ValueError(
                f"{path} holds plays of another model or number: begin as many with the model that made it"
            )
        values = jax.tree.unflatten(structure, [jnp.asarray(leaf) for leaf in leaves])
        kind: Any = type(self.state)
        self.state = kind(*values, jax.random.wrap_key_data(jnp.asarray(key)))
        self.frame = np.asarray(shown(self.world.base, self.world.networks.vae, self.state.latent[:, -1:]))


def checked(actions: Sequence[int], b: int, count: int = len(ACTIONS)) -> Int[np.ndarray, " b"]:
    """The actions as an array. Raises ValueError where there are not `b`, or one is none of the `count` that exist."""
    chosen = np.asarray(actions, np.int32)
    if chosen.shape != (b,):
        raise ValueError(f"{chosen.size} actions are not allowed: give one for each of the {b} plays")
    if wrong := [int(action) for action in chosen if not 0 <= action < count]:
        names = f", {', '.join(ACTIONS)}" if count == len(ACTIONS) else ""
        raise ValueError(f"action {wrong[0]} is not allowed: use 0 to {count - 1}{names}")
    return chosen


@partial(jax.jit, static_argnums=(0, 1))
def begin(
    config: PlayConfig, base: SoraConfig, networks: Networks, ids: Any, mask: Any, key: Array
) -> State | CachedState:
    """The state of plays [b] that begin: a window of frames is generated at once, with no action, and the model goes on
    from it for `SETTLED` frames in which nothing is done. The last of them is then seen for a whole window."""
    context: Any = TextEncoder(base.text).apply({"params": networks.text}, ids, mask)
    text = read_once(config.dit, {"params": networks.dit}, context, None)
    now, first, later = jax.random.split(key, 3)
    b, (height, width) = len(ids), config.size
    shape = (b, config.window, *base.vae.latent_shape(1, height, width)[1:])
    nothing = jnp.zeros((b, config.window), jnp.int32)
    velocity = velocity_of(config.dit, {"params": networks.dit}, text, ExtraInputs(actions=nothing))
    latent = SAMPLERS["euler"](velocity, jax.random.normal(now, shape), schedule(BEGIN_STEPS, 3.0))

    def still(latent: Array, key: Array) -> State | CachedState:
        frames = jnp.broadcast_to(latent[:, -1:], (b, config.window - 1, *latent.shape[2:]))
        return after(config, networks, text, frames, nothing[:, 1:], key)

    def wait(state: State | CachedState, _: None) -> tuple[State | CachedState, None]:
        return advanced_state(config, networks, state, nothing[:, 0]), None

    settled, _ = jax.lax.scan(wait, still(latent, first), None, length=SETTLED)
    return still(settled.latent, later)


def after(
    config: PlayConfig,
    networks: Networks,
    text: Any,
    latent: Float[Array, "b t h w c"],
    actions: Int[Array, "b t"],
    key: Array,
) -> State | CachedState:
    """The state of plays in which these frames, one less than the window's, were seen."""
    if not config.dit.attended_frames:
        return State(latent, actions, text, key)
    noise_key, later = jax.random.split(key)
    return CachedState(latent[:, -1:], seen(config, networks, text, latent, actions, noise_key), text, later)


def seen(
    config: PlayConfig,
    networks: Networks,
    text: Any,
    latent: Float[Array, "b t h w c"],
    actions: Int[Array, "b t"],
    key: Array,
    past: Any = None,
) -> Any:
    """The cache after frames, which are noised a little, as those before the next one are in training."""
    time = jnp.full(latent.shape[:2], config.context_time)
    noised = interpolate(latent, jax.random.normal(key, latent.shape), time)
    return remember(config.dit, {"params": networks.dit}, noised, time, text, actions, past)


@partial(jax.jit, static_argnums=(0, 1))
def following(
    config: PlayConfig, base: SoraConfig, networks: Networks, state: State | CachedState, action: Int[Array, " b"]
) -> tuple[State | CachedState, UInt8[Array, "b h w 3"]]:
    """The state and the frame one action later."""
    later = advanced_state(config, networks, state, action)
    return later, shown(base, networks.vae, later.latent[:, -1:])


def advanced_state(
    config: PlayConfig, networks: Networks, state: State | CachedState, action: Int[Array, " b"]
) -> State | CachedState:
    """The state one action later. Where it holds keys and values of the frames before, the next frame is generated, and
    read once more as one that is known; otherwise all frames of the window are read in each evaluation."""
    key, noise_key, context_key = jax.random.split(state.key, 3)
    start = config.temperature * jax.random.normal(noise_key, state.latent[:, :1].shape)
    times = schedule(config.steps, 1.0)
    params = {"params": networks.dit}
    if isinstance(state, CachedState):
        extra = ExtraInputs(actions=action[:, None])
        velocity = velocity_of(config.dit, params, state.text, extra, past=state.past)
        latent = SAMPLERS["euler"](velocity, start, times)
        past = seen(config, networks, state.text, latent, action[:, None], context_key, state.past)
        return CachedState(latent, past, state.text, key)
    actions = jnp.concatenate([state.actions, action[:, None]], 1)
    velocity = velocity_of(config.dit, params, state.text, ExtraInputs(actions=actions))
    known = jnp.full(state.latent.shape[:2], config.context_time)
    context = interpolate(state.latent, jax.random.normal(context_key, state.latent.shape), known)

    def of_last(x: Array, time: Array) -> Any:
        return velocity(jnp.concatenate([context, x], 1), jnp.concatenate([known, time], 1))[:, -1:]

    latent = SAMPLERS["euler"](of_last, start, times)
    return State(jnp.concatenate([state.latent[:, 1:], latent], 1), actions[:, 1:], state.text, key)


@partial(jax.jit, static_argnums=(0, 1))
def played_on(
    config: PlayConfig,
    base: SoraConfig,
    networks: Networks,
    ids: Any,
    mask: Any,
    latent: Float[Array, "b t h w c"],
    actions: Int[Array, "b t"],
    key: Array,
) -> Float[Array, "b t h w c"]:
    """Latents of the same plays as the model goes on with them: the first frames, one less than the window's, are those
    of `latent`, and each other one is generated from the frames before it, which are then its own."""
    known = config.window - 1
    context: Any = TextEncoder(base.text).apply({"params": networks.text}, ids, mask)
    text = read_once(config.dit, {"params": networks.dit}, context, None)
    state = after(config, networks, text, latent[:, :known], actions[:, :known], key)

    def step(state: Any, action: Array) -> tuple[Any, Array]:
        later = advanced_state(config, networks, state, action)
        return later, later.latent[:, -1]

    _, own = jax.lax.scan(step, state, actions[:, known:].T)
    return jnp.concatenate([latent[:, :known], jnp.moveaxis(own, 0, 1)], 1)


@partial(jax.jit, static_argnums=0)
def shown(base: SoraConfig, vae: Any, latent: Float[Array, "b 1 h w c"]) -> UInt8[Array, "b h w 3"]:
    """The pixels of one frame of each play."""
    video: Any = VAE(base.vae).apply({"params": vae}, latent, method="decode")
    return jnp.round((jnp.clip(video[:, 0], -1, 1) + 1) * 127.5).astype(jnp.uint8)


@dataclass
class TrueWorld:
    """The simulator that the learned world was trained on. A prompt names colour, shape, size and floor; what it leaves
    open is random."""

    fps: float = 8.0
    size: tuple[int, int] = (64, 64)

    def begin(self, prompts: Sequence[str], seed: int = 0) -> "TrueSession":
        """One play for each prompt. Raises ValueError where one names no object."""
        scenes = [scene_of(prompt, seed + number) for number, prompt in enumerate(prompts)]
        return TrueSession(self, jax.tree.map(lambda *leaves: np.concatenate(leaves), *scenes))


class TrueSession:
    """A batch of plays of the simulator. `body` is where the objects are."""

    def __init__(self, world: TrueWorld, scene: Scene):
        self.world, self.scene = world, scene
        self.limits: Limits = limits_of(scene, *world.size)
        self.body: Body = at_rest(scene, self.limits)
        self.frame = self._render()

    def step(self, actions: Sequence[int]) -> Frame:
        """One action for each play."""
        chosen = checked(actions, len(self.frame))
        self.body = advanced(self.body, chosen, self.limits, self.world.fps)
        self.frame = self._render()
        return self.frame

    def _render(self) -> Frame:
        video = render_state(self.scene, self.body, *self.world.size)
        return np.round((np.asarray(video) + 1) * 127.5).astype(np.uint8)


advanced = jax.jit(advance)


def open_player(model: str = "play", steps: int | None = None, temperature: float | None = None) -> Player:
    """The true world for "true", otherwise the learned one of a model folder or of the package. `steps` and
    `temperature` of its frames are by default those of its config (`PlayConfig`).

    Raises FileNotFoundError or ValueError where it cannot be read, and ValueError for values that cannot be."""
    if model == "true":
        return TrueWorld()
    config, params, _ = load_model(PLAY if model == "play" else Path(model), PlayConfig)
    steps = config.steps if steps is None else steps
    config = replace(config, steps=steps, temperature=config.temperature if temperature is None else temperature)
    base, parts, tokenizer = load_model(BUNDLED.get(config.base, Path(config.base)), SoraConfig)
    assert tokenizer is not None
    if config.autoencoder:
        vae, own, _ = load_model(Path(config.autoencoder), VAEConfig)
        base, parts = replace(base, vae=vae), {**parts, "vae": own["vae"]}
    networks = jax.tree.map(jnp.asarray, Networks(params["dit"], parts["text"], parts["vae"]))
    return LearnedWorld(config, base, networks, Tokenizer(tokenizer, base.text.tokens))
