"""A text, an image or a storyboard becomes a clip."""

import numpy as np

from sorajax import tasks
from sorajax.sampling.request import StoryboardScene
from tests.tasks.inputs import PROMPT, clip, one, request


def test_an_animated_image_is_fixed_and_the_rest_depends_on_it(pipeline):
    first, second = clip(1), clip(1)
    a, again, b = (one(tasks.animate(pipeline, PROMPT, still)) for still in (first, first, second))
    assert a.shape == (5, 16, 16, 3)
    assert np.array_equal(a, again)
    assert not np.array_equal(a[0], b[0])
    through = pipeline.codec.encode(first.frames)
    decoded = pipeline.codec.decode(through[None], 16, 16)[0]
    assert np.abs(a[0].astype(int) - decoded[0]).max() <= 1


def test_a_long_animation_is_a_film(pipeline):
    still = clip(1)
    film = next(tasks.animate(pipeline, request(frames=13), still))
    assert film.count == 13
    whole = film.whole().frames
    short = one(tasks.animate(pipeline, PROMPT, still))
    assert np.array_equal(whole[:1], short[:1])


def test_a_scene_with_cut_begins_with_a_cut(pipeline):
    (film,) = tasks.storyboard(
        pipeline, PROMPT, [StoryboardScene("a red ball", 1.0), StoryboardScene("Cut to: a box", 1.0)]
    )
    assert [shot["cut"] for shot in film.metadata["shots"]] == [False, True]


def test_a_storyboard_has_its_lengths_and_prompts(pipeline):
    scenes = [
        StoryboardScene("a red ball", 1.0),
        StoryboardScene("a blue ball", 0.5),
        StoryboardScene("the same red box", 0.75, "cut"),
    ]
    (film,) = tasks.storyboard(pipeline, PROMPT, scenes)
    assert [shot["prompt"] for shot in film.metadata["shots"]] == ["a red ball", "a blue ball", "a red box"]
    assert len(film.whole().frames) == 8 + 4 + 6
