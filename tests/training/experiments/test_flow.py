"""An experiment of flow matching is planned by shapes that are those of its batches."""

import tempfile
from dataclasses import replace
from pathlib import Path

import jax
import pytest

from sorajax.devices.sharding import make_mesh
from sorajax.training.experiments import load_experiment


def test_a_plan_has_the_batch_and_the_mesh_of_the_experiment():
    config = load_experiment("tests/configs/small_plan.py")
    mesh = make_mesh("fsdp=8")
    small = jax.tree.map(lambda x: x, config.planned(mesh))
    stage, (batch,) = small
    assert batch.latent.shape[1:] == (2, 16, 16, 16)
    assert batch.size % 8 == 0
    assert batch.size * 2 * 8 * 8 <= 16_384
    with pytest.raises(ValueError, match="does not divide 4 heads: use tensor=1, 2, 4"):
        stage.check(make_mesh("tensor=8"))


def test_the_world_experiment_is_planned():
    """Clips are rendered and encoded in the step; what a plan compiles has the shapes of a batch of the loader."""
    config = load_experiment("configs/world_large.py")
    small = replace(
        config,
        data=replace(
            config.data,
            threads=1,
            prefetch=1,
            buckets=tuple(replace(bucket, batch_size=2) for bucket in config.data.buckets),
        ),
    )
    stage, planned = small.planned(make_mesh("fsdp=1", jax.devices()[:1]))
    with tempfile.TemporaryDirectory() as directory:
        real, batches = small.build(Path(directory))
    batch = next(iter(batches))
    assert batch.latent is None
    shapes = {plan.bucket: jax.tree.map(lambda x: (x.shape, x.dtype), plan) for plan in planned}
    assert jax.tree.map(lambda x: (x.shape, x.dtype), batch) == shapes[batch.bucket]
    assert jax.eval_shape(stage.init, jax.random.key(0)).keys() == real.init(jax.random.key(0)).keys()
