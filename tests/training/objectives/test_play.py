"""A model to play learns what its actions do; before training they do nothing."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sorajax.data.plays import PlayBatch
from sorajax.models.play import PlayConfig
from sorajax.models.sora import init_text
from sorajax.models.velocity import ExtraInputs, velocity_of
from sorajax.training.objectives.play import PlayObjective, PlayStage, random_generated
from sorajax.training.optimizer import OptimizerConfig, make_optimizer
from sorajax.training.step import make_begin, make_update
from tests.conftest import TINY
from tests.interactive.worlds import DIT

CONFIG = PlayConfig(DIT, window=4)
OPTIMIZER = OptimizerConfig(learning_rate=1e-2, warmup=1, schedule="constant", weight_decay=0.0)


@pytest.fixture(scope="module")
def stage():
    return PlayStage(init_text(TINY.text, jax.random.key(0)), CONFIG, TINY.text, PlayObjective(single=1.0, whole=0.0))


def batch_of(actions):
    """Windows whose last frame is the sign of its action everywhere."""
    b = len(actions)
    latent = np.zeros((b, 4, 4, 4, 4), np.float32)
    latent[:, -1] = np.where(np.array(actions) == 1, -1.0, 1.0)[:, None, None, None]
    keys = np.zeros((b, 4), np.int32)
    keys[:, -1] = actions
    return PlayBatch(latent, keys, np.ones((b, 12), np.int32), np.ones((b, 12), bool), latent)


def test_new_actions_change_nothing(stage):
    params = jax.jit(PlayStage.init)(stage, jax.random.key(1))["dit"]
    x, time = jax.random.normal(jax.random.key(2), (2, 4, 4, 4, 4)), jnp.full((2, 4), 0.5)
    params = jax.tree.map(lambda leaf: leaf + 0.1, params) | {"actions": params["actions"]}
    context = jnp.ones((2, 3, 8))
    with_action = velocity_of(DIT, {"params": params}, context, ExtraInputs(actions=jnp.array([[0, 1, 2, 3]] * 2)))
    without = {name: leaf for name, leaf in params.items() if name != "actions"}
    plain = velocity_of(replace(DIT, actions=0), {"params": without}, context)
    np.testing.assert_allclose(jax.jit(with_action)(x, time), jax.jit(plain)(x, time), atol=1e-6)


def test_the_next_frame_follows_the_action(stage):
    optimizer = make_optimizer(OPTIMIZER, 60)
    state = make_begin(optimizer, stage)(stage.init(jax.random.key(0)))
    update, batch = jax.jit(make_update(optimizer, OPTIMIZER)), batch_of([1, 2] * 8)
    for step in range(60):
        state, metrics = update(state, stage, batch, jax.random.key(step), 1.0)
    exchanged = batch.replace(actions=batch_of([2, 1] * 8).actions)
    validate = jax.jit(PlayStage.validate)
    right, wrong = (float(validate(stage, state.params, one, jax.random.key(7))["loss"]) for one in (batch, exchanged))
    assert np.isfinite(metrics["loss"])
    assert right < 0.7 * wrong


def test_the_last_frames_are_generated():
    objective = PlayObjective(single=0.5, whole=0.1)
    generated = np.asarray(random_generated(jax.random.key(0), 4000, 9, objective))
    counts = generated.sum(1)
    assert (np.diff(generated.astype(int), axis=1) >= 0).all()
    assert abs((counts == 1).mean() - 0.5) < 0.03
    assert abs((counts == 9).mean() - 0.1) < 0.03
    assert set(counts) == set(range(1, 10))
