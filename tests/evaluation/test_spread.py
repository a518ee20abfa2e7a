"""The spread of clips of one prompt: that of the world is its own, and clips that are all the same have none."""

import numpy as np
import pytest

from sorajax.evaluation import spread
from sorajax.world.draw import render
from sorajax.world.scenes import attributes


def rendered(scene):
    video = np.asarray(render(scene, 17, 64, 64)[0])
    return list(np.round((video + 1) * 127.5).astype(np.uint8))


@pytest.mark.parametrize("make", [spread.canonical, spread.open_ended])
def test_prompts_describe_all_their_scenes(make):
    found = make(3, 5, 0)
    assert len(set(found.texts)) == len(found.scenes) == 3
    for text, scene in zip(found.texts, found.scenes, strict=True):
        objects = [wish["shots"][0]["objects"][0] for wish in attributes(scene)]
        assert len(objects) == 5
        assert all(one["motion"] in text for one in objects)
        assert make is not spread.open_ended or all(one["shape"] in text for one in objects)
        assert len({one["pace"] for one in objects}) == 1 or make is spread.open_ended


def test_equal_clips_have_no_spread_and_scenes_have():
    found = spread.canonical(1, 6, 1)
    clips = rendered(found.scenes[0])
    varied = spread.spread_of(found.texts, lambda text, number: clips, "places")
    same = spread.spread_of(found.texts, lambda text, number: clips[:1] * 6, "places")
    assert varied["start, across"] > 0.05
    assert same["start, across"] == pytest.approx(0, abs=1e-6)


def test_colours_are_counted_by_their_entropy():
    assert spread.effective(["red", "blue", "red", "blue", None]) == pytest.approx(2)
    assert spread.effective(["red"] * 9) == pytest.approx(1)
    assert spread.effective([None]) == 0


def test_a_share_stands_beside_its_bar():
    text = spread.table({"speed": 0.2}, {"speed": 0.1})
    assert "| speed | 0.2 | 0.1 | 50% | at least 80% |" in text
