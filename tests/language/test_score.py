"""How well prompts and clips agree, by two towers: padding does not count, and all pairs are scored."""

import jax
import numpy as np
import pytest

from sorajax.language.network import Memory
from sorajax.language.score import ScoreConfig, Tower, Towers, open_score

CONFIG = ScoreConfig(width=6, queries=3, values=2)


def memory(rng, count, tokens):
    """Random tokens, of which the last two are padding."""
    mask = np.broadcast_to(np.arange(tokens) < tokens - 2, (count, tokens))
    return Memory(rng.normal(size=(count, tokens, CONFIG.width)).astype(np.float32), mask)


def test_a_vector_has_length_1_and_ignores_padding_and_the_order_of_tokens():
    rng = np.random.default_rng(0)
    seen = memory(rng, 4, 7)
    params = Tower(CONFIG).init(jax.random.key(0), seen)
    vectors = Tower(CONFIG).apply(params, seen)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-4)
    order = [4, 2, 0, 1, 3, 6, 5]
    padded = seen._replace(tokens=np.where(seen.mask[..., None], seen.tokens, 99)[:, order])
    np.testing.assert_allclose(Tower(CONFIG).apply(params, padded), vectors, atol=1e-5)
    assert np.abs(vectors - Tower(CONFIG).apply(params, seen._replace(tokens=-seen.tokens))).max() > 1e-2


def test_logits_are_of_all_pairs_and_begin_as_unrelated():
    rng = np.random.default_rng(0)
    clips, prompts = memory(rng, 2, 7), memory(rng, 3, 5)
    logits, variables = Towers(CONFIG).init_with_output(jax.random.key(0), clips, prompts)
    assert logits.shape == (2, 3)
    assert jax.nn.sigmoid(logits).max() < 0.51, "most pairs do not belong together (Zhai et al. 2023, section 3.2)"
    clip, prompt = (
        np.asarray(Tower(CONFIG).apply({"params": variables["params"][name]}, part))
        for name, part in (("clip", clips), ("prompt", prompts))
    )
    np.testing.assert_allclose(logits, 10 * clip @ prompt.T - 10, atol=1e-4)


def test_a_missing_model_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="nothing-here"):
        open_score(tmp_path / "nothing-here")
