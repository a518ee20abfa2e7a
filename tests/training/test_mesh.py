"""Any mesh trains as one device does: the same losses, whichever way batch, weights, tokens and heads are split."""

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sorajax.devices.sharding import check_divides, make_mesh, place_batch, shardings
from sorajax.models.dit import DiT, DiTConfig
from sorajax.models.sora import init_dit
from sorajax.training.optimizer import OptimizerConfig, make_optimizer
from sorajax.training.step import make_begin, make_update

STEPS = 10
CONFIG = DiTConfig(
    width=24, hidden=48, depth=2, heads=4, in_channels=4, out_channels=4, text_width=8, frequencies=8, remat="dots"
)
# Every axis, alone and with others; a mesh of more heads than tensor leaves them does Ulysses, else the ring, or both.
MESHES = {
    "data=8": "all-reduce",
    "data=2,fsdp=2,seq=2": "all-to-all",
    "seq=8": "collective-permute",
    "fsdp=2,seq=2,tensor=2": "all-to-all",
    "tensor=4,seq=2": "collective-permute",
}


@flax.struct.dataclass
class Toy:
    """Velocities of random clips; clips have clocks for each frame and text."""

    config: DiTConfig = flax.struct.field(pytree_node=False)

    def init(self, key):
        params = init_dit(self.config, key)
        noise = jax.random.split(jax.random.key(1), len(jax.tree.leaves(params)))
        keys = jax.tree.unflatten(jax.tree.structure(params), list(noise))
        return jax.tree.map(lambda x, key: x + 0.1 * jax.random.normal(key, x.shape), params, keys)  # no zero layers

    def loss(self, params, batch, key):
        x, time, text = batch
        velocity = DiT(self.config).apply({"params": params}, x, time, text)
        return jnp.mean(jnp.square(velocity - jnp.roll(x, 1, 2))), {}


def batches():
    rng = np.random.default_rng(0)
    shapes = (8, 2, 8, 8, 4), (8, 2), (8, 3, 8)  # 32 tokens
    return [tuple(rng.random(shape, np.float32) for shape in shapes) for _ in range(STEPS)]


OPTIMIZER = OptimizerConfig(warmup=1, learning_rate=3e-3)


def trained(config, mesh_text, optimizer=OPTIMIZER):
    """Losses of STEPS steps, and the collectives of the compiled step."""
    devices = jax.devices() if mesh_text else jax.devices()[:1]
    mesh, stage = make_mesh(mesh_text, devices), Toy(config)
    transform = make_optimizer(optimizer, STEPS)
    begin = make_begin(transform, stage)
    where = shardings(jax.eval_shape(lambda key: begin(stage.init(key)), jax.random.key(0)), mesh)
    with jax.set_mesh(mesh):
        state = jax.jit(lambda key: begin(stage.init(key)), out_shardings=where)(jax.random.key(0))
        update = jax.jit(make_update(transform, optimizer), out_shardings=(where, None))
        placed = [place_batch(batch, mesh) for batch in batches()]
        compiled = update.lower(state, stage, placed[0], jax.random.key(2), 1.0).compile()
        losses = []
        for batch in placed:
            state, metrics = compiled(state, stage, batch, jax.random.key(2), 1.0)
            losses.append(float(metrics["loss"]))
    return np.array(losses), compiled.as_text(), state


@pytest.fixture(scope="module")
def alone():
    return trained(CONFIG, "")[0]


@pytest.mark.slow
@pytest.mark.parametrize("mesh", MESHES)
def test_any_mesh_equals_one_device(mesh, alone):
    losses, text, _ = trained(CONFIG, mesh)
    off = np.max(np.abs(losses / alone - 1))
    print(f"{mesh:24} largest relative difference of the loss in {STEPS} steps: {off:.1e}")
    assert alone[-1] < 0.9 * alone[0]
    assert off < 1e-5, (losses, alone)
    assert MESHES[mesh] in text


@pytest.mark.parametrize("name", ["adamw", "muon"])
def test_moments_in_bfloat16_take_half_the_bytes(name):
    params = jax.eval_shape(Toy(CONFIG).init, jax.random.key(0))
    states = [
        jax.eval_shape(make_optimizer(OptimizerConfig(name, state_dtype=dtype), STEPS).init, params)
        for dtype in ("float32", "bfloat16")
    ]
    full, half = (sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(state)) for state in states)
    assert half < 0.51 * full


@pytest.mark.slow
def test_moments_in_bfloat16_train_equally_well(alone):
    optimizer = OptimizerConfig(warmup=1, learning_rate=3e-3, state_dtype="bfloat16")
    np.testing.assert_allclose(trained(CONFIG, "", optimizer)[0], alone, rtol=0.05)


def test_sizes_that_do_not_divide_are_named():
    mesh = make_mesh("seq=8")
    with pytest.raises(ValueError, match="mesh seq=8 does not divide 20 tokens of a clip: use seq=1, 2, 4"):
        check_divides(mesh, "seq", "tokens of a clip", 20)
    check_divides(mesh, "seq", "tokens of a clip", 24)
