"""Clips to sign, and a folder of settings for each test."""

import numpy as np
import pytest

from sorajax.media.video import Video
from sorajax.safety.certificates import own_credentials
from sorajax.safety.finishing import Safety


@pytest.fixture(autouse=True)
def settings(tmp_path_factory, monkeypatch):
    """A folder of settings that is the test's own."""
    folder = tmp_path_factory.mktemp("settings")
    monkeypatch.setenv("SORAJAX_CONFIG", str(folder))
    own_credentials.cache_clear()
    return folder


@pytest.fixture(scope="session")
def moving():
    """17 frames of 64x64 with a moving square."""
    frames = np.full((17, 64, 64, 3), 90, np.uint8)
    for number, frame in enumerate(frames):
        frame[20:36, number : number + 16] = 200, 40, 40
    return frames


@pytest.fixture
def video(moving):
    """A video that is signed when it is saved."""
    return Video(moving, 8.0, {"prompt": "a red box moves right", "model": "world", "seed": 3}, Safety())
