"""The place of what is bright, in units from the frame's centre."""

import numpy as np

from sorajax.world.reader.places import BRIGHT, places


def test_the_place_is_that_of_the_bright_pixels():
    frames = np.full((2, 64, 96, 3), BRIGHT, np.uint8)
    frames[0, 8:16, 32:40, 1] = 255
    frames[1, 32:64, 48:96, 2] = 255
    np.testing.assert_allclose(places(frames), [[-12 / 64, -20 / 64], [24 / 64, 16 / 64]], atol=1e-6)


def test_a_dark_frame_has_no_place():
    assert np.isnan(places(np.full((1, 8, 8, 3), BRIGHT, np.uint8))).all()
