"""All tasks bring requests and inputs to one size, rate and length, and refuse what they cannot."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from sorajax import tasks
from sorajax.errors import BadRequest, Note
from sorajax.media.video import Video
from sorajax.pretrained.conventions import known_config
from sorajax.sampling.pipeline import Pipeline
from sorajax.sampling.request import Request, StoryboardScene
from sorajax.tasks.shaping import with_size
from tests.tasks.inputs import PROMPT, clip, one, request

CUT = Request(("a red ball. Cut to: the same box",))


@pytest.mark.parametrize(
    ("model", "given", "size"),
    [
        ("Wan2.2-I2V-A14B", (640, 360), (832, 464)),  # in as many pixels as the model makes by itself
        ("Wan2.2-I2V-A14B", (1920, 1080), (832, 464)),
        ("Wan2.2-I2V-A14B", (1024, 1024), (624, 624)),
        ("Wan2.1-I2V-14B-720P", (640, 360), (1280, 720)),
        ("Wan2.1-T2V-14B", (640, 360), (832, 480)),  # the nearest of those that it was trained on
        ("Wan2.1-T2V-14B", (1920, 1080), (1280, 720)),
        ("Wan2.1-T2V-14B", (480, 832), (480, 832)),
    ],
)
def test_the_size_of_the_input_selects_the_size_of_the_output(model, given, size):
    pipeline = SimpleNamespace(config=known_config(model, "bfloat16"))
    picture = Video(np.zeros((1, given[1], given[0], 3), np.uint8), 16.0)
    asked = with_size(pipeline, Request(("a cat",)), picture)
    assert (asked.width, asked.height) == size


def test_extensions_and_scenes_cut_once_per_scene_change(pipeline, monkeypatch):
    films = []
    film = Pipeline.film

    def watched(self, request, shots, *more, **others):
        films.append([(shot.prompt, shot.frames, shot.cut) for shot in shots])
        return film(self, request, shots, *more, **others)

    monkeypatch.setattr(Pipeline, "film", watched)
    start = clip(5)
    assert len(one(tasks.extend(pipeline, replace(CUT, frames=8), start, "forward"))) == 13
    assert films.pop() == [("a red ball", 1 + 4, False), ("a box", 4, True)]
    led = one(tasks.extend(pipeline, replace(CUT, frames=8), start, "backward"))
    assert films.pop() == [("a red ball", 4, False)]
    assert np.array_equal(led[-5:], start.frames)
    assert len(led) == 13
    at_once = Request(("Cut to: a box",), frames=4)
    assert len(one(tasks.extend(pipeline, at_once, start, "forward"))) == 9
    assert films.pop() == [("a box", 1, False), ("a box", 4, True)]
    scenes = [StoryboardScene("a blue box", 1.0), StoryboardScene(CUT.prompts[0], 1.0)]
    assert len(next(tasks.storyboard(pipeline, CUT, scenes)).whole().frames) == 16
    told = [("a blue box", 8, False), ("a red ball", 4, False), ("a box", 4, True)]
    assert films.pop() == told
    with pytest.raises(BadRequest, match='contains a cut, and a loop has none: leave out "Cut to:", or --loop'):
        next(tasks.loop(pipeline, CUT))


def test_a_clip_too_long_for_its_task_is_refused(pipeline):
    with pytest.raises(
        BadRequest,
        match=r"800 frames, fixed ones included, exceed the limit of .* for one window, 40: use a shorter clip",
    ):
        next(tasks.loop(pipeline, request(seconds=100)))
    with pytest.raises(BadRequest, match="fixed ones included, exceed the limit"):
        next(tasks.connect(pipeline, request(seconds=100), clip(5), clip(5)))


def test_python_callers_get_notes_as_warnings(pipeline):
    with pytest.warns(Note, match="the model was trained at 8 fps; 12 fps may look worse"):
        pipeline("a red ball", fps=12, frames=5)
    with pytest.warns(Note, match="the clip of 40x16 is resized to 16x16, cropped if its aspect ratio differs"):
        next(tasks.extend(pipeline, request(frames=1, width=16, height=16), clip(5, 40), "forward"))
    with pytest.warns(Note, match="the clip has 24 frames per second, and 8 of them are used"):
        next(tasks.edit(pipeline, request(fps=8), clip(6, fps=24.0), 0.5))


def test_tasks_with_their_own_length_refuse_frames(pipeline):
    long = request(frames=9)
    scenes = [StoryboardScene("a red ball", 1.0)]
    for asked in (
        lambda: tasks.edit(pipeline, long, clip(5), 0.5),
        lambda: tasks.fill(pipeline, long, clip(9), (0.25, 0.5)),
        lambda: tasks.storyboard(pipeline, long, scenes),
    ):
        with pytest.raises(BadRequest, match="leave seconds and frames out"):
            next(asked())
    with pytest.raises(BadRequest, match="use at most 3600, an hour"):
        next(tasks.storyboard(pipeline, PROMPT, [StoryboardScene("a red ball", 3000.0)] * 2))
    with pytest.raises(BadRequest, match="a gap from nan to 1 s is empty"):
        next(tasks.fill(pipeline, PROMPT, clip(9), (float("nan"), 1.0)))
    with pytest.raises(BadRequest, match=r"the mask has the shape \(5, 16, 16\)"):
        next(tasks.edit(pipeline, PROMPT, clip(5), 0.5, np.ones((5, 16, 16), bool)))
