"""The instrument reads what was rendered, at any size, and says what it sees in clips of anything else.

What the instrument cannot tell, and why:
- the pace of what stands still (there is none: it reads as normal), and motion and pace of a single frame;
- which relation was meant where two hold, such as left of and above: a relation counts when it holds;
- the second shot of a cut has about one second, in which a slow and a normal pace are told apart only because cuts are
  always at a normal pace.
"""

import numpy as np
import pytest

from sorajax.evaluation.world import GROUPS, summarise
from sorajax.world.draw import render
from sorajax.world.reader.instrument import read
from sorajax.world.reader.scores import score
from sorajax.world.scenes import CORE, FULL, GROWS, SHRINKS, attributes, sample_scenes
from tests.world.reader.rendered import clips


def test_the_smallest_object_is_seen_beside_the_largest():
    scene = sample_scenes(np.random.default_rng(0), 1, "all", GROUPS["relation"].mix)
    large, small = ("large", "shrinks"), ("small", "grows")
    scene = scene._replace(
        size=np.array([[1, 0]], np.int32),
        shape=np.array([[1, 2]], np.int32),
        relation=np.array([3], np.int32),
        motion=np.broadcast_to(np.array([SHRINKS, GROWS], np.int32), (1, 2, 2)),
        radius=np.array([[0.168, 0.0855]], np.float32),
        rate=np.ones((1, 2, 2), np.float32),
    )
    video = np.round((np.asarray(render(scene, 17, 64, 64)[0][0]) + 1) * 127.5).astype(np.uint8)
    seen = [(thing.words["size"], thing.words["motion"]) for thing in read(video).things[0]]
    assert sorted(seen) == [large, small]


def test_blur_and_noise_change_little():
    """As after an autoencoder: a blur of 0.6 pixels and noise of 28 dB."""
    from scipy import ndimage

    wishes, videos = clips(16, CORE, seed=2)
    blurred = ndimage.gaussian_filter(videos.astype(np.float32), (0, 0, 0.6, 0.6, 0))
    noisy = np.clip(blurred + np.random.default_rng(0).normal(0, 10, videos.shape), 0, 255).astype(np.uint8)
    summary = summarise(score(wish, read(video)) for wish, video in zip(wishes, noisy, strict=True))
    for name in ("colour", "shape", "size", "motion", "background", "camera", "shots"):
        assert summary[name]["accuracy"] >= 0.95, (name, summary[name])


@pytest.mark.parametrize("size", [(64, 96), (48, 48)])
def test_other_sizes_read_the_same(size):
    wishes, videos = clips(6, CORE, seed=3, size=size)
    summary = summarise(score(wish, read(video)) for wish, video in zip(wishes, videos, strict=True))
    for name in ("colour", "shape", "motion", "background"):
        assert summary[name]["accuracy"] == 1, (name, summary[name])


@pytest.mark.parametrize("video", ["noise", "black", "one frame"])
def test_noise_is_read_without_an_error(video):
    """A model in training shows anything; the instrument answers with what it sees, or None."""
    shape = (1 if video == "one frame" else 17, 64, 64, 3)
    pixels = np.random.default_rng(0).integers(0, 256, shape) if video == "noise" else np.zeros(shape)
    wish = attributes(sample_scenes(np.random.default_rng(0), 1, "all", FULL))[0]
    assert not score(wish, read(pixels.astype(np.uint8)))["prompt"].right


def test_frames_of_another_form_are_refused():
    with pytest.raises(ValueError, match=r"a video of shape \(64, 64, 3\) cannot be read: it must be \[t h w 3\]"):
        read(np.zeros((64, 64, 3), np.uint8))
