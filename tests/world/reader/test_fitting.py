"""The second reader reads what was rendered, at more than one size and length, without the first reader's code."""

import ast
from pathlib import Path

import numpy as np
import pytest

from sorajax.world.draw import render
from sorajax.world.reader import fitting
from sorajax.world.reader.fitting import ATTRIBUTES, read_by_fitting
from sorajax.world.scenes import CORE, attributes, sample_scenes


def clips(num: int, size: int = 64, frames: int = 17, seed: int = 0):
    """Words and clips of rendered scenes of one object."""
    scene = sample_scenes(np.random.default_rng(seed), num, "all", CORE)
    video = np.asarray(render(scene, frames, size, size)[0])
    shots = [clip["shots"][0] for clip in attributes(scene)]
    return [{"background": shot["background"], **shot["objects"][0]} for shot in shots], to_bytes(video)


def to_bytes(video):
    return np.round((video + 1) * 127.5).astype(np.uint8)


def accuracies(num: int, size: int, frames: int, seed: int) -> dict[str, float]:
    wishes, videos = clips(num, size, frames, seed)
    found = [read_by_fitting(video) for video in videos]
    return {
        name: float(np.mean([words[name] == wish[name] for words, wish in zip(found, wishes, strict=True)]))
        for name in ATTRIBUTES
    }


@pytest.fixture(scope="module")
def some():
    return clips(2)


def test_it_reads_rendered_clips(some):
    wishes, videos = some
    assert [read_by_fitting(video) for video in videos] == wishes


@pytest.mark.slow
@pytest.mark.parametrize(("num", "size", "frames"), [(36, 64, 17), (6, 96, 33)])
def test_accuracy_on_rendered_clips(num, size, frames):
    """At least 97% of each attribute: one miss of 36, none of 6."""
    found = accuracies(num, size, frames, seed=11)
    assert min(found.values()) >= 0.97, found


def test_a_still_has_no_motion_and_an_empty_clip_no_object(some):
    wishes, videos = some
    still = read_by_fitting(videos[0][:1])
    assert still["motion"] is None
    assert still["pace"] is None
    assert [still[name] for name in ("background", "colour", "shape")] == [
        wishes[0][name] for name in ("background", "colour", "shape")
    ]
    empty = np.full((2, 64, 64, 3), fitting.BACKGROUND_RGB[2], np.uint8)
    assert read_by_fitting(empty) == dict.fromkeys(ATTRIBUTES) | {"background": "navy"}


def test_another_order_of_frames_is_another_motion(some):
    """The words come from the pixels of all frames: a clip that runs backwards does not read as the same motion."""
    wishes, videos = some
    place = next(i for i, wish in enumerate(wishes) if wish["motion"] not in ("stands still", "bounces"))
    assert read_by_fitting(videos[place][::-1])["motion"] != wishes[place]["motion"]


def test_frames_of_another_form_are_refused():
    with pytest.raises(ValueError, match=r"frames of shape \(64, 64, 3\) cannot be read"):
        read_by_fitting(np.zeros((64, 64, 3), np.uint8))


def test_it_shares_no_code_with_the_first_reader():
    tree = ast.parse(Path(fitting.__file__).read_text())
    modules = {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert "sorajax.world.draw" in modules
    assert not any(module.startswith("sorajax.world.reader") for module in modules)
