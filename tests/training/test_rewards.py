"""A reward is a function that is found by its name, called with clips and prompts, and compared within a prompt."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sorajax.training.rewards import Judge, load_reward, optimality
from tests.conftest import tiny_tokenizer

IDS = np.array([[1, 4, 8, 10, 0, 0, 0, 0, 0, 0, 0, 0]] * 2, np.int32)


def nothing(videos, prompts):
    return np.full(len(videos), np.nan)


def red(videos, prompts):
    return videos[..., 0].mean((1, 2, 3)) + np.array(["red" in prompt for prompt in prompts])


def test_the_best_clips_of_each_prompt_are_optimal():
    scores = jnp.array([0.0, 1.0, 0.5, 0.5, 10.0, 11.0, 10.5, 10.5])
    found = np.asarray(optimality(scores, 4, clip=0.05))
    np.testing.assert_allclose(found, [0, 1, 0.5, 0.5] * 2, atol=1e-4)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("brightness", "write MODULE:FUNCTION"),
        ("nowhere.at_all:reward", "cannot be imported: No module named"),
        ("math:pie", "cannot be imported: module 'math' has no attribute"),
        ("math:pi", "is a float and no function"),
    ],
)
def test_a_reward_that_is_none_is_refused(name, message):
    with pytest.raises(ValueError, match=message):
        load_reward(name)


def test_a_reward_of_no_numbers_is_named():
    judge = Judge(f"{__name__}:nothing", tiny_tokenizer())
    with pytest.raises(Exception, match="returned numbers that are not finite"):
        jax.block_until_ready(jax.jit(judge.scores)(np.zeros((2, 1, 4, 4, 3), np.uint8), IDS[:2], IDS[:2] > 0))


def test_a_compiled_program_has_the_rewards_of_its_clips_and_prompts():
    judge, frames = Judge(f"{__name__}:red", tiny_tokenizer()), np.zeros((2, 1, 4, 4, 3), np.uint8)
    frames[1, ..., 0] = 7
    ids = IDS * np.array([[1], [0]])
    found = jax.jit(judge.scores)(frames, ids, ids > 0)
    assert np.asarray(found).tolist() == [1, 7]
