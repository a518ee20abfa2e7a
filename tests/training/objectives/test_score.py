"""The objective of the score: a clip and its caption come nearer, and a folder is read back."""

import jax
import numpy as np
import pytest

from sorajax.language.network import init_words
from sorajax.language.score import ScoreConfig
from sorajax.training.objectives.score import ScoreStage
from tests.training.objectives.captioned import CONFIG, batch

KEY = jax.random.key(0)


@pytest.fixture(scope="module")
def params():
    return jax.jit(lambda key: init_words(CONFIG, key))(KEY)


def test_the_score_moves_a_clip_towards_its_caption(params):
    stage = ScoreStage(
        words=params, captioner=CONFIG, config=ScoreConfig(width=16, queries=2, values=4), noise=0.0, shift=0
    )
    towers, one = jax.jit(stage.init)(KEY), batch()

    def step(towers, _):
        loss, gradient = jax.value_and_grad(lambda towers: stage.loss(towers, one, KEY)[0])(towers)
        return jax.tree.map(lambda leaf, change: leaf - 0.05 * change, towers, gradient), loss

    towers, losses = jax.jit(lambda towers: jax.lax.scan(step, towers, length=60))(towers)
    assert losses[-1] < 0.8 * losses[0]
    logits = np.asarray(jax.jit(stage.logits)(towers, one.latent, one.ids))
    own = np.eye(4, dtype=bool)
    assert np.mean(logits[own]) > np.mean(logits[~own])


def test_exported_towers_are_read_back(tmp_path):
    stage = ScoreStage(None, CONFIG, ScoreConfig(width=16, queries=2, values=4), storage="float32")
    towers = jax.jit(stage.init)(KEY)
    stage.export(tmp_path, towers)
    jax.tree.map(np.testing.assert_array_equal, stage.load(tmp_path), towers)
