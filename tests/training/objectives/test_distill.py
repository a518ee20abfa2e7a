"""Distillation: the student begins as its teacher, learns its trajectories, and keeps conditioning frames."""

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sorajax.data.buckets import Bucket
from sorajax.data.worlds import WorldBatch, WorldData
from sorajax.training.experiments.distill import DistillTraining
from sorajax.training.objectives.distill import DistillObjective, DistillStage
from sorajax.training.optimizer import OptimizerConfig, make_optimizer
from sorajax.training.step import make_begin, make_update

BUCKET = Bucket(5, 16, 16, batch_size=4)
TARGETS = ("trajectory", "jump", "derivative", "difference")
STEPS = 30
CONFIG = OptimizerConfig(learning_rate=3e-3, warmup=1, schedule="constant", weight_decay=0.0)
OBJECTIVE = DistillObjective(teacher_steps=4, pairs=2, grids=(2, 1))
LATENT = np.random.default_rng(0).standard_normal((4, 2, 4, 4, 4), np.float32)
BATCH = WorldBatch(latent=LATENT, ids=np.ones((4, 12), np.int32), mask=np.ones((4, 12), bool), bucket=BUCKET)


mean_velocities = jax.jit(DistillStage.mean_velocities, static_argnums=1)
mean_velocity, error_of = jax.jit(DistillStage.mean_velocity), jax.jit(DistillStage.error)


def training_of(teacher, **changes):
    values = {"until_blocks": 1, "data": WorldData(buckets=(BUCKET,)), "objective": OBJECTIVE, **changes}
    return DistillTraining(teacher=teacher, **values)


@pytest.fixture(scope="module")
def stage(tiny_model, tmp_path_factory) -> DistillStage:
    return training_of(tiny_model).build(tmp_path_factory.mktemp("distill"))[0]


def test_the_student_begins_as_the_teacher(stage):
    params = stage.init(jax.random.key(0))
    found = mean_velocities(stage, OBJECTIVE, params, BATCH, jax.random.key(1))
    x, time, _, _ = found.targets
    student = mean_velocity(stage, params, found.inputs, x, time, time)
    teacher = replace(
        stage, student=replace(stage.student, flow=replace(stage.student.flow, config=stage.teacher.config))
    )
    expected = mean_velocity(teacher, params, found.inputs, x, time, None)
    np.testing.assert_allclose(student, expected, atol=1e-5)


@pytest.mark.slow
def test_conditioning_frames_stay_at_time_0_and_do_not_count(stage):
    params = stage.init(jax.random.key(0))
    found = mean_velocities(stage, replace(OBJECTIVE, noised=0.0), params, BATCH, jax.random.key(2))
    (x, time, until, target), inputs = found
    fixed = np.asarray(inputs.generated) == 0
    assert 0 < fixed.sum() < fixed.size
    assert np.all(np.asarray(time)[fixed] == 0)
    assert np.all(np.asarray(until)[fixed] == 0)
    assert np.all(np.asarray(time)[~fixed] > np.asarray(until)[~fixed])
    clips = np.tile(LATENT, (OBJECTIVE.pairs, 1, 1, 1, 1))
    np.testing.assert_array_equal(np.asarray(x)[fixed], clips[fixed])
    error = error_of(stage, params, found)
    changed = found._replace(
        targets=found.targets._replace(target=jnp.where(fixed[..., None, None, None], 9.0, target))
    )
    np.testing.assert_allclose(error_of(stage, params, changed), error, rtol=1e-5)


def test_a_student_that_reads_the_guidance_scale_learns_each_scales_trajectories(tiny_model, tmp_path):
    objective = replace(OBJECTIVE, noised=0.0, guidance=(2.0, 6.0))
    stage = training_of(tiny_model, objective=objective).build(tmp_path)[0]
    params = stage.init(jax.random.key(0))
    found = mean_velocities(stage, objective, params, BATCH, jax.random.key(2))
    scales = np.asarray(found.inputs.extra.guidance)
    assert ((scales >= 2) & (scales <= 6)).all()
    assert {4.0} < set(scales.tolist())  # the teacher's own, and others
    usual = mean_velocities(stage, replace(objective, guidance=None), params, BATCH, jax.random.key(2))
    change = np.abs(found.targets.target - usual.targets.target).max((1, 2, 3, 4))
    assert ((change > 0) == (scales != 4)).all()


def test_noised_batches_begin_from_their_clips(stage):
    @partial(jax.jit, static_argnums=1)
    def begin(stage, noised, key):
        return stage.teacher.conditions(stage.student.flow, BATCH, key, steps=4, noised=noised, temperature=(0.7, 0.7))

    conditions, _ = begin(stage, 1.0, jax.random.key(3))
    assert 0.2 <= float(conditions.times[0]) < 1.0
    assert not np.asarray(conditions.known.mask).any()
    np.testing.assert_array_equal(conditions.known.latent, LATENT)
    conditions, noise = begin(stage, 0.0, jax.random.key(3))
    assert float(conditions.times[0]) == 1.0
    assert 0.5 < float(jnp.std(noise[1::2])) < 0.9  # half of the clips have the model's temperature, 1 here
    assert float(jnp.std(noise[::2])) > 0.8


@pytest.mark.slow
@pytest.mark.parametrize("target", TARGETS)
def test_the_student_comes_closer_to_the_teachers_trajectories(stage, target):
    stage = replace(stage, objective=replace(OBJECTIVE, target=target, noised=0.0))
    optimizer = make_optimizer(CONFIG, STEPS)
    state = make_begin(optimizer, stage)(stage.init(jax.random.key(0)))
    update, validate = jax.jit(make_update(optimizer, CONFIG)), jax.jit(DistillStage.validate)
    before = float(validate(stage, state.params, BATCH, jax.random.key(5))["loss"])
    for _ in range(STEPS):
        state, metrics = update(state, stage, BATCH, jax.random.key(1), 1.0)
        assert np.isfinite(metrics["error"])
    assert float(validate(stage, state.params, BATCH, jax.random.key(5))["loss"]) < 0.9 * before


@pytest.mark.slow
def test_both_derivatives_agree(stage):
    params = stage.init(jax.random.key(0))
    targets = [
        mean_velocities(stage, replace(OBJECTIVE, target=kind), params, BATCH, jax.random.key(4))
        for kind in ("derivative", "difference")
    ]
    forward, central = (np.asarray(found.targets.target) for found in targets)
    assert np.abs(forward - central).max() < 0.02 * np.abs(forward).max()


def test_validation_reports_each_number_of_steps(stage):
    found = jax.jit(DistillStage.validate)(stage, stage.init(jax.random.key(0)), BATCH, jax.random.key(5))
    assert set(found) == {"loss", "error_1_steps", "error_2_steps"}
    assert float(found["error_1_steps"]) > float(found["error_2_steps"])  # one step is the hardest


@pytest.mark.parametrize(("grids", "wrong"), [((3,), 3), ((4, 0), 0)])
def test_schedules_that_are_not_on_the_teachers_are_refused(grids, wrong):
    with pytest.raises(ValueError, match=f"objective.grids has {wrong}: use divisors of teacher_steps, 4"):
        replace(OBJECTIVE, grids=grids)
