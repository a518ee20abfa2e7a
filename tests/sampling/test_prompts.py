"""Each prompt is encoded once, and as many contexts are kept as a request needs or the cache has room for."""

from types import SimpleNamespace

import jax.numpy as jnp
import numpy as np
import pytest

from sorajax.models.text import Tokenizer
from sorajax.sampling import prompts
from tests.conftest import TINY, WORDS, tiny_tokenizer


@pytest.fixture
def encoder():
    """Contexts that are the tokens themselves; `asked` has the tokens of each call."""
    asked = []

    def programs(kind, function, weights, ids, mask):
        asked.append(ids[0, mask[0]].tolist())
        return jnp.asarray(ids, jnp.float32)[..., None]

    made = prompts.Prompts(TINY, {"text": None}, Tokenizer(tiny_tokenizer(), TINY.text.tokens), programs)
    return SimpleNamespace(prompts=made, asked=asked)


def test_a_prompt_is_encoded_once(encoder):
    encoder.prompts.encode(["a red ball", "a box", "a red ball"])
    context = encoder.prompts.context("a box")
    assert encoder.asked == [[WORDS.index(word) for word in text.split()] for text in ("a red ball", "a box")]
    np.testing.assert_array_equal(context[:3, 0], [WORDS.index("a"), WORDS.index("box"), 0])
    assert context.shape == (TINY.text.tokens, 1)


def test_contexts_of_other_requests_are_dropped_first_and_the_oldest_of_them(encoder, monkeypatch):
    monkeypatch.setattr(prompts, "MAX_CONTEXTS", 3)
    for text in ("a", "ball", "box"):
        encoder.prompts.encode([text])
    encoder.prompts.encode(["red", "ball"])
    assert set(encoder.prompts.contexts) == {"ball", "box", "red"}
    more = ["a", "the", "on", "red"]
    encoder.prompts.encode(more)
    assert set(encoder.prompts.contexts) == set(more), "a request keeps all of its own"


def test_only_an_expanded_prompt_has_an_original(encoder):
    encoder.prompts.originals["a red ball falls"] = "a ball"
    assert encoder.prompts.original("a red ball falls") == {"original_prompt": "a ball"}
    assert encoder.prompts.original("a ball") == {}
