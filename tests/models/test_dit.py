"""Laws of the transformer."""

from dataclasses import replace
from functools import partial

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
    rng = np.random.default_rng(0)
    x, context = (rng.standard_normal(shape, np.float32) for shape in ((2, 3, 4, 4, 4), (2, 5, 8)))
    time = jnp.array([[0.1, 0.5, 0.9], [0.3, 0.3, 0.3]])
    params = jax.eval_shape(DiT(CONFIG).init, jax.random.key(0), x, time, context)["params"]
    params = jax.tree.map(lambda leaf: rng.normal(0, 0.2, leaf.shape).astype(np.float32), params)
    return params, x, time, context


@partial(jax.jit, static_argnums=0)
def applied(config, params, x, time, context, positions=None, until=None):
    return DiT(config).apply({"params": params}, x, time, context, positions, until=until)


def velocity(params, x, time, context, positions=None, until=None, **changes):
    return np.asarray(applied(replace(CONFIG, **changes), params, x, time, context, positions, until))


def test_scanned_and_unrolled_layers_compute_the_same(inputs):
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


def test_the_velocity_depends_on_the_text(inputs):
    params, x, time, context = inputs
    assert np.abs(velocity(params, x, time, context) - velocity(params, x, time, context + 1)).max() > 1e-3


def test_time_and_frame_rate_have_different_effects(inputs):
    """Only differences of positions matter, and they do."""
    params, x, time, context = inputs
    plain = velocity(params, x, time, context)
    np.testing.assert_allclose(plain, velocity(params, x, time, context, jnp.arange(3.0) + 4), atol=1e-4)
    assert np.abs(plain - velocity(params, x, time, context, jnp.arange(3.0) / 2)).max() > 1e-4


def test_bfloat16_is_near_float32(inputs):
    params, x, time, context = inputs
    exact, rough = velocity(params, x, time, context), velocity(params, x, time, context, dtype="bfloat16")
    assert rough.dtype == np.float32
    assert np.abs(rough - exact).max() < 0.05 * np.abs(exact).max()


def test_time_features_are_cosines_then_sines_of_a_thousand_times_time():
    features = time_features(jnp.array([[0.25]]), 8)[0, 0]
    np.testing.assert_allclose(features[0], np.cos(250.0), atol=1e-5)
    np.testing.assert_allclose(features[4], np.sin(250.0), atol=1e-5)


def test_padding_does_not_change_the_pooled_text():
    context = np.random.default_rng(0).standard_normal((2, 3, 8), np.float32)
    padded = np.pad(context, ((0, 0), (0, 4), (0, 0)))
    np.testing.assert_allclose(pool_text(padded), pool_text(context), atol=1e-6)


def test_a_width_that_does_not_split_is_refused():
    with pytest.raises(ValueError, match="width 24 does not split into 5 heads"):
        replace(CONFIG, heads=5)


@pytest.mark.parametrize("stacked", [True, False])
def test_a_flow_map_with_equal_times_is_the_velocity(inputs, stacked):
    params, x, time, context = inputs
    if not stacked:
        layers = {f"block_{n}": jax.tree.map(lambda leaf, n=n: leaf[n], params["blocks"]) for n in range(CONFIG.depth)}
        params = {name: part for name, part in params.items() if name != "blocks"} | layers
    apply = lambda until: velocity(params, x, time, context, until=until, until_blocks=1, stacked=stacked)  # noqa: E731
    same = apply(time)
    np.testing.assert_allclose(same, apply(None), atol=1e-6)
    assert np.abs(apply(time.at[0, 1].set(0.0)) - same)[0, 1].max() > 1e-3
    np.testing.assert_allclose(same, velocity(inputs[0], x, time, context), atol=1e-5)


