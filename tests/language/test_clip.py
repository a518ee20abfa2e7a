"""The score of a CLIP model is a mean over frames that are spread over the clip."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sorajax.language.clip import FRAMES, ClipScore, open_any_score
from sorajax.media.video import Video
from sorajax.models.clip import ClipConfig, ClipTextConfig, init_clip
from sorajax.models.text import Tokenizer
from sorajax.models.vision import VisionConfig
from tests.conftest import WORDS, tiny_tokenizer

CONFIG = ClipConfig(
    ClipTextConfig(vocabulary=len(WORDS), width=8, hidden=16, depth=1, heads=2, tokens=4, end=WORDS.index("right")),
    VisionConfig(width=8, hidden=16, depth=2, heads=2, patch=7, size=14),
    width=5,
)


@pytest.fixture(scope="module")
def score():
    shapes, rng = jax.eval_shape(lambda: init_clip(CONFIG, jax.random.key(0))), np.random.default_rng(0)
    params = jax.tree.map(lambda leaf: jnp.asarray(rng.normal(0, 0.5, leaf.shape), jnp.float32), shapes)
    return ClipScore(CONFIG, params, Tokenizer(tiny_tokenizer(), CONFIG.text.tokens))


def test_a_score_is_the_mean_of_the_frames_that_are_seen(score):
    frames = np.random.default_rng(1).integers(0, 255, (3 * FRAMES, 14, 14, 3)).astype(np.uint8)
    clip, seen = Video(frames, 8.0), np.linspace(0, len(frames) - 1, FRAMES).round().astype(int)
    assert score(clip, "a red right") == pytest.approx(score(Video(frames[seen], 8.0), "a red right"), abs=1e-6)
    unseen = frames.copy()
    unseen[[number for number in range(len(frames)) if number not in seen]] = 0
    assert score(Video(unseen, 8.0), "a red right") == score(clip, "a red right")
    assert score(clip, "a red right") != score(clip, "a blue right")
    assert -1 <= score(clip, "a red right") <= 1


def test_a_long_prompt_is_cut(score):
    clip = Video(np.full((FRAMES, 14, 14, 3), 90, np.uint8), 8.0)
    assert score(clip, "a red ball right falls left") == score(clip, "a red ball right bounces")


def test_a_missing_model_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"has no config\.json"):
        open_any_score(str(tmp_path))
