"""Learning from a reward is planned for any model with a name, and only with a reward that exists."""

from pathlib import Path

import pytest

from sorajax.devices.sharding import make_mesh
from sorajax.training.experiments.reward import RewardTraining


def test_a_reward_trains_a_bundled_model():
    stage, batches = RewardTraining(model=Path("world-fast")).planned(make_mesh("data=8"))
    assert {"text", "dit"} <= set(stage.rollout.model.params)
    assert batches


def test_a_plan_imports_the_reward(tiny_model):
    with pytest.raises(ValueError, match="reward 'math:pi' is a float and no function"):
        RewardTraining(model=tiny_model, reward="math:pi").planned(make_mesh("data=8"))
