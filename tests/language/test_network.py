"""The network of captions: what is cached equals what is computed anew, and padding changes nothing."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sorajax.language.network import END, Words, WordsConfig, generate, init_words, words_loss

CONFIG = WordsConfig(
    vocabulary=12, tokens=6, width=16, heads=2, head_width=8, hidden=16, encoder_depth=1, channels=2, stem=4
)


@pytest.fixture(scope="module")
def params():
    return jax.tree.map(lambda leaf: 3 * leaf, jax.jit(lambda key: init_words(CONFIG, key))(jax.random.key(0)))


@partial(jax.jit, static_argnames="method")
def read(params, *inputs, method=None):
    return Words(CONFIG).apply({"params": params}, *inputs, method=method)


@pytest.fixture(scope="module")
def written(params):
    """A memory of two clips, and the likeliest captions of it."""
    latent = np.random.default_rng(1).standard_normal((2, 2, 4, 6, 2), np.float32)
    memory = read(params, latent, method="read_clip")
    register = np.array([0, 1], np.int32)
    write = jax.jit(lambda memory: generate(CONFIG, params, memory, register, jax.random.key(0), jnp.float32(0)))
    return memory, register, np.asarray(write(memory))


def test_words_of_the_cache_are_the_likeliest_of_the_whole_caption(params, written):
    memory, register, ids = written
    logits = read(params, memory, register, ids)
    for row, likely in zip(ids, np.argmax(logits, -1), strict=True):
        length = np.flatnonzero(row == END)[0] + 1 if END in row else len(row)
        assert np.array_equal(row[:length], likely[:length])
        assert not row[length:].any()


def test_the_memory_of_a_prompt_does_not_depend_on_its_padding(params):
    ids = np.array([[3, 4, 5, 0, 0, 0]])
    long = read(params, ids, ids > 0, method="read_prompt").tokens[:, :3]
    short = read(params, ids[:, :3], ids[:, :3] > 0, method="read_prompt").tokens
    assert np.allclose(long, short, atol=1e-5)


def test_the_loss_counts_words_and_one_end():
    ids = np.array([[3, 4, 0, 0]])
    judged, likely = jax.jit(words_loss), 50 * np.eye(12, dtype=np.float32)
    wrong_padding, wrong_end = likely[[[3, 4, 0, 7]]], likely[[[3, 4, 7, 0]]]
    assert judged(wrong_padding, ids)[0] < 1e-3
    assert judged(wrong_padding, ids)[2] == 1
    loss, words, whole = judged(wrong_end, ids)
    assert loss > 10
    assert np.isclose(words, 2 / 3)
    assert whole == 0
