"""The buffer of frames keeps what it was given, by numbers that do not change."""

import numpy as np
import pytest

from sorajax.media.frames import FrameBuffer


def picture(number):
    return np.full((2, 3, 3), number, np.uint8)


def test_frames_are_taken_by_number_while_the_buffer_grows():
    buffer = FrameBuffer()
    for number in range(40):
        buffer.add(picture(number))
    assert buffer.take(np.array([0, 39, 17]))[:, 0, 0, 0].tolist() == [0, 39, 17]
    assert buffer.take(np.arange(5, 9))[:, 0, 0, 0].tolist() == [5, 6, 7, 8]
    assert np.shares_memory(buffer.take(np.arange(5, 9)), buffer.array)


def test_dropped_frames_keep_the_numbers_of_later_ones():
    buffer = FrameBuffer()
    for number in range(3):
        buffer.add(picture(number))
    buffer.drop()
    buffer.add(picture(3))
    assert buffer.take(np.array([3]))[0, 0, 0, 0] == 3


def test_frames_of_several_sizes_are_refused():
    buffer = FrameBuffer()
    buffer.add(picture(0))
    with pytest.raises(ValueError, match="several sizes"):
        buffer.add(np.zeros((3, 3, 3), np.uint8))
