"""Captioners by their name: a remote model needs one, and what does not exist is named."""

import pytest

from sorajax.commands.captioners import is_address, remote_captioner, trained_captioner
from sorajax.errors import BadRequest


def test_a_remote_captioner_has_the_name_of_its_model():
    with pytest.raises(BadRequest, match=r"localhost:9/v1 may have several models: name one, e.g. --caption-model"):
        remote_captioner("http://localhost:9/v1", None, 2)
    one, other = (remote_captioner("http://localhost:9/v1", model, 2) for model in ("watcher", "teller"))
    assert "watcher" in one.made_by
    assert one.made_by != other.made_by
    assert one.parallel == 2


def test_a_trained_captioner_that_does_not_exist_is_named():
    with pytest.raises(FileNotFoundError, match="nowhere does not exist"):
        trained_captioner("nowhere")


def test_only_a_url_is_an_address():
    assert is_address("http://localhost:8000/v1")
    assert not any(map(is_address, ("world", "runs/captioner")))
