"""The table shards every leaf of a training state by its path; without a mesh, shard() is the identity."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import PartitionSpec as P

from sorajax.devices.sharding import batch_sharding, make_mesh, place_batch, shard, shardings
from sorajax.models.dit import DiT, DiTConfig
from sorajax.models.sora import init_dit, init_text, init_vae
from sorajax.models.text import TextConfig, TextEncoder
from sorajax.models.vae import VAE, VAEConfig
from sorajax.training.state import TrainState

SHAPES = {
    "dit": {
        "blocks": {"feed_forward": {"up": {"kernel": (2, 8, 16), "bias": (2, 16)}, "down": {"kernel": (2, 16, 8)}}},
    },
    "text": {"embedding": (16, 8), "norm": {"scale": (8,)}},
    "vae": {"conv": {"kernel": (3, 3, 3, 4, 8)}, "odd": {"kernel": (3, 5)}},
}
EXPECTED = {
    "dit": {
        "blocks": {
            "feed_forward": {
                "up": {"kernel": P(None, "fsdp", "tensor"), "bias": P(None, "tensor")},
                "down": {"kernel": P(None, "tensor", "fsdp")},
            }
        }
    },
    "text": {"embedding": P("tensor", "fsdp"), "norm": {"scale": P(None)}},
    "vae": {"conv": {"kernel": P(None, None, None, "fsdp", None)}, "odd": {"kernel": P(None, None)}},
}


def test_the_table_shards_parameters_averages_and_moments_equally():
    params = jax.tree.map(lambda shape: jax.ShapeDtypeStruct(shape, jnp.float32), SHAPES, is_leaf=_is_shape)
    optimizer = optax.adamw(1e-3)
    state = jax.eval_shape(lambda p: TrainState(jnp.int32(0), p, p, optimizer.init(p)), params)
    where = shardings(state, make_mesh("fsdp=4,tensor=2"))
    for tree in (where.params, where.ema, where.opt_state[0].mu, where.opt_state[0].nu):
        assert jax.tree.map(lambda s: s.spec, tree) == EXPECTED
    assert where.step.spec == P()


def _is_shape(x):
    return isinstance(x, tuple)


def test_shard_is_the_identity_without_a_mesh_and_keeps_values_with_one():
    x = jnp.arange(24.0).reshape(4, 6)
    assert shard(x, "data", "tensor") is x
    mesh = make_mesh("data=4,tensor=2")
    with jax.set_mesh(mesh):
        y = jax.jit(lambda x: shard(x, "data", "tensor") + 0)(x)
        z = jax.jit(lambda x: shard(x, ("data", "fsdp"), "seq") + 0)(x[:3])  # 3 does not divide: that axis is dropped
    assert tuple(y.sharding.spec) == ("data", "tensor")
    np.testing.assert_array_equal(x, y)
    np.testing.assert_array_equal(x[:3], z)


DIT = DiTConfig(width=48, hidden=96, depth=2, heads=2, in_channels=4, out_channels=4, text_width=32, frequencies=32)
TEXT = TextConfig(vocabulary=64, width=64, hidden=128, depth=2, heads=4, head_width=16, tokens=32)
CLIPS = {
    "dit": (init_dit, DIT, DiT, [((3, 16, 16, 4), "float32"), ((3,), "float32"), ((32, 32), "float32")]),
    "text": (init_text, TEXT, TextEncoder, [((32,), "int32"), ((32,), "bool")]),
    "vae": (init_vae, VAEConfig(base=16, latent_channels=8), VAE, [((5, 32, 32, 3), "float32")]),
}


@pytest.mark.slow
@pytest.mark.parametrize("model", CLIPS)
def test_each_device_computes_its_own_clips(model):
    """The gradient over 16 clips, split over eight devices, needs little more than an eighth of one device's memory."""
    init, config, module, arguments = CLIPS[model]

    def temporary(mesh):
        params = jax.eval_shape(lambda key: init(config, key), jax.random.key(0))
        where = shardings(params, mesh)
        params = jax.tree.map(lambda s, at: jax.ShapeDtypeStruct(s.shape, s.dtype, sharding=at), params, where)
        clips = [jax.ShapeDtypeStruct((16, *s), d, sharding=batch_sharding(mesh)) for s, d in arguments]

        def loss(params, *clips):
            return jnp.mean(jnp.square(module(config).apply({"params": params}, *clips)))

        with jax.set_mesh(mesh):
            compiled = jax.jit(jax.grad(loss), out_shardings=where).lower(params, *clips).compile()
        return compiled.memory_analysis().temp_size_in_bytes

    assert temporary(make_mesh("fsdp=8")) < 0.17 * temporary(make_mesh({}, jax.devices()[:1]))


def test_a_mesh_uses_all_devices():
    assert dict(make_mesh("data=2,fsdp=-1").shape) == {"data": 2, "fsdp": 4, "seq": 1, "tensor": 1}
    assert dict(make_mesh().shape) == {"data": 1, "fsdp": 8, "seq": 1, "tensor": 1}


@pytest.mark.parametrize(
    ("shape", "said"),
    [("dtaa=8", "does not exist"), ("data=3", "does not fill 8"), ("data", "axis=size"), ("data=0", "not a size")],
)
def test_a_wrong_mesh_is_one_clear_line(shape, said):
    with pytest.raises(ValueError, match=said):
        make_mesh(shape)


def test_a_batch_that_does_not_divide_is_one_clear_line():
    mesh = make_mesh("data=2,fsdp=4")
    assert place_batch({"x": np.zeros((8, 2))}, mesh)["x"].sharding.spec == P(("data", "fsdp"))
    with pytest.raises(ValueError, match="a batch of 6 does not divide over 8 devices"):
        place_batch({"x": np.zeros((6, 2))}, mesh)
