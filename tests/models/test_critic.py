"""The critic takes every length and size, sees only its patch, and has nothing but parameters."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sorajax.models.critic import Critic, CriticConfig, init_critic

TINY = CriticConfig(base=4, levels=2)


@pytest.fixture(scope="module")
def params():
    return init_critic(TINY, jax.random.key(0))


@jax.jit
def judged(params, video):
    return Critic(TINY).apply({"params": params}, video)


@pytest.mark.parametrize(("frames", "answers"), [(1, 1), (5, 3), (9, 5), (17, 9)])
def test_the_critic_judges_patches_of_clips_of_any_length(params, frames, answers):
    assert judged(params, np.zeros((2, frames, 16, 24, 3), np.float32)).shape == (2, answers, 4, 6)


def test_the_critic_has_parameters_and_no_other_state():
    variables = jax.eval_shape(lambda key: Critic(TINY).init(key, jnp.zeros((1, 5, 8, 8, 3))), jax.random.key(0))
    assert set(variables) == {"params"}


def test_a_patch_does_not_see_the_far_side_of_the_frame_nor_of_time(params):
    video = np.random.default_rng(0).standard_normal((1, 33, 64, 64, 3)).astype(np.float32)
    changed = video.copy()
    changed[:, -1, -4:, -4:] = 0
    before, after = judged(params, video), judged(params, changed)
    different = (np.asarray(before) != np.asarray(after))[0]
    assert different[-1, -1, -1]
    assert not different[:8].any()
    assert not different[:, :8].any()
    assert not different[:, :, :8].any()


def test_a_critic_without_levels_is_refused():
    with pytest.raises(ValueError, match=r"critic.levels is 0: it must be 1 or more"):
        CriticConfig(levels=0)
