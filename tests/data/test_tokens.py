"""The tokenizer of the world knows every byte."""

import numpy as np
import pytest
from tokenizers import Tokenizer

from sorajax.data.tokens import PADDING, train_tokenizer


@pytest.fixture(scope="module")
def tokenizer():
    return Tokenizer.from_str(train_tokenizer(["a red ball bounces", "a red box falls"] * 4, 300))


def test_frequent_words_are_few_tokens_and_others_are_bytes(tokenizer):
    assert tokenizer.get_vocab_size() <= 300
    assert tokenizer.token_to_id(PADDING) == 0
    known, other = (len(tokenizer.encode(text).ids) for text in ("a red ball", "ß 球 \N{VIDEO CAMERA}"))
    assert known < len("a red ball") < other
    assert 0 not in tokenizer.encode("a red ball").ids


@pytest.mark.parametrize("text", ["a red ball", "ß 球 \N{VIDEO CAMERA}"])
def test_text_comes_back_in_lower_case(tokenizer, text):
    ids = np.array(tokenizer.encode(f"  {text.upper()} ").ids)
    assert tokenizer.decode(ids).strip() == text.upper().lower()


def test_a_vocabulary_smaller_than_the_bytes_is_refused():
    with pytest.raises(ValueError, match="a vocabulary of 256 cannot hold all bytes: use 257 or more"):
        train_tokenizer([], 256)
