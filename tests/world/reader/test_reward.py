"""The reader's reward is high for true clips, and falls with what is wrong in them."""

from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import numpy as np
import pytest

from sorajax.evaluation.world import GROUPS, prompts
from sorajax.world.draw import render
from sorajax.world.reader import reward
from sorajax.world.reader.reward import accuracy
from tests.cases import slow_after


def clips(split, num, seed=0):
    scene, _, texts = prompts(split, num, seed)
    return np.round((np.asarray(render(scene, 17, 64, 64)[0]) + 1) * 127.5).astype(np.uint8), texts


@pytest.fixture(scope="module")
def true():
    return clips("seen", 16)


def test_true_clips_have_a_high_reward(true):
    rewards = accuracy(*true)
    assert rewards.shape == (16,)
    assert rewards.min() > 0.6
    assert rewards.mean() > 0.9


def test_clips_of_other_prompts_have_a_low_reward(true):
    videos, texts = true
    assert accuracy(np.roll(videos, 1, 0), texts).mean() < 0.6


def test_a_clip_at_another_pace_has_a_lower_reward(true):
    videos, texts = true
    moving = [i for i, text in enumerate(texts) if "moves left" in text or "moves right" in text]
    slower = np.repeat(videos, 2, 1)[:, : videos.shape[1]]
    wished = [texts[i] for i in moving]
    assert (accuracy(slower[moving], wished) < accuracy(videos[moving], wished)).all()


def test_an_empty_clip_has_almost_no_reward(true):
    videos, texts = true
    assert accuracy(np.zeros_like(videos), texts).max() < 0.5


@pytest.mark.slow
def test_several_processes_read_many_clips(true, monkeypatch):
    videos, texts = true
    one = accuracy(videos, texts)
    monkeypatch.setattr(reward, "MANY", 16)
    np.testing.assert_array_equal(accuracy(videos, texts), one)


@pytest.mark.parametrize("split", slow_after(1, [name for name in GROUPS if name not in ("seen", "held_out")]))
def test_every_split_has_a_reward(split):
    videos, texts = clips(split, 16)
    assert accuracy(videos, texts).mean() > 0.85


def test_a_callback_reads_in_other_processes(true, monkeypatch):
    """The reader uses JAX, and a program whose callback waits for it may hold the only thread of a CPU."""
    asked = []
    monkeypatch.setattr(reward, "_readers", lambda: SimpleNamespace(map=lambda *rest, **more: asked.append(1) or [0.5]))
    videos, texts = true
    assert accuracy(videos[:1], texts[:1])[0] > 0.6
    assert not asked
    with ThreadPoolExecutor(1) as thread:
        assert thread.submit(accuracy, videos[:1], texts[:1]).result()[0] == 0.5
