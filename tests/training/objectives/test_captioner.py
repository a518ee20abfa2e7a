"""The objective of captions: what each term depends on, and a folder that is read back."""

import jax
import numpy as np
import pytest

from sorajax.language.network import init_words
from sorajax.training.objectives.captioner import CaptionerObjective, CaptionerStage
from tests.training.objectives.captioned import CONFIG, batch

KEY = jax.random.key(0)


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
