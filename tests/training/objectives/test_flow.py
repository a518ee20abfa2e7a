"""The flow objective: fixed frames do not count, and the loss by noise level adds up to the loss."""

import dataclasses
from functools import partial

import jax
import numpy as np
import pytest

from sorajax.data.buckets import Bucket
from sorajax.data.videos.clips import tokens_of
from sorajax.data.worlds import WorldBatch, WorldData, caption_maker
from sorajax.devices.sharding import make_mesh, place_batch, shardings
from sorajax.models.text import Tokenizer
from sorajax.training.objectives.flow import FlowObjective, FlowStage
from sorajax.training.transformer import TransformerFolder
from tests.conftest import TINY, tiny_tokenizer
from tests.weights import init

BUCKET = Bucket(5, 16, 16, batch_size=4)


def stage(**objective):
    shapes = jax.eval_shape(partial(init, TINY), jax.random.key(0))
    rng = np.random.default_rng(1)
    params = jax.tree.map(lambda leaf: 0.1 * rng.normal(size=leaf.shape).astype(np.float32), shapes)
    params["dit"]["patch_out"] = jax.tree.map(np.zeros_like, params["dit"]["patch_out"])
    tokenizer = Tokenizer(tiny_tokenizer(), TINY.text.tokens)
    made = FlowStage(
        vae=params.pop("vae"),
        prompts=tokens_of(tokenizer)(["a red ball", ""]),
        config=TINY,
        objective=FlowObjective(sample_steps=2, **objective),
        data=WorldData(buckets=(BUCKET,)),
        folder=TransformerFolder(tokenizer.source),
    )
    ids, mask = tokenizer.encode(["a red ball bounces"] * 4)
    latent = np.random.default_rng(0).normal(size=(4, 2, 4, 4, 4)).astype(np.float16)
    return made, params, WorldBatch(latent=latent, ids=ids, mask=mask, bucket=BUCKET)


@pytest.mark.slow
@pytest.mark.parametrize("known", [0.0, 1.0])
def test_an_untrained_model_predicts_zero_and_its_loss_is_the_targets_variance(known):
    made, params, batch = stage(known=known)
    loss = jax.jit(made.loss)
    losses = [loss(params, batch, jax.random.key(seed)) for seed in range(4)]
    expected = 1 + float(np.mean(np.square(batch.latent.astype(np.float32))))
    assert np.mean([loss for loss, _ in losses]) == pytest.approx(expected, rel=0.15)
    for loss, metrics in losses:
        total, number = metrics["loss_by_time"]
        assert float(total.sum() / number.sum()) == pytest.approx(float(loss), rel=1e-5)
        assert number.sum() == 8 if known == 0 else number.sum() < 8


def test_windows_of_longer_clips_are_anchored_to_the_first_latent():
    made, params, batch = stage(known=0.0, max_anchor_gap=2)
    latent = np.random.default_rng(0).normal(size=(4, 9, 4, 4, 4)).astype(np.float16)
    batch = batch.replace(latent=latent, bucket=Bucket(33, 16, 16, batch_size=4, window_frames=17))
    shown, positions = jax.jit(made.shown)(batch, jax.random.key(0))
    np.testing.assert_array_equal(shown[:, 0], latent[:, 0])
    assert shown.shape[1] == len(positions) == 5
    assert positions[1] <= 3
    validate = jax.jit(made.validate)(params, batch, jax.random.key(0))
    number = jax.jit(made.loss)(params, batch, jax.random.key(0))[1]["loss_by_time"].number
    assert number.sum() < 16  # of 4 x 5 frames the first ones do not count, and of the others some
    assert made.tokens(batch) == 4 * 5 * 4
    assert np.isfinite(validate["loss"])


def test_rendered_and_cached_clips_train_the_same():
    made, params, batch = stage()
    rendered = caption_maker(made.data, lambda prompts: (batch.ids, batch.mask))(BUCKET, np.random.default_rng(0))
    loss, _ = jax.eval_shape(made.loss, params, rendered, jax.random.key(0))
    assert loss.shape == ()
    assert jax.eval_shape(made.latents, rendered).shape == batch.latent.shape


@pytest.mark.slow
def test_a_sharded_loss_equals_an_unsharded_one():
    made, params, batch = stage()
    params["dit"]["patch_out"]["kernel"] += 0.5  # so that the whole model counts
    loss = jax.jit(lambda params, batch, key: made.loss(params, batch, key)[0])
    alone = loss(params, batch, jax.random.key(3))
    mesh = make_mesh("data=2,fsdp=2,tensor=2")
    with jax.set_mesh(mesh):
        together = loss(jax.device_put(params, shardings(params, mesh)), place_batch(batch, mesh), jax.random.key(3))
    np.testing.assert_allclose(alone, together, rtol=1e-5)


def test_a_preview_is_one_row_of_frames_for_each_prompt():
    made, params, _ = stage()
    picture = made.preview(params, jax.random.key(0))
    assert (picture.shape, picture.dtype) == ((16, 5 * 16, 3), np.uint8)


def test_cached_and_rendered_batches_share_their_static_description():
    _, _, batch = stage()
    other = dataclasses.replace(batch, latent=batch.latent + 1)
    assert jax.tree.structure(batch) == jax.tree.structure(other)
    assert batch.size == 4
