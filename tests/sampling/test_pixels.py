"""Input pixels: how they are fitted to a request, and copied into the result."""

import numpy as np
from PIL import Image
from scipy import ndimage

from sorajax.media.video import Video
from sorajax.models.conditioning import ConditioningFrames
from sorajax.sampling.pixels import fit_clip, match_colours, read_mask, restore_fixed_pixels


def frames(count: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 255, (count, 16, 16, 3), np.uint8)


def test_fixed_pixels_are_restored_without_a_colour_seam():
    start = frames(5) // 2 + 40
    made = np.concatenate([start, start])[None] + np.uint8(9)
    back = restore_fixed_pixels(ConditioningFrames(head=start), made)
    assert np.array_equal(back[0, :5], start)
    assert np.array_equal(back[0, 5:], start)


def test_an_object_that_moves_away_leaves_no_outline():
    """A disc is blurred, the ground is darker: where the disc was, only the ground's error is taken back."""
    y, x = np.mgrid[:32, :32]
    disc = np.hypot(y - 16, x - 16) < 6
    start = np.where(disc[..., None], 200, 90).astype(np.uint8) * np.ones(3, np.uint8)
    blurred = ndimage.gaussian_filter(start.astype(float), (1.5, 1.5, 0)) - 4
    gone = np.full((4, 32, 32, 3), 86.0)
    back = match_colours([(0, start)], np.concatenate([blurred[None], gone]).round().astype(np.uint8))
    assert np.abs(back[1:].astype(int) - 90).max() <= 2


def test_an_object_generated_elsewhere_gets_no_ghost_of_the_input():
    y, x = np.mgrid[:32, :32]
    start, made = (np.where((np.hypot(y - 16, x - at) < 5)[..., None], 200, 90) * np.ones(3) for at in (9, 22))
    back = match_colours([(3, start.astype(np.uint8))], np.repeat(made[None], 4, 0).astype(np.uint8) - np.uint8(4))
    assert np.abs(back - made).max() <= 2


def test_fit_clip_scales_crops_and_keeps_the_duration():
    moments = np.arange(8, dtype=np.uint8)[:, None, None, None] * 30
    video = Video(np.broadcast_to(moments, (8, 8, 24, 3)), 8)
    slower = fit_clip(video, 16, 16, 4.0)
    assert slower.shape == (4, 16, 16, 3)
    assert (np.diff(slower[:, 0, 0, 0].astype(int)) == 60).all()
    assert np.array_equal(fit_clip(video, 24, 8, 8.0), video.frames)


def test_transparent_pixels_of_a_mask_are_outside_it(tmp_path):
    pixels = np.full((4, 6, 4), 255, np.uint8)
    pixels[:, 3:, 3] = 0
    Image.fromarray(pixels).save(tmp_path / "mask.png")
    assert read_mask(tmp_path / "mask.png", 6, 4).tolist() == [[True] * 3 + [False] * 3] * 4
