"""The watermark's objective: codecs change what is read, marks keep their strength, and weights go round."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sorajax.data.buckets import Bucket
from sorajax.data.covers import CoverData
from sorajax.evaluation.watermark import psnr
from sorajax.safety import signal
from sorajax.safety.watermark import load_weights
from sorajax.training.experiments import load_experiment
from sorajax.training.objectives.watermark import WatermarkObjective, WatermarkStage, mark, straight_through

BUCKET = Bucket(5, 64, 64, batch_size=2)


@pytest.fixture(scope="module")
def pixels():
    return CoverData(world=0.0).make(BUCKET, np.random.default_rng(0)).pixels


def test_a_mark_has_the_strength_asked_for(pixels):
    params = WatermarkStage().init(jax.random.key(0))
    phases = jnp.exp(1j * jax.random.uniform(jax.random.key(1), signal.SHAPE, maxval=6.28))
    marked, seen = mark(params, 40.0, jnp.asarray(pixels[0], jnp.float32), phases)
    assert psnr(pixels[0], np.asarray(marked)) == pytest.approx(40, abs=0.01)
    assert seen == pytest.approx(1, abs=1e-4)  # equal gains


def test_every_clip_is_changed_by_some_codec(pixels):
    clips = pixels.astype(np.float32)
    objective = WatermarkObjective(plain=0.0)
    changed = WatermarkStage(objective).compressed(clips, 3)
    assert changed.shape == clips.shape
    assert all(0 < np.abs(one - other).mean() < 40 for one, other in zip(clips, changed, strict=True))
    assert np.array_equal(changed, WatermarkStage(objective).compressed(clips, 3))


def test_gradients_pass_through_what_has_none():
    assert jax.grad(lambda x: straight_through(jnp.round, x).sum())(jnp.array([0.3]))[0] == 1


def test_exported_weights_are_read_back(tmp_path):
    stage = WatermarkStage()
    params = stage.init(jax.random.key(0))
    stage.export(tmp_path, params)
    back = load_weights(tmp_path)
    assert jax.tree.structure(back) == jax.tree.structure(params)
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-3, atol=1e-6), back, params)
    assert (tmp_path / "model.safetensors").stat().st_size < 800_000
    jax.tree.map(np.testing.assert_array_equal, stage.load(tmp_path), back)


@pytest.mark.slow
def test_a_few_steps_raise_what_is_read():
    """The loss falls on one batch with one key."""
    config = load_experiment("configs/watermark.py")
    stage, _ = config.build(None)
    batch = CoverData(world=0.0).make(BUCKET, np.random.default_rng(0))
    params = stage.init(jax.random.key(0))
    step = jax.jit(jax.value_and_grad(stage.loss, has_aux=True))
    losses = []
    for _ in range(8):
        (loss, metrics), gradient = step(params, batch, jax.random.key(1))
        params = jax.tree.map(lambda leaf, slope: leaf - 0.02 * slope, params, gradient)
        losses.append(float(loss))
    assert losses[-1] < losses[0]
    assert -1 <= metrics["lowest"] <= metrics["correlation"] <= 1
