"""Laws of the transformer."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sorajax.models.dit import DiT, DiTConfig, pool_text, time_features

CONFIG = DiTConfig(
    width=24, hidden=32, depth=3, heads=2, in_channels=4, out_channels=4, text_width=8, frequencies=16, remat="none"
)


@pytest.fixture(scope="module")
def inputs():
    """Random inputs, and parameters random in every leaf, so that no zero hides anything."""
    keys = jax.random.split(jax.random.key(0), 3)
    x, context = jax.random.normal(keys[0], (2, 3, 4, 4, 4)), jax.random.normal(keys[1], (2, 5, 8))
    time = jnp.array([[0.1, 0.5, 0.9], [0.3, 0.3, 0.3]])
    params = jax.eval_shape(DiT(CONFIG).init, keys[2], x, time, context)["params"]
    rng = np.random.default_rng(0)
    params = jax.tree.map(lambda leaf: rng.normal(0, 0.2, leaf.shape).astype(np.float32), params)
    return params, x, time, context


def velocity(params, x, time, context, positions=None, **changes):
    return jax.jit(DiT(replace(CONFIG, **changes)).apply)({"params": params}, x, time, context, positions)


def test_layers_differ_only_in_how_they_are_compiled(inputs):
    params, x, time, context = inputs

    def gradient(**changes):
        model = DiT(replace(CONFIG, **changes))
        return jax.jit(jax.grad(lambda p: jnp.mean(model.apply({"params": p}, x, time, context) ** 2)))(params)

    expected = gradient()
    for changes in ({"unroll": 3}, {"remat": "full"}, {"remat": "dots"}):
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5), gradient(**changes), expected)


def test_every_frame_has_its_own_clock(inputs):
    params, x, time, context = inputs
    before = velocity(params, x, time, context)
    after = velocity(params, x, time.at[0, 1].set(0.7), context)
    assert np.abs(before[0, 1] - after[0, 1]).max() > 1e-3
    np.testing.assert_array_equal(before[1], after[1])  # nothing leaks into the other clip of the batch


def test_text_is_read(inputs):
    params, x, time, context = inputs
    assert np.abs(velocity(params, x, time, context) - velocity(params, x, time, context + 1)).max() > 1e-3


def test_time_is_told_apart_from_speed(inputs):
    """Only differences of positions matter, and they do."""
    params, x, time, context = inputs
    plain = velocity(params, x, time, context)
    np.testing.assert_allclose(plain, velocity(params, x, time, context, jnp.arange(3.0) + 4), atol=1e-4)
    assert np.abs(plain - velocity(params, x, time, context, jnp.arange(3.0) / 2)).max() > 1e-4


def test_bfloat16_stays_close(inputs):
    params, x, time, context = inputs
    exact, rough = velocity(params, x, time, context), velocity(params, x, time, context, dtype="bfloat16")
    assert rough.dtype == jnp.float32
    assert np.abs(rough - exact).max() < 0.05 * np.abs(exact).max()


def test_time_features_are_cosines_then_sines_of_a_thousand_times_time():
    features = time_features(jnp.array([[0.25]]), 8)[0, 0]
    np.testing.assert_allclose(features[0], np.cos(250.0), atol=1e-5)
    np.testing.assert_allclose(features[4], np.sin(250.0), atol=1e-5)


def test_padding_does_not_weigh_in_the_pooled_text():
    context = jax.random.normal(jax.random.key(0), (2, 3, 8))
    padded = jnp.pad(context, ((0, 0), (0, 4), (0, 0)))
    np.testing.assert_allclose(pool_text(padded), pool_text(context), atol=1e-6)


def test_a_width_that_does_not_split_is_refused():
    with pytest.raises(ValueError, match="width 24 does not split into 5 heads"):
        replace(CONFIG, heads=5)
