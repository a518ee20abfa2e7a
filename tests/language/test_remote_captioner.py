"""Clips are shown by a few small pictures with their times, and both captions come from one question."""

import base64
import io
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from sorajax.language.pictures import LARGEST, MOST, SMALLEST, clip_parts, picture_url, sampled_frames
from sorajax.language.remote_captioner import INSTRUCTIONS, RemoteCaptioner
from sorajax.media.video import Video
from tests.language.chat_server import CAPTION, captioned


def picture(part):
    kind, _, content = part["image_url"]["url"].partition(",")
    assert kind == "data:image/jpeg;base64"
    return Image.open(io.BytesIO(base64.b64decode(content)))


def test_a_clip_is_shown_and_both_registers_come_back(endpoint, chat, clip):
    caption = RemoteCaptioner(endpoint)(clip)
    assert caption._asdict() == CAPTION
    (body,) = chat.bodies
    *shown, request = body["messages"][1]["content"]
    assert [part["text"] for part in shown[::2]] == ["0.00 s:", "0.38 s:", "0.62 s:", "1.00 s:"]
    assert all(picture(part).size == (256, 171) for part in shown[1::2])
    red = [np.asarray(picture(part)).astype(int)[80, :, 0].argmax() for part in shown[1::2]]
    assert red == sorted(red), "the square moves right"
    assert all(text in request["text"] for text in INSTRUCTIONS.values())


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


def test_another_clip_is_another_question(endpoint, chat, clip):
    captioner = RemoteCaptioner(endpoint)
    captioner(clip)
    captioner(replace(clip, frames=clip.frames[::-1]))
    captioner(replace(clip, metadata={"prompt": "anything"}))
    assert len(chat.bodies) == 2


def test_threads_share_a_captioner(endpoint, chat, clip):
    chat.replies = [0.05, captioned()] * 6
    captioner = RemoteCaptioner(endpoint)
    with ThreadPoolExecutor(6) as pool:
        made = list(pool.map(lambda seed: captioner(clip, seed), range(6)))
    assert len(made) == 6
    assert 1 < chat.most <= 6


def test_captioners_of_other_models_have_other_names(endpoint):
    assert RemoteCaptioner(endpoint).name.startswith("watcher, instructions ")
    assert RemoteCaptioner(endpoint).name != RemoteCaptioner(replace(endpoint, model="other")).name
