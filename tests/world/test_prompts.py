"""Canonical prompts say all attributes, and other sentences are refused."""

import pytest

from sorajax.evaluation.world import GROUPS, prompts
from sorajax.world.prompts import attributes_of


@pytest.mark.parametrize("split", GROUPS)
def test_a_canonical_prompt_says_all_attributes(split):
    _, wishes, texts = prompts(split, 400)
    for wish, text in zip(wishes, texts, strict=True):
        assert attributes_of(text) == wish
        assert attributes_of(text.lower()) == wish


@pytest.mark.parametrize("prompt", ["", "a red ball", "a small red ball bounces on a grey floor. And then it rains"])
def test_other_sentences_are_refused(prompt):
    with pytest.raises(ValueError, match=r"world.captions.describe"):
        attributes_of(prompt)
