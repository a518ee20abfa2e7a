"""Muon takes hidden matrices only, whole stacks at once; schedules begin at zero, peak and fall as they say."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from sorajax.training.optimizer import OptimizerConfig, averaged, decayed, ema_decay, make_optimizer, matrices, schedule

PARAMS = {
    "dit": {
        "patch_in": {"kernel": jnp.ones((4, 8))},
        "blocks": {
            "up": {"kernel": jnp.ones((3, 8, 16)), "bias": jnp.ones((3, 16))},
            "modulation": jnp.ones((3, 6, 8)),
        },
    },
    "text": {"embedding": jnp.ones((16, 8))},
    "vae": {"level0": {"conv1": {"kernel": jnp.ones((3, 3, 3, 4, 8)), "bias": jnp.ones(8)}}},
}


def test_only_hidden_matrices_are_orthogonalised():
    chosen = {
        jax.tree_util.keystr(path, simple=True, separator="/"): (leaf.reduction_axis, leaf.output_axis)
        for path, leaf in jax.tree_util.tree_leaves_with_path(matrices(PARAMS), is_leaf=lambda x: hasattr(x, "_fields"))
    }
    assert chosen == {
        "dit/blocks/up/kernel": (1, 2),
        "vae/level0/conv1/kernel": ((0, 1, 2, 3), 4),
    }
    kept = jax.tree_util.tree_leaves_with_path(decayed(PARAMS))
    assert {path[-1].key for path, leaf in kept if leaf} == {"kernel"}


def test_muon_orthogonalises_each_matrix_of_a_stack():
    gradient = {"blocks": {"up": {"kernel": jax.random.normal(jax.random.key(0), (3, 8, 16))}}}
    params = jax.tree.map(jnp.zeros_like, gradient)
    optimizer = make_optimizer(OptimizerConfig(name="muon", learning_rate=1.0, warmup=0, weight_decay=0, clip=0), 10)
    change, _ = optimizer.update(gradient, optimizer.init(params), params)
    for matrix in np.asarray(change["blocks"]["up"]["kernel"]):
        values = np.linalg.svd(matrix, compute_uv=False) / (0.2 * 16**0.5)
        assert values.max() < 1.3
        assert values.min() > 0.5


@pytest.mark.parametrize("kind", ["cosine", "linear"])
def test_the_rate_warms_up_holds_and_falls(kind):
    rate = schedule(OptimizerConfig(learning_rate=2.0, schedule=kind, warmup=10, decay=0.25), 100)
    assert rate(0) == 0
    assert rate(5) == pytest.approx(1)
    assert all(rate(n) == pytest.approx(2) for n in (10, 40, 75))
    assert 0.9 < rate(88) < 1.2
    assert rate(100) == pytest.approx(0, abs=1e-6)


def test_accumulated_batches_equal_one_large_batch():
    params = {"kernel": jnp.ones((2, 2))}
    gradients = [{"kernel": jnp.full((2, 2), value)} for value in (1.0, 3.0)]
    mean = {"kernel": jnp.full((2, 2), 2.0)}
    config = OptimizerConfig(learning_rate=0.1, warmup=0, schedule="constant")
    once = make_optimizer(config, 1)
    expected, _ = once.update(mean, once.init(params), params)
    twice = make_optimizer(OptimizerConfig(learning_rate=0.1, warmup=0, schedule="constant", accumulation=2), 2)
    state, found = twice.init(params), params
    for gradient in gradients:
        change, state = twice.update(gradient, state, params)
        found = optax.apply_updates(params, change)
    np.testing.assert_allclose(found["kernel"], optax.apply_updates(params, expected)["kernel"], rtol=1e-6)


def test_the_average_warms_up_and_moves_only_with_updates():
    decay = ema_decay(OptimizerConfig(ema=0.99))
    old, new = {"x": jnp.zeros(())}, {"x": jnp.ones(())}
    assert averaged(old, new, jnp.int32(3), 2, decay)["x"] == 0
    assert averaged(old, new, jnp.int32(2), 2, decay)["x"] == pytest.approx(1 - 2 / 11)
    assert averaged(old, new, jnp.int32(10**6), 2, decay)["x"] == pytest.approx(0.01, rel=1e-3)


@pytest.mark.parametrize("wrong", [{"ema": 1.5}, {"learning_rate": 0.0}, {"accumulation": 0}, {"decay": -1.0}])
def test_a_wrong_setting_is_one_clear_line(wrong):
    with pytest.raises(ValueError, match=f"optimizer.{next(iter(wrong))} is"):
        OptimizerConfig(**wrong)
