"""A chat server for the tests of endpoints; no real key is in the environment."""

import threading

import numpy as np
import pytest

from sorajax.language.endpoint import KEY, OPENAI_KEY, Endpoint
from sorajax.media.video import Video
from tests.language.chat_server import serving


@pytest.fixture(scope="session")
def one_server():
    with serving() as chat:
        yield chat


@pytest.fixture
def chat(one_server, monkeypatch):
    for name in (KEY, OPENAI_KEY):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("openai._base_client.INITIAL_RETRY_DELAY", 0.01)
    one_server.reset()
    before = set(threading.enumerate())
    yield one_server
    for thread in set(threading.enumerate()) - before:  # a command does not wait for its last questions
        if thread.name.startswith("ThreadPoolExecutor"):
            thread.join(5)


@pytest.fixture
def endpoint(chat, tmp_path):
    return Endpoint(chat.url, "watcher", tries=3, cache=tmp_path / "answers")


@pytest.fixture(scope="session")
def clip():
    """A square that moves over 9 frames."""
    frames = np.zeros((9, 32, 48, 3), np.uint8)
    for number, frame in enumerate(frames):
        frame[10:20, 3 * number : 3 * number + 10] = 200, 30, 30
    return Video(frames, 8.0)
