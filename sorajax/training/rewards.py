"""Rewards of clips: functions in Python on the host, called from the compiled training step.

A reward takes uint8 clips [n t y x 3] and their n prompts, and returns n numbers; more is better, on any scale.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib import import_module
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental.buffer_callback import buffer_callback
from jax.sharding import PartitionSpec as P
from jaxtyping import Array, Bool, Float, Int, UInt8

from sorajax.devices.sharding import BATCH, fitting, on_several_devices
from sorajax.models.text import Tokenizer

Reward = Callable[[UInt8[np.ndarray, "n t y x 3"], Sequence[str]], Float[np.ndarray, " n"]]


def load_reward(name: str) -> Reward:
    """The function MODULE:FUNCTION, of a module that Python finds. Raises ValueError where there is none."""
    module, colon, function = name.partition(":")
    if not (module and colon and function):
        raise ValueError(f"reward {name!r} names no function: write MODULE:FUNCTION, e.g. my_rewards:brightness")
    try:
        found = getattr(import_module(module), function)
    except (ImportError, AttributeError) as error:
        raise ValueError(f"reward {name!r} cannot be imported: {error}") from error
    if not callable(found):
        raise ValueError(f"reward {name!r} is a {type(found).__name__} and no function")
    return found


@dataclass(frozen=True)
class Judge:
    """Scores clips whose prompts are token ids."""

    reward: str
    """MODULE:FUNCTION."""
    tokenizer: str
    """JSON of the tokenizer."""

    def scores(
        self, frames: UInt8[Array, "n t y x 3"], ids: Int[Array, "n m"], mask: Bool[Array, "n m"]
    ) -> Float[Array, " n"]:
        """The rewards, for use in a compiled program; on a mesh, each device's clips are scored by its own call. Raises
        ValueError, wrapped by JAX, where the function returns anything but one finite number for each clip."""
        if not on_several_devices():
            return self._call(frames, ids, mask)
        clips = fitting(P(BATCH), frames.shape[:1], jax.sharding.get_abstract_mesh())
        return jax.shard_map(self._call, in_specs=(clips, clips, clips), out_specs=clips, check_vma=False)(
            frames, ids, mask
        )

    def _call(self, *arguments: Array) -> Any:
        """TPUs have no `buffer_callback`. CPUs need it: `pure_callback` puts its arguments on a device, which may be
        waiting for the result in another thread."""
        shape = jax.ShapeDtypeStruct((len(arguments[0]),), jnp.float32)
        return jax.lax.platform_dependent(
            *arguments,
            tpu=lambda *arguments: jax.pure_callback(self._scores, shape, *arguments),
            default=buffer_callback(self._write_scores, shape),
        )

    def _write_scores(self, _: Any, out: Any, *arguments: Any) -> None:
        np.asarray(out)[...] = self._scores(*arguments)

    def _scores(self, *arguments: Any) -> np.ndarray:
        frames, ids, mask = map(np.asarray, arguments)
        prompts = _tokenizer(self.tokenizer).decode(ids, mask)
        scores = np.asarray(load_reward(self.reward)(frames, prompts), np.float32)
        if scores.shape != (len(prompts),) or not np.isfinite(scores).all():
            wrong = "numbers that are not finite" if scores.shape == (len(prompts),) else f"shape {scores.shape}"
            raise ValueError(f"reward {self.reward} returned {wrong}: return a finite number for each clip")
        return scores


@lru_cache(2)
def _tokenizer(source: str) -> Tokenizer:
    return Tokenizer(source, 0)


def optimality(scores: Float[Array, " n"], group: int, clip: float) -> Float[Array, " n"]:
    """How good each clip is among those of its prompt, in [0, 1]; 0.5 is average.

    Clips of a prompt follow each other, `group` of them. Advantages over the group's mean, in standard deviations of
    all scores, are cut off at +-clip (DiffusionNFT, Zheng et al. 2025, arXiv 2509.16117, section 3.2).
    """
    groups = scores.reshape(-1, group)
    advantage = (groups - jnp.mean(groups, 1, keepdims=True)).reshape(-1) / (jnp.std(scores) + 1e-6)
    return jnp.clip(advantage / clip, -1.0, 1.0) / 2 + 0.5
