"""An extension keeps its clip, and has the requested length."""

from dataclasses import replace

import numpy as np
import pytest

from sorajax import tasks
from sorajax.sampling.pipeline import Pipeline
from sorajax.sampling.request import Request, StoryboardScene
from tests.tasks.inputs import PROMPT, clip, one, request


@pytest.mark.parametrize("direction", ["forward", "backward"])
@pytest.mark.parametrize("length", [1, 6])
def test_an_extension_keeps_the_clip_and_adds_the_requested_frames(pipeline, direction, length):
    start = clip(length)
    film = one(tasks.extend(pipeline, request(seconds=0.75), start, direction))
    assert len(film) == length + 6
    kept = film[:length] if direction == "forward" else film[-length:]
    assert np.array_equal(kept, start.frames)


def test_drop_conditioning_in_cfg_changes_an_extension(pipeline):
    """A model that is guided so goes on otherwise from a clip, leaves it untouched too, and says the same of text."""
    config = replace(pipeline.config, drop_conditioning_in_cfg=True)
    strict, start, asked = Pipeline(config, pipeline.params, pipeline.tokenizer, "strict"), clip(5), request(frames=4)
    plainly, strictly = (one(tasks.extend(model, asked, start, "forward")) for model in (pipeline, strict))
    assert np.array_equal(strictly[:5], start.frames)
    assert not np.array_equal(strictly[5:], plainly[5:])
    free = replace(asked, guidance_scale=1.0)
    alone = [one(tasks.extend(model, free, start, "forward")) for model in (pipeline, strict)]
    assert np.array_equal(*alone)
    assert np.array_equal(*(one(tasks.text(model, request())) for model in (pipeline, strict)))
    assert np.array_equal(*(one(tasks.loop(model, request(frames=8))) for model in (pipeline, strict)))


def test_each_prompt_and_seed_gets_a_video(pipeline):
    asked = Request(("a red ball", "a blue box"), num=2, frames=4)
    videos = list(tasks.extend(pipeline, asked, clip(5), "forward"))
    assert [video.metadata["seed"] for video in videos] == [0, 1, 0, 1]
    assert not np.array_equal(videos[0].frames, videos[1].frames)


def test_a_film_is_an_input_like_a_video(pipeline):
    film = next(tasks.storyboard(pipeline, PROMPT, [StoryboardScene("a red ball", 1.0)]))
    longer = one(tasks.extend(pipeline, request(frames=4), film, "forward"))
    assert np.array_equal(longer[:8], film.frames)


def test_extending_both_ways_keeps_the_clip_in_the_middle(pipeline):
    start = clip(6)
    film = one(tasks.extend(pipeline, request(seconds=0.75), start, "both"))
    assert len(film) == 18
    assert np.array_equal(film[6:12], start.frames)
