"""The objectives of captions and of the score: what each term depends on, and folders that are read back."""

import jax
import numpy as np
import pytest

from sorajax.data.captioned import CaptionedBatch
from sorajax.language.network import WordsConfig, init_words
from sorajax.language.score import ScoreConfig
from sorajax.training.objectives.captioner import CaptionerObjective, CaptionerStage
from sorajax.training.objectives.score import ScoreStage

CONFIG = WordsConfig(
    vocabulary=12,
    tokens=4,
    width=16,
    heads=2,
    head_width=8,
    hidden=16,
    encoder_depth=1,
    decoder_depth=1,
    channels=2,
    stem=4,
)
KEY = jax.random.key(0)


def batch(pairs=2):
    rng = np.random.default_rng(0)
    ids = lambda rows: rng.integers(1, 12, (rows, 4)).astype(np.int32)  # noqa: E731
    latent = rng.normal(size=(4, 2, 4, 4, 2)).astype(np.float16)
    return CaptionedBatch(latent, np.array([0, 1, 2, 2], np.int32), ids(4), ids(pairs), ids(pairs))


@pytest.fixture(scope="module")
def params():
    return jax.jit(lambda key: init_words(CONFIG, key))(KEY)


def test_the_loss_is_of_captions_and_of_prompts(params):
    stage = CaptionerStage(CONFIG, CaptionerObjective(expansion=0.5, noise=0.0, shift=0))
    loss, metrics = jax.jit(stage.loss)(params, batch(), KEY)
    assert np.isclose(loss, metrics["caption"] + 0.5 * metrics["expansion"])
    alone = CaptionerStage(CONFIG, CaptionerObjective(expansion=0.0, noise=0.0, shift=0))
    assert np.isclose(jax.jit(alone.loss)(params, batch(0), KEY)[0], metrics["caption"], rtol=1e-5)


def test_an_exported_captioner_is_read_back(params, tmp_path):
    stage = CaptionerStage(CONFIG, tokenizer="{}", storage="float32")
    stage.export(tmp_path, params)
    assert jax.tree.all(jax.tree.map(np.array_equal, stage.load(tmp_path), params))


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
