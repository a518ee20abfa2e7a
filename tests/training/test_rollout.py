"""Clips of a prompt follow each other and share its conditions, and times are those of the schedule or one time."""

import jax
import numpy as np

from sorajax.training.flow_map import LEAST_TIME
from sorajax.training.rollout import Rollout, random_times
from sorajax.training.sampled import SampledModel
from tests.conftest import TINY
from tests.training.flows import BATCH, CONTEXT, flow_stage

SCHEDULE = np.array([1.0, 0.7, 0.3, 0.0], np.float32)


def test_clips_of_a_prompt_have_its_conditions_and_their_own_noise():
    model = SampledModel({}, {"context": CONTEXT[:1]}, np.float32(1), TINY)
    rollout = Rollout(model, flow_stage(known=1.0), judge=None, steps=2, temperature=(1.0, 1.0))
    found, noise = rollout.conditions(BATCH, 3, jax.random.key(0))
    np.testing.assert_array_equal(found.context, np.repeat(CONTEXT, 3, 0))
    mask = np.asarray(found.known.mask).reshape(4, 3, -1)
    assert mask.any()
    assert (mask == mask[:, :1]).all()
    assert noise.shape == (12, *BATCH.latent.shape[1:])
    assert len(np.unique(np.asarray(noise[:, 0, 0, 0, 0]))) == 12


def test_a_share_of_times_are_steps_of_the_schedule():
    time, until = random_times(jax.random.key(0), 64, SCHEDULE, 1.0, 3.0)
    steps = {(float(a), float(b)) for a, b in zip(SCHEDULE, SCHEDULE[1:], strict=False)}
    assert set(zip(time[:, 0].tolist(), until[:, 0].tolist(), strict=True)) == steps
    time, until = random_times(jax.random.key(0), 64, SCHEDULE, 0.0, 3.0)
    np.testing.assert_array_equal(time, until)
    assert time.min() >= LEAST_TIME
    assert len(np.unique(time)) > 60
    assert 0.6 < np.median(time) < 0.9  # the shift moves 0.5 to 0.75
