"""A chat model is shown a clip, and both captions come from one question."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np

from sorajax.language.remote_captioner import INSTRUCTIONS, RemoteCaptioner
from tests.language.chat_server import CAPTION, captioned
from tests.language.test_pictures import picture


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
