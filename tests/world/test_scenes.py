"""Sampled scenes follow their mix, and keep held-out combinations out of training."""

import numpy as np
import pytest

from sorajax.world import scenes as words
from sorajax.world.scenes import FULL, WorldMix, held_out
from tests.world.sampled import scenes


def test_a_tenth_of_combinations_is_held_out_and_no_pair():
    grid = np.meshgrid(np.arange(8), np.arange(5), np.arange(11), indexing="ij")
    secret = held_out(*grid)
    assert 0.09 < secret.mean() < 0.11
    assert not any(secret.all(axis).any() for axis in range(3))


def test_splits_do_not_overlap():
    for split in ("train", "held_out"):
        scene = scenes(300, FULL, split)
        secret = held_out(scene.colour[:, None], scene.shape[:, None], scene.motion)
        shown = (np.arange(2)[None, :, None] < scene.shots[:, None, None]) & (
            np.arange(2)[None, None, :] < scene.objects[:, None, None]
        )
        assert len(scene.colour) == 300
        assert (secret & shown).any() == (split == "held_out")
        assert split == "train" or secret[:, 0, 0].all()


def test_small_stars_are_added_to_a_mix():
    scene = scenes(2000, WorldMix(small_stars=0.5, two_objects=0, wall=0))
    star = (scene.shape == words.SHAPES.index("star")) & (scene.size == words.SIZES.index("small"))
    assert star[:, 0].mean() == pytest.approx(0.5 + 0.5 * 0.1, abs=0.04)
    assert scene.radius[star].max() < scene.radius[scene.size == words.SIZES.index("large")].min()


def test_a_probability_out_of_range_is_named():
    with pytest.raises(ValueError, match=r"WorldMix.camera is 1.5"):
        WorldMix(camera=1.5)


def test_turns_are_added_to_a_mix():
    scene = scenes(2000, WorldMix(turning=0.5, two_objects=0, wall=0, two_shots=0))
    turning = np.isin(scene.motion[:, 0, 0], [words.SPINS, words.CIRCLES])
    assert 0.5 < turning.mean() < 0.62


def test_bounces_and_falls_are_added_to_a_mix():
    scene = scenes(2000, WorldMix(falling=0.5, two_objects=0, wall=0, two_shots=0))
    falling = np.isin(scene.motion[:, 0, 0], [words.BOUNCES, words.FALLS])
    assert 0.54 < falling.mean() < 0.66
