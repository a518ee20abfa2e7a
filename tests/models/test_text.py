"""Laws of the text encoder and its tokenizer."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sorajax.models.text import TextConfig, TextEncoder, Tokenizer, position_buckets, unfamiliar_words
from tests.conftest import tiny_tokenizer

CONFIG = TextConfig(vocabulary=20, width=8, hidden=16, depth=2, heads=2, head_width=4, tokens=6)


@pytest.fixture(scope="module")
def encode():
    model = TextEncoder(CONFIG)
    params = jax.jit(model.init)(jax.random.key(0), jnp.ones((1, 6), jnp.int32), jnp.ones((1, 6), bool))
    return lambda ids, mask: jax.jit(model.apply)(params, jnp.asarray(ids), jnp.asarray(mask))


def test_embeddings_beyond_a_prompt_are_zero_and_change_nothing(encode):
    mask = np.arange(6)[None] < 4
    ids = np.array([[3, 5, 7, 9, 0, 0]])
    context = encode(ids, mask)
    assert not context[0, 4:].any()
    np.testing.assert_allclose(context, encode(ids + 4 * ~mask, mask), atol=1e-6)


def test_word_order_changes_the_embedding(encode):
    mask = np.ones((1, 6), bool)
    context, turned = encode([[1, 2, 3, 4, 5, 6]], mask), encode([[6, 5, 4, 3, 2, 1]], mask)
    assert np.abs(context - turned[:, ::-1]).max() > 1e-3


def test_relative_position_buckets_separate_near_distances_and_both_signs():
    buckets = position_buckets(200, 32, 128)
    near = buckets[100, 93:108]
    assert len(set(near.tolist())) == len(near)
    assert buckets.min() == 0
    assert buckets.max() == 31
    assert buckets[0, 150] == buckets[0, 199]  # beyond the greatest distance


def test_a_prompt_that_is_too_long_names_the_limit():
    tokenizer = Tokenizer(tiny_tokenizer(), 4)
    ids, mask = tokenizer.encode(["red ball", ""])
    assert mask.sum(1).tolist() == [2, 0]
    assert ids.shape == (2, 4)
    with pytest.raises(ValueError, match="has 5 tokens, the model reads 4"):
        tokenizer.encode(["a red ball bounces left"])


def test_a_damaged_tokenizer_is_refused():
    with pytest.raises(ValueError, match="not a tokenizer"):
        Tokenizer("{}", 4)


def test_words_of_many_tokens_are_reported_as_unknown():
    class Pieces:
        """A tokenizer with a fixed answer."""

        def pieces(self, word):
            return {"elephant": ["e", "le", "ph", "ant"], "bouncing": ["bounc", "ing"], "ox": ["ox"]}[word]

    assert unfamiliar_words(Pieces(), "elephant bouncing, ox") == ["elephant"]
