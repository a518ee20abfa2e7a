"""Large frames are decoded tile by tile, as a stream, in the memory of one tile and without visible seams."""

from functools import partial
from pathlib import Path

import jax
import numpy as np
import pytest

import sorajax
from sorajax.data.buckets import Bucket
from sorajax.data.worlds import WorldData, clips, scene_maker
from sorajax.models import tiles
from sorajax.models.tiles import decode_tiles, ramp, tile_starts
from sorajax.models.vae import VAE, decode_singly
from sorajax.training.autoencoder import load_vae


@pytest.fixture(scope="module")
def trained():
    """The autoencoder in the box, and latents of a clip larger than it has ever seen."""
    config, params = load_vae(Path(sorajax.__file__).parent / "assets" / "world")
    bucket = Bucket(5, 160, 192, batch_size=1)
    video = jax.jit(clips)(scene_maker(WorldData(buckets=(bucket,)))(bucket, np.random.default_rng(0)))
    encode = jax.jit(partial(VAE(config).apply, method="encode"))
    return config, params, np.asarray(encode({"params": params}, video))


def whole(config, params, latent):
    return decode_singly(params, config, latent, {})[0]


@pytest.mark.parametrize(("length", "tile", "step"), [(10, 4, 3), (11, 4, 3), (4, 4, 3), (3, 4, 3), (60, 40, 32)])
def test_tiles_cover_the_frame_and_blend_weights_sum_to_one(length, tile, step):
    tile = min(tile, length)
    places = tile_starts(length, tile, step)
    total, count = np.zeros(length), np.zeros(length)
    for start in places:
        total[start : start + tile] += ramp(start, tile, length, tile - step if tile > step else 1)
        count[start : start + tile] += 1
    assert count.min() >= 1
    assert total.min() > 0
    assert places[-1] + tile == length
    np.testing.assert_array_equal(total[count == 1], 1)


def test_a_single_tile_equals_the_untiled_decoding(trained):
    config, params, latent = trained
    made, _ = decode_tiles(params, config, latent, {}, tile=192)
    assert np.abs(made.astype(int) - whole(*trained)).max() <= 1  # rounded at the half


def seams(made, true, overlap):
    """Of the error, the largest change across a line where a tile ends, in units of the median line's."""
    error, found = made.astype(float) - true, []
    for axis, size in ((2, 160), (3, 192)):
        steps = np.abs(np.diff(error, axis=axis)).mean(tuple({0, 1, 2, 3, 4} - {axis}))
        ends = {end for start in tile_starts(size, 96, 96 - overlap) for end in (start, start + 96)} - {0, size}
        found.append(steps[np.array(sorted(ends)) - 1].max() / np.median(steps))
    return max(found)


@pytest.mark.slow
def test_tiles_meet_without_a_visible_seam(trained):
    """The attention in the decoder's middle sees one tile, so tiles differ from the whole; but not at their edges."""
    config, params, latent = trained
    true = whole(*trained)
    made, _ = decode_tiles(params, config, latent, {}, tile=96, overlap=32)
    error = np.mean(np.square(made.astype(float) - true))
    print(f"tiles of 96 pixels: {10 * np.log10(255**2 / error):.1f} dB from decoding whole")
    assert error < 255**2 / 10**4.5
    assert seams(made, true, 32) < 1.6
    hard, _ = decode_tiles(params, config, latent, {}, tile=96, overlap=8)
    assert seams(hard, true, 8) > 2  # so the measure sees them


def test_tiled_decoding_streams(trained):
    config, params, latent = trained
    at_once, _ = decode_tiles(params, config, latent, {}, tile=96, overlap=32)
    first, caches = decode_tiles(params, config, latent[:, :1], {}, tile=96, overlap=32)
    assert all(isinstance(leaf, np.ndarray) for leaf in jax.tree.leaves(caches))  # on the host: tiles are many
    second, _ = decode_tiles(params, config, latent[:, 1:], caches, tile=96, overlap=32)
    np.testing.assert_array_equal(np.concatenate([first, second], 1), at_once)


@pytest.mark.slow
def test_larger_frames_reuse_the_compiled_program(trained):
    config, params, latent = trained
    decode_tiles(params, config, latent, {}, tile=96, overlap=32)
    before = tiles.decode_part._cache_size()
    larger = np.concatenate([latent, latent, latent], 3)
    made, _ = decode_tiles(params, config, larger, {}, tile=96, overlap=32)
    assert made.shape == (1, 5, 160, 576, 3)
    assert tiles.decode_part._cache_size() == before
