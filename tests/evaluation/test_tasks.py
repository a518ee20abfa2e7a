"""The measures of the tasks: ground truth meets every bar, and wrong results are detected."""

import numpy as np
import pytest

from sorajax.evaluation import tasks
from sorajax.evaluation.tasks import (
    GIVEN,
    SIDEWAYS,
    Figure,
    drift,
    evaluate_tasks,
    lines,
    no_jump,
    rendered_clips,
    same_speed,
)

FPS = 8.0


@pytest.fixture(scope="module")
def moving():
    return rendered_clips(3, 0, GIVEN + 8, SIDEWAYS)


def test_cases_show_what_their_prompts_say(moving):
    assert len(moving) == 3
    assert all(tasks.object_words(rendered.words)["motion"] in rendered.prompt for rendered in moving)
    assert all(tasks.object_words(rendered.words)["motion"] in SIDEWAYS for rendered in moving)
    assert moving[0].clip.shape == (GIVEN + 8, 64, 64, 3)


def test_ground_truth_has_no_seam(moving):
    def truth(task, prompt, seed, given, **settings):
        return next(rendered.clip for rendered in moving if rendered.prompt == prompt)

    row = tasks.extend(truth, 3, 0, FPS)
    assert row["change of the input frames"].value == 0
    assert row["colour drift at the seam"].met
    assert row["same velocity"].value == 100
    assert row["no jump at the seam"].value == 100


def test_wrong_results_are_detected(moving):
    clip = moving[0].clip
    bright = np.concatenate([clip[:GIVEN], np.minimum(clip[GIVEN:], 245) + 10])
    assert drift(bright, GIVEN) > 3 > 1 > drift(clip, GIVEN)
    assert not no_jump(bright, GIVEN)
    frozen = np.concatenate([clip[:GIVEN], np.repeat(clip[GIVEN : GIVEN + 1], 8, 0)])
    assert not same_speed(frozen, GIVEN, FPS)


def test_ground_truth_of_animation_and_editing_meets_every_bar():
    found = rendered_clips(2, 1)

    def truth(task, prompt, seed, *given, **settings):
        return next(rendered.clip for rendered in found if rendered.prompt == prompt)

    row = tasks.animate(truth, 2, 1, FPS)
    assert row["motion"].met
    assert row["picture against the first frame"].value > 90
    assert [row[word].value for word in ("colour", "shape", "motion")] == [100, 100, 100]


def test_extension_both_ways_and_blending_are_measured():
    found = rendered_clips(2, 3, GIVEN + 16, SIDEWAYS)

    def truth(task, prompt, seed, given, **settings):
        assert settings == {"direction": "both", "frames": 8}
        return next(rendered.clip for rendered in found if rendered.prompt == prompt)

    assert all(figure.met for figure in tasks.remix(truth, 2, 3, FPS).values())

    def crossfade(task, prompt, seed, first, second, strength):
        share = np.linspace(0, 1, len(first))[:, None, None, None] ** 2
        return np.round((1 - share) * first + share * second).astype(np.uint8)

    def cut(task, prompt, seed, first, second, strength):
        return np.concatenate([first[:8], second[8:]])

    assert all(figure.met for figure in tasks.blend(crossfade, 3, 0, FPS).values())
    row = tasks.blend(cut, 3, 0, FPS)
    assert [figure.met for figure in row.values()] == [True, False]


def test_an_unfilled_gap_is_detected():
    found = rendered_clips(4, 5, 2 * GIVEN + 8, SIDEWAYS)

    def truth(task, prompt, seed, gapped, gap):
        assert gap == (GIVEN / FPS, (GIVEN + 8) / FPS)
        assert (gapped[GIVEN:-GIVEN] == 0).all()
        return next(rendered.clip for rendered in found if rendered.prompt == prompt)

    def back_and_forth(*asked, **settings):
        clip = truth(*asked, **settings).copy()
        clip[GIVEN:-GIVEN] = clip[:8]
        return clip

    assert all(figure.met for figure in tasks.fill(truth, 4, 5, FPS).values())
    row = tasks.fill(back_and_forth, 4, 5, FPS)
    assert row["change of the input frames"].met
    assert not row["monotone motion"].met


@pytest.mark.slow
def test_images_and_negative_prompts_are_measured():
    drawn = iter(rendered_clips(4, 4))  # in the order in which they are asked for

    def truth(task, prompt, seed, frames, width, height):
        rendered = next(drawn)
        words = tasks.object_words(rendered.words)
        assert words["colour"] in prompt
        assert words["shape"] in prompt
        return rendered.clip[:frames]

    assert [figure.value for figure in tasks.image(truth, 4, 4, FPS).values()] == [100, 100, 100]

    by_colour = {tasks.object_words(rendered.words)["colour"]: rendered.clip for rendered in rendered_clips(32, 5)}
    red, blue = by_colour["red"], by_colour["blue"]

    def turns_away(task, prompt, seed, negative=""):
        return blue if "red" in negative else red

    assert tasks.negative(turns_away, 2, 0, FPS)["another colour than the one named"].met
    assert not tasks.negative(lambda *asked, **settings: red, 2, 0, FPS)["another colour than the one named"].met


def test_a_film_that_changes_colour_is_detected():
    (rendered,) = rendered_clips(1, 2)

    def still(task, prompt, seed, seconds):
        film = np.repeat(rendered.clip[:1], round(seconds * FPS) + 1, 0).copy()
        film[len(film) // 2 :] = 255 - film[len(film) // 2 :]
        return film

    ((name, row),) = evaluate_tasks(still, 1, 0, FPS, ["minute"], seconds=6)
    assert name == "minute"
    assert not row["background drift"].met
    assert not row["still bouncing"].value


def test_a_line_states_whether_the_bar_is_met():
    row = {"held": Figure(31, "dB", 4, 30), "drift": Figure(2, "%", 4, 1, least=False), "shape": Figure(50, "%", 4)}
    said = list(lines("animate", row))
    assert said[0].endswith("bar 30, met")
    assert said[1].endswith("bar 1, NOT MET")
    assert said[2].endswith("4")
