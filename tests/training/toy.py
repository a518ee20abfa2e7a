"""A stage so small that a run of twenty steps takes a second: a two-layer perceptron that learns the identity."""

from dataclasses import dataclass
from pathlib import Path

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np

from sorajax.data.buckets import Bucket
from sorajax.data.loader import batches
from sorajax.devices.sharding import make_mesh
from sorajax.training import experiments, loop
from sorajax.training.loop import LoopConfig
from sorajax.training.metrics import Mean
from sorajax.training.optimizer import OptimizerConfig

WIDTH = 8
BUCKETS = (Bucket(1, 8, 8, batch_size=16, weight=2), Bucket(5, 8, 8, batch_size=8))


@flax.struct.dataclass
class Toy:
    """`target` is what the perceptron should multiply by: a frozen array."""

    target: jax.Array
    hidden: int = flax.struct.field(pytree_node=False, default=16)

    def init(self, key):
        first, second = jax.random.split(key)
        return {
            "blocks": {"up": {"kernel": jax.random.normal(first, (2, WIDTH, self.hidden))}},
            "patch_out": {
                "kernel": jax.random.normal(second, (self.hidden, WIDTH)) / 4,
                "bias": jnp.zeros(WIDTH),
            },
        }

    def loss(self, params, batch, key):
        x = batch["x"] + 0.1 * jax.random.normal(key, batch["x"].shape)
        up = params["blocks"]["up"]["kernel"]
        hidden = jnp.tanh(x @ up[0]) + jnp.tanh(x @ up[1])
        error = hidden @ params["patch_out"]["kernel"] + params["patch_out"]["bias"] - batch["x"] @ self.target
        each = jnp.mean(jnp.square(error), -1)
        low = jnp.mean(batch["x"], -1) < 0
        halves = Mean(jnp.array([jnp.sum(each * low), jnp.sum(each * ~low)]), jnp.array([jnp.sum(low), jnp.sum(~low)]))
        return jnp.mean(each), {"by_sign": halves}

    def preview(self, params, key):
        return np.zeros((8, 16, 3), np.uint8)


@flax.struct.dataclass
class Clocked(Toy):
    """Its loss grows with the step that it is bound to, which it also reports."""

    step: jax.Array | None = None

    def at(self, step):
        return self.replace(step=np.int32(step))

    def loss(self, params, batch, key):
        loss, metrics = super().loss(params, batch, key)
        return loss * (1 + self.step), metrics | {"bound_to": self.step}


def on_devices(patch, count: int | None):
    """Trainings take the first devices, where they would take all: sharding is the business of other tests, and is
    compiled for longer. None takes all again."""
    for module in (loop, experiments):
        patch.setattr(module, "make_mesh", lambda shape: make_mesh(shape, jax.devices()[:count]))


def toy() -> Toy:
    return Toy(jnp.eye(WIDTH))


def toy_batches(buckets=BUCKETS[:1], poison_at: float = np.inf, seed: int = 0):
    """Batches {"x": [b 8]}; one whose first value reaches `poison_at` has a NaN in it."""

    def make(bucket, rng):
        x = rng.normal(size=(bucket.batch_size, WIDTH)).astype(np.float32)
        if x[0, 0] >= poison_at:
            x[0, 0] = np.nan
        return {"x": x}

    return batches(make, buckets, seed)


def toy_loop(steps: int = 12, **changes) -> LoopConfig:
    optimizer = changes.pop("optimizer", OptimizerConfig(learning_rate=3e-2, warmup=2, weight_decay=0.0))
    return LoopConfig(steps=steps, optimizer=optimizer, **{"preview_every": 0, "save_every": 100, **changes})


@dataclass(frozen=True)
class ToyTraining:
    """The perceptron as an experiment, for `sorajax.train`."""

    loop: LoopConfig = LoopConfig(steps=60, save_every=20, preview_every=0)

    def build(self, directory: Path):
        return toy(), toy_batches()
