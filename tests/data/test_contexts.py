"""Embeddings of captions: each is computed once, and padded with zeros."""

import numpy as np
import pytest

from sorajax.data import contexts
from sorajax.data.contexts import Contexts, encode_captions


def embed(captions):
    """A row for each letter, of its number."""
    return [np.array([[ord(letter)] * 3 for letter in caption], np.float32).reshape(-1, 3) for caption in captions]


def encoded(folder, captions, opened, **options):
    """Encodes the captions; `opened` gets those that are encoded now."""

    def open_embed():
        return lambda batch: (opened.extend(batch), embed(batch))[1]

    return encode_captions(folder, captions, open_embed, "me", say=lambda text: None, **options)


def test_embeddings_are_those_of_each_caption_and_zero_beyond_it(tmp_path):
    opened = []
    encoded(tmp_path, ["bc", "a", "bc"], opened, batch=2)
    assert opened == ["", "a", "bc"]
    context = Contexts([tmp_path], "me", 4)(["bc", "", "a"])["context"]
    assert context.shape == (3, 4, 3)
    assert context.dtype == np.float16
    assert context[:, :, 0].tolist() == [[98, 99, 0, 0], [0, 0, 0, 0], [97, 0, 0, 0]]


def test_what_is_encoded_is_not_encoded_again(tmp_path, monkeypatch):
    monkeypatch.setattr(contexts, "CAPTIONS_PER_PART", 2)
    opened = []
    encoded(tmp_path, ["a", "b", "c"], opened)
    assert encode_captions(tmp_path, ["c", "b", "a"], None, "me", say=print) == tmp_path / "text" / "me"
    encoded(tmp_path, ["a", "b", "c", "d"], opened)
    assert opened == ["", "a", "b", "c", "d"], "the parts before are there"


def test_captions_of_several_folders_are_found(tmp_path):
    for name in "ab":
        encoded(tmp_path / name, [name, "both"], [])
    read = Contexts([tmp_path / "a", tmp_path / "b"], "me", 4)
    assert read(["b", "both", "a"])["context"][:, 0, 0].tolist() == [98, 98, 97]


def test_what_was_not_encoded_is_named(tmp_path):
    encoded(tmp_path, ["a"], [])
    with pytest.raises(ValueError, match="caption 'a dog' was not encoded: prepare the videos again"):
        Contexts([tmp_path], "me", 4)(["a dog"])
    with pytest.raises(FileNotFoundError, match="has no captions of this text encoder: encode it again, with --text"):
        Contexts([tmp_path], "another", 4)
