"""What is read of two frames is compared tile by tile, the changed ones by themselves."""

import numpy as np
import pytest

from sorajax.evaluation import craftax
from sorajax.evaluation.craftax import Read, compared, in_batches, nearest, opened, table, tiles


def test_tiles_are_cut_in_raster_order():
    frame = np.zeros((1, 64, 64, 3), np.uint8)
    frame[0, 7:14, 14:21] = 9
    shown = tiles(frame, 0, 2)
    assert shown.shape == (1, 18, 7 * 7 * 3)
    assert np.flatnonzero(shown[0].any(-1)).tolist() == [9 + 2]
    assert tiles(frame, 1, 2)[0, 2].min() == 9


def test_the_nearest_picture_is_read():
    pictures = np.array([[[0.0, 0.0]], [[10.0, 0.0]], [[0.0, 10.0]]])
    shown = np.array([[[1.0, 8.0], [4.0, 0.0], [7.0, 3.0]]])
    assert nearest(shown, pictures).tolist() == [[2, 0, 1]]


def test_only_changes_count_as_changes():
    """Of four tiles two change, of which the made frame has one; of two cells none changes."""
    before, true, made = (np.full((1, 4, 4, 3), value, np.uint8) for value in (0, 1, 2))
    words = {0: [1, 1, 1, 1], 1: [1, 1, 2, 3], 2: [1, 1, 2, 4]}

    def read(frames):
        return Read(np.array([words[int(frames[0, 0, 0, 0])]]), np.array([[5, 5]]))

    found = compared(read, made, before, true)
    assert (found["tiles"], found["changed tiles"], found["changes of tiles"]) == (0.75, 0.5, 2)
    assert (found["cells"], found["changed cells"], found["changes of cells"]) == (1, None, 0)
    assert found["psnr"] == pytest.approx(20 * np.log10(255))
    assert "| `play` | 48.1 dB | 75.0 % | 50.0 % | 100.0 % | - |" in table({"`play`": found})


def test_batches_have_one_size_and_return_each_row_once():
    sizes = []

    def step(rows):
        sizes.append(len(rows))
        return 2 * rows

    np.testing.assert_array_equal(in_batches(step, np.arange(20)), 2 * np.arange(20))
    assert sizes == [craftax.BATCH] * 2


def test_the_simulator_is_no_model_of_the_game():
    with pytest.raises(ValueError, match="--models true is not allowed: name the folder of a run"):
        opened("true")
