"""Rendered clips, and what their scenes are."""

import numpy as np

from sorajax.world.draw import render
from sorajax.world.scenes import attributes, sample_scenes


def clips(num, mix, seed=0, size=(64, 64), frames=17):
    """The attributes of sampled scenes, and their clips in bytes."""
    scene = sample_scenes(np.random.default_rng(seed), num, "all", mix)
    video = np.asarray(render(scene, frames, *size)[0])
    return attributes(scene), np.round((video + 1) * 127.5).astype(np.uint8)
