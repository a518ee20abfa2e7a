"""A clip in a chat message: a few small pictures from its first frame to its last, each after its time."""

import base64
import io
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from sorajax.language.pictures import LARGEST, MOST, SMALLEST, clip_parts, picture_url, sampled_frames
from sorajax.media.video import Video


def picture(part):
    kind, _, content = part["image_url"]["url"].partition(",")
    assert kind == "data:image/jpeg;base64"
    return Image.open(io.BytesIO(base64.b64decode(content)))


def test_a_picture_has_no_time(clip):
    (part,) = clip_parts(replace(clip, frames=clip.frames[:1]))
    assert part["type"] == "image_url"


@pytest.mark.parametrize("seconds", [0.25, 1, 7, 60, 3600])
def test_few_frames_from_the_first_to_the_last(seconds):
    count = max(1, int(seconds * 8))
    video = Video(np.broadcast_to(np.zeros((1, 8, 8, 3), np.uint8), (count, 8, 8, 3)), 8.0)
    shown = sampled_frames(video)
    assert shown[0] == 0
    assert shown[-1] == count - 1
    assert len(shown) == len(set(shown)) <= MOST
    assert len(shown) >= min(4, count)


@pytest.mark.parametrize("size", [(1, 1), (8, 1000), (64, 64), (300, 400), (2160, 3840)])
def test_pictures_are_of_bounded_size(size):
    frame = np.random.default_rng(0).integers(0, 255, (*size, 3)).astype(np.uint8)
    url = picture_url(frame)
    assert SMALLEST <= max(picture({"image_url": {"url": url}}).size) <= LARGEST
    assert len(url) < 700_000, "noise, which compresses worst"
    assert url == picture_url(frame)
