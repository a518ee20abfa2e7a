"""The model that a training starts from is found by its folder or its name."""

from pathlib import Path

import pytest

from sorajax.models.folder import WORLD_FAST
from sorajax.training.experiments.start import at_hand


def test_a_bundled_model_is_found_by_its_name():
    assert at_hand(Path("world-fast")) == WORLD_FAST


def test_a_folder_comes_before_a_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("world").mkdir()
    assert at_hand(Path("world")) == Path("world")


def test_a_model_that_does_not_exist_is_one_line():
    with pytest.raises(FileNotFoundError, match=r"nowhere does not exist: give the folder of a model, or a name"):
        at_hand(Path("nowhere"))
