"""A clip at another size and rate: scaled to cover, cropped at the centre, the nearest frame in time."""

import numpy as np
import pytest

from sorajax.media.resize import fit_clip
from sorajax.media.video import Video

FRAMES = np.repeat(np.arange(8, dtype=np.uint8)[:, None, None, None] * 30, 3, 3) * np.ones((1, 6, 12, 1), np.uint8)


def test_a_clip_that_fits_is_returned_itself():
    assert fit_clip(Video(FRAMES, 8.0), 12, 6, 8.0) is FRAMES


@pytest.mark.parametrize(("fps", "chosen"), [(4.0, [1, 3, 5, 7]), (16.0, np.arange(16) // 2), (0.1, [7])])
def test_another_rate_takes_the_nearest_frames(fps, chosen):
    np.testing.assert_array_equal(fit_clip(Video(FRAMES, 8.0), 12, 6, fps), FRAMES[chosen])


def test_another_shape_is_cropped_at_the_centre():
    frames = FRAMES.copy()
    frames[:, :, :3], frames[:, :, -3:] = 255, 255  # what a square from the middle leaves out
    np.testing.assert_array_equal(fit_clip(Video(frames, 8.0), 6, 6, 8.0), FRAMES[:, :, 3:9])
    np.testing.assert_array_equal(fit_clip(Video(FRAMES, 8.0), 3, 3, 8.0), FRAMES[:, :3, :3])  # of one colour each