def test_only_the_last_blocks_and_the_output_read_the_second_time(inputs):
    params, x, time, context = inputs
    model = DiT(replace(CONFIG, until_blocks=2))
    apply = jax.jit(lambda params, time, until: model.apply({"params": params}, x, time, context, until=until))

    def sees(first, last):
        """The parameters with blocks whose branches are shut, outside of first to last - 1."""
        table = np.array(params["blocks"]["modulation"])
        shut = np.array([not first <= layer < last for layer in range(CONFIG.depth)])
        table[shut] = 0
        still = {name: np.zeros_like(leaf) for name, leaf in params["time_modulation"].items()}
        return {**params, "time_modulation": still, "blocks": {**params["blocks"], "modulation": table}}

    changed = np.abs(apply(sees(0, 3), time, time * 0.5) - apply(sees(0, 3), time, time))
    assert changed.max() > 1e-3  # by the output, as no block reads a time here
    np.testing.assert_array_equal(apply(sees(0, 3), time, time * 0.5), apply(sees(0, 3), time * 0.9, time * 0.5))
    assert np.abs(apply(params, time, time * 0.5) - apply(params, time * 0.9, time * 0.5)).max() > 1e-3


def test_more_blocks_cannot_read_the_second_time_than_there_are():
    with pytest.raises(ValueError, match="until_blocks 3 is not allowed: of 3 blocks 0 to 2"):
        replace(CONFIG, until_blocks=3)


@pytest.mark.parametrize("interval", [False, True])
def test_an_embedding_of_the_second_time_counts_by_its_gate(inputs, interval):
    """At `until_gate` 1 only the second time is read, or, of the interval, both by their difference alone."""
    params, x, time, context = inputs
    layers = {"until_in": params["time_in"], "until_out": params["time_out"]}

    def apply(gate, time, until):
        changes = {"until_gate": gate, "until_interval": interval}
        return velocity({**params, **layers}, x, time, context, until=until, **changes)

    np.testing.assert_array_equal(apply(0.25, time, None), apply(0.25, time, time))
    assert np.abs(apply(0.25, time, time * 0.5) - apply(0.25, time, time)).max() > 1e-4
    if interval:
        np.testing.assert_allclose(apply(1.0, time, time * 0.5), apply(1.0, time * 0.5, time * 0), atol=1e-5)
    else:
        plain = velocity(params, x, time, context)
        np.testing.assert_allclose(apply(0.25, time, time), plain, atol=1e-5)  # both embeddings are the same here
        np.testing.assert_allclose(apply(1.0, time * 0.5, time), plain, atol=1e-5)


def test_a_guidance_scale_is_read_for_each_clip(inputs):
    params, x, time, context = inputs
    config = replace(CONFIG, guidance=3.0, guidance_range=(1.0, 6.0))
    fresh = jax.eval_shape(DiT(config).init, jax.random.key(0), x, time, context)["params"]
    rng = np.random.default_rng(1)
    more = {name: fresh[name] for name in ("guidance_in", "guidance_out")}
    more = jax.tree.map(lambda leaf: rng.normal(0, 0.2, leaf.shape).astype(np.float32), more)

    @jax.jit
    def of(params, *scale):
        return DiT(config).apply({"params": params}, x, time, context, guidance=scale[0] if scale else None)

    usual, given = of({**params, **more}), of({**params, **more}, jnp.array([3.0, 1.5]))
    np.testing.assert_array_equal(given[0], usual[0])
    assert np.abs(given[1] - usual[1]).max() > 1e-3
    unread = jax.tree.map(np.zeros_like, more["guidance_out"])  # as before training
    np.testing.assert_allclose(of({**params, **more, "guidance_out": unread}), velocity(*inputs), atol=1e-5)


@pytest.mark.parametrize(("scale", "within"), [(3.0, None), (0.5, (0.5, 2.0)), (3.0, (1.0, 2.0)), (0.0, (1.0, 2.0))])
def test_guidance_scales_outside_of_a_range_are_refused(scale, within):
    with pytest.raises(ValueError, match="use a scale in a range from 1 up, or 0 and null"):
        replace(CONFIG, guidance=scale, guidance_range=within)


def test_one_way_to_read_the_second_time():
    with pytest.raises(ValueError, match=r"until_gate 0.25 and until_blocks 1 are two ways to read the second time"):
        replace(CONFIG, until_gate=0.25, until_blocks=1)
    with pytest.raises(ValueError, match=r"until_gate 1.5 is not allowed: use 0 to 1"):
        replace(CONFIG, until_gate=1.5)


@pytest.mark.parametrize("depth", [0, -1])
def test_a_transformer_without_blocks_is_refused(depth):
    with pytest.raises(ValueError, match=f"depth {depth} is not allowed"):
        replace(CONFIG, depth=depth)
